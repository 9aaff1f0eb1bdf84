package handlers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// Config is what an Engine needs. Zero values take the defaults named.
type Config struct {
	Bus  Bus
	Dead DeadStore // nil = dead letters are stored, but not shown or replayed

	Advisories   AdvisoryStore // nil = what consumers give up is not recovered
	AdvisoryMode string        // off, watch, all; "" = watch
	SweepEvery   time.Duration // between two looks for messages whose advisory was lost; 0 = 1 minute

	Subjects schemas.Subjects
	Policies *Policies
	SealKey  []byte
	Created  time.Time // of the intake stream
	Shards   int
	Leases   Leases        // nil = this replica owns all shards
	Near     time.Duration // waits up to this stay in memory; 0 = 5 s, at most 45 s
	Memory   int64         // bytes that waiting work may take in memory; 0 = 64 MiB
	Observer Observer      // nil = nobody
	Now      func() time.Time
	Grace    time.Duration // for what is in flight when the engine stops; 0 = 8 s
	Instance string
	Version  string // told to the other replicas, as Instance is
}

// Validate returns every fault at once.
func (c Config) Validate() error {
	var faults []error
	bad := func(field, what string) { faults = append(faults, fmt.Errorf("%s: %s", field, what)) }
	if c.Bus == nil {
		bad("Bus", "missing")
	}
	if c.Subjects.Prefix == "" {
		bad("Subjects", "has no prefix")
	}
	if c.Policies == nil {
		bad("Policies", "missing")
	}
	if len(c.SealKey) < 16 {
		bad("SealKey", "has fewer than 16 bytes")
	}
	if c.Shards < 1 || c.Shards > 256 {
		bad("Shards", fmt.Sprintf("%d is not between 1 and 256", c.Shards))
	}
	if c.Near < 0 || c.Near > 45*time.Second {
		bad("Near", fmt.Sprintf("%s is not between 0 and 45s: what a next owner does again must be recognised by its target, for which it has two minutes", c.Near))
	}
	if c.Memory < 0 || c.Memory > 0 && c.Memory < 1<<20 {
		bad("Memory", fmt.Sprintf("%d bytes are less than 1 MiB", c.Memory))
	}
	switch c.AdvisoryMode {
	case "", AdvisoriesOff, AdvisoriesWatch, AdvisoriesAll:
	default:
		bad("AdvisoryMode", fmt.Sprintf("%q is none of off, watch, all", c.AdvisoryMode))
	}
	if c.SweepEvery < 0 {
		bad("SweepEvery", "is negative")
	}
	return errors.Join(faults...)
}

// Engine recovers failed work: it runs the loops of the shards that this replica owns and
// reads success reports.
type Engine struct {
	Config
	bus      Bus
	leases   Leases
	clock    *Clock
	observer Observer
	reader   *schemas.Reader
	sealer   *schemas.Sealer
	view     *view
	signals  *signals
	purges   oneByOne
	policies atomic.Pointer[Policies]
	jobs     atomic.Pointer[runner] // nil while another replica runs the jobs
	started  time.Time

	mu     sync.Mutex
	loops  map[int]*loop
	faults map[string]string // of the engine's own work, by what it is
	change chan struct{}     // closed when the policies change
}

// New makes an engine; Run starts it.
func New(c Config) (*Engine, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Near == 0 {
		c.Near = 5 * time.Second
	}
	if c.Memory == 0 {
		c.Memory = 64 << 20
	}
	if c.Grace == 0 {
		c.Grace = 8 * time.Second
	}
	if c.AdvisoryMode == "" {
		c.AdvisoryMode = AdvisoriesWatch
	}
	if c.SweepEvery == 0 {
		c.SweepEvery = sweepAfter
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Observer == nil {
		c.Observer = Observers{}
	}
	e := &Engine{
		Config: c, bus: c.Bus, leases: c.Leases, clock: NewClock(c.Now), observer: c.Observer, sealer: schemas.NewSealer(c.SealKey),
		view: newView(), loops: map[int]*loop{}, faults: map[string]string{}, change: make(chan struct{}),
		started: c.Now(), purges: make(oneByOne, 1),
	}
	e.signals = newSignals(func(d time.Duration, do func()) { time.AfterFunc(d, do) }, e.sendSignal)
	e.reader = &schemas.Reader{Subjects: c.Subjects, Sealer: e.sealer, Created: c.Created}
	if e.leases == nil {
		e.leases = SoleOwner{Shards: c.Shards, Now: c.Now}
	}
	e.policies.Store(c.Policies)
	return e, nil
}

// Run works until ctx ends, then lets what is in flight settle. It returns early only when
// a shard cannot be served for a reason that does not pass.
func (e *Engine) Run(ctx context.Context) error {
	server, local, err := e.bus.ServerTime(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the server's clock: %w", err)
	}
	e.clock.Saw(server, local)
	var wg sync.WaitGroup
	wg.Go(func() { e.insist(ctx, "success reports", e.readSuccesses) })
	wg.Go(func() { e.insist(ctx, "acknowledgements", e.readAcks) })
	wg.Go(func() { e.insist(ctx, "breakers of other replicas", e.watchBreakers) })
	wg.Go(func() { repeat(ctx, clockEvery, func() { e.askClock(ctx) }) })
	e.alone(ctx, &wg, "refused", "refused letters", e.boundRefused)
	if e.Dead != nil {
		e.alone(ctx, &wg, "replay", "replay jobs", e.runJobs)
	}
	if e.Advisories != nil && e.AdvisoryMode != AdvisoriesOff {
		e.alone(ctx, &wg, "advisories", opAdvisories, e.readAdvisories)
	}
	err = e.leases.Run(ctx, e.about, e.own)
	wg.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// own serves one shard while it is this replica's, trying again when it cannot be served.
// When a later owner is met the shard is given up.
func (e *Engine) own(ctx context.Context, lease Lease) {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	e.insist(ctx, fmt.Sprintf("shard %d", lease.Shard), func(ctx context.Context) error {
		l := newLoop(shardConfig{
			index: lease.Shard, shards: e.Shards, subjects: e.Subjects, sealer: e.sealer, near: e.Near,
			memory: e.Memory / int64(e.Shards), maxNear: 50_000, inflight: max(64, 4096/e.Shards),
			sparse: sparse, view: e.view,
		}, e.policies.Load(), e, lease)
		e.mu.Lock()
		e.loops[lease.Shard] = l
		e.mu.Unlock()
		defer func() {
			e.mu.Lock()
			delete(e.loops, lease.Shard)
			e.mu.Unlock()
		}()
		// Policies may have changed between the two lines above.
		l.shard.reload(e.policies.Load())
		err := l.run(ctx, e.Grace)
		if errors.Is(err, schemas.ErrConflict) {
			giveUp(err)
		}
		return err
	})
}

// insist repeats work that must go on until ctx ends, with a growing pause, and shows what
// is wrong meanwhile.
func (e *Engine) insist(ctx context.Context, what string, work func(context.Context) error) {
	for tries := 0; ctx.Err() == nil; tries++ {
		started := e.Now()
		err := work(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			tries = -1
			continue
		}
		if e.Now().Sub(started) > time.Minute {
			tries = 0
		}
		e.setFault(what, err)
		e.observer.Observe(Event{Kind: EventFault, At: e.Now(), Op: what, Err: err})
		timer := time.NewTimer(min(10*time.Second, 200*time.Millisecond<<min(tries, 6)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		e.setFault(what, nil)
	}
}

func (e *Engine) setFault(what string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil {
		delete(e.faults, what)
	} else {
		e.faults[what] = err.Error()
	}
}

// SetPolicies has all shards use new policies from now on.
func (e *Engine) SetPolicies(p *Policies) {
	e.policies.Store(p)
	e.mu.Lock()
	close(e.change)
	e.change = make(chan struct{})
	e.mu.Unlock()
	for _, l := range e.running() {
		l.mail.post(func(s *shard, _ time.Time) { s.reload(p) })
	}
}

// reloaded is closed when the policies in use are no longer those given.
func (e *Engine) reloaded(p *Policies) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.policies.Load() != p {
		over := make(chan struct{})
		close(over)
		return over
	}
	return e.change
}

// Policies are those in use.
func (e *Engine) Policies() *Policies { return e.policies.Load() }

func (e *Engine) running() []*loop {
	e.mu.Lock()
	defer e.mu.Unlock()
	loops := make([]*loop, 0, len(e.loops))
	for i := range e.Shards {
		if l := e.loops[i]; l != nil {
			loops = append(loops, l)
		}
	}
	return loops
}

func (e *Engine) loopOf(shard int) *loop {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.loops[shard]
}

// Stats shows the shards that this replica serves.
func (e *Engine) Stats() []Stats {
	var all []Stats
	for _, l := range e.running() {
		if st := l.stats.Load(); st != nil {
			all = append(all, *st)
		}
	}
	return all
}

// Checks says whether the engine does its work.
func (e *Engine) Checks() []Check {
	checks := []Check{e.checkShards(), e.checkClock()}
	if r, ok := e.leases.(*Replicas); ok {
		checks = append(checks, r.check())
	}
	e.mu.Lock()
	for what, fault := range e.faults {
		checks = append(checks, Check{Name: what, Detail: fault})
	}
	e.mu.Unlock()
	for _, st := range e.Stats() {
		for op, fault := range st.Faults {
			checks = append(checks, Check{Name: fmt.Sprintf("%s (shard %d)", op, st.Shard), Detail: fault})
		}
	}
	return checks
}
