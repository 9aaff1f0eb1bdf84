package handlers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// loop runs one shard: it is the only goroutine that touches it. It takes what happened
// from channels and a mailbox, lets the shard decide, and executes the effects.
type loop struct {
	shard    *shard
	bus      Bus
	clock    *Clock
	observer Observer
	reader   *schemas.Reader
	lease    Lease
	holds    func() bool
	lose     context.CancelCauseFunc // ends the work, because a later owner has the shard
	signal   func(breakerKey, *schemas.Success)
	purges   oneByOne
	follower follower

	reports  chan intakeReport
	follow   chan announcement
	mail     mailbox
	chores   sync.WaitGroup
	slots    chan struct{}    // bounds the chores that run at the same time
	asking   int              // requests without a reply
	trouble  map[string]error // why the last publish to a part of recoveryd's subjects failed
	stats    atomic.Pointer[Stats]
	statsAt  time.Time
	tidyStop context.Context // ends the chores
}

type intakeReport struct {
	part    int
	anew    bool // no report: all that are in the stream come once more
	failure schemas.Failure
}

type announcement struct {
	subject  string
	sequence uint64
	entries  int
	switched bool // this is no message: from sequence on another follower tells
	all      bool // with switched: of everything, not only of signals
}

// Sizes of the loop's queues.
const (
	reportQueue = 16 // messages may be a megabyte each
	followQueue = 4096
	maxChores   = 8
	batch       = 256 // reports taken before something else gets its turn
)

func newLoop(c shardConfig, p *Policies, e *Engine, lease Lease) *loop {
	return &loop{
		shard: newShard(c, p), bus: e.bus, clock: e.clock, observer: e.observer, reader: e.reader, lease: lease,
		holds:   func() bool { return e.leases.Holds(c.index) },
		signal:  e.signalSuccess,
		purges:  e.purges,
		reports: make(chan intakeReport, reportQueue),
		follow:  make(chan announcement, followQueue),
		mail:    mailbox{signal: make(chan struct{}, 1)},
		slots:   make(chan struct{}, maxChores),
		trouble: map[string]error{},
	}
}

// run owns the shard until ctx ends, then lets what is in flight settle, for at most grace.
func (l *loop) run(ctx context.Context, grace time.Duration) error {
	chores, stopChores := context.WithCancel(context.WithoutCancel(ctx))
	defer stopChores()
	l.tidyStop = chores
	defer l.mail.close()
	ctx, l.lose = context.WithCancelCause(ctx)
	defer l.lose(nil)
	intake, err := l.claim(ctx)
	if err != nil {
		return fmt.Errorf("shard %d: claim the failures: %w", l.shard.index, err)
	}
	counts, last, err := l.bus.LaneCounts(ctx, l.shard.index)
	if err != nil {
		return fmt.Errorf("shard %d: list the ledger: %w", l.shard.index, err)
	}
	states, err := l.states(ctx)
	if err != nil {
		return fmt.Errorf("shard %d: read breakers: %w", l.shard.index, err)
	}
	l.shard.boot(l.clock.Now(), intake, counts, last, states)
	l.follower = follower{loop: l, ctx: ctx}
	if err := l.follower.start(l.shard.following.all, last+1); err != nil {
		return fmt.Errorf("shard %d: follow the ledger: %w", l.shard.index, err)
	}
	stopIntake, err := l.readIntake(ctx, intake.books)
	if err != nil {
		stopChores() // else the follower may wait for the loop, and this for the follower
		l.follower.stop()
		return fmt.Errorf("shard %d: read failures: %w", l.shard.index, err)
	}
	l.work(ctx)
	stopIntake()
	l.settle(grace)
	stopChores()
	l.chores.Wait()
	l.follower.stop()
	if why := context.Cause(ctx); errors.Is(why, schemas.ErrConflict) || errors.Is(why, errLostEnd) {
		return fmt.Errorf("shard %d: %w", l.shard.index, why)
	}
	return nil
}

// readIntake reads all parts of the intake.
func (l *loop) readIntake(ctx context.Context, books []*intakeBook) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var stops []func()
	stop = func() {
		cancel() // a reader may wait for the loop
		for _, stop := range stops {
			stop()
		}
	}
	for part, b := range books {
		hand := func(r intakeReport) {
			select {
			case l.reports <- r:
			case <-ctx.Done():
			}
		}
		// Parsed outside of the loop, and waiting while the loop has enough.
		one, err := l.bus.Intake(ctx, b.filters, func(m schemas.Stored) {
			l.clock.Saw(m.Time, time.Now())
			hand(intakeReport{part: part, failure: l.reader.Failure(&m)})
		}, func() { hand(intakeReport{part: part, anew: true}) })
		if err != nil {
			stop()
			return nil, err
		}
		stops = append(stops, one)
	}
	return stop, nil
}

// work is the loop while the shard is owned.
func (l *loop) work(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var pace pacer
	defer pace.stop()
	for {
		if !pace.wait(ctx) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case r := <-l.intake():
			l.take(r)
		case a := <-l.follow:
			l.announced(a)
		case <-l.mail.signal:
		case <-timer.C:
		}
		pace.began()
		l.turn(timer)
	}
}

// turn lets the shard do what is due, handles everything that is there, and sets the timer
// to when it must be looked at again. What is due does not wait for the rest.
func (l *loop) turn(timer *time.Timer) {
	l.tick()
	l.deliver()
	l.drain()
	now := l.tick()
	l.picture(now)
	if timer == nil {
		return
	}
	wait := time.Second
	if next := l.shard.next(now); !next.IsZero() {
		wait = min(wait, max(0, next.Sub(l.clock.Now())))
	}
	timer.Reset(wait)
}

func (l *loop) tick() (now time.Time) {
	now = l.clock.Now()
	if l.holds() {
		l.shard.tick(now)
	}
	l.execute()
	return now
}

// intake is the queue of reports, nil while memory is full: releases come first.
func (l *loop) intake() <-chan intakeReport {
	if l.shard.full() {
		return nil
	}
	return l.reports
}

// take lets the shard decide about a report. What was posted before it was read comes
// first: new policies apply to what fails after they were set.
func (l *loop) take(r intakeReport) {
	l.deliver()
	if r.anew {
		l.shard.intake.books[r.part].seen = 0
		return
	}
	if err := l.shard.failure(l.clock.Now(), r.part, &r.failure); err != nil {
		l.lose(err)
	}
}

func (l *loop) announced(a announcement) {
	if a.switched {
		l.shard.exchanged(a.all, a.sequence)
		return
	}
	l.shard.announced(l.clock.Now(), a.subject, a.sequence, a.entries)
}

func (l *loop) deliver() {
	now := l.clock.Now()
	letters := l.mail.take()
	for i := range letters {
		l.open(&letters[i], now)
	}
}

func (l *loop) open(m *letter, now time.Time) {
	if m.act != nil {
		m.act(l.shard, now)
		return
	}
	l.note(m.part, m.err)
	l.shard.published(now, m.item, m.ack, m.err)
}

func (l *loop) drain() {
	for range batch {
		select {
		case a := <-l.follow:
			l.announced(a)
			continue
		default:
		}
		select {
		case r := <-l.intake():
			l.take(r)
			continue
		default:
		}
		return
	}
}

// handOver is how long a publish without an answer may delay the next owner, who repeats
// it with the same id. Only a request has no id that anybody recognises: it is waited for.
const handOver = 1500 * time.Millisecond

// settle ends the shard: nothing new is begun, what is in flight gets its answer.
func (l *loop) settle(grace time.Duration) {
	l.shard.stop(l.clock.Now())
	deadline, soon := time.NewTimer(grace), time.NewTimer(min(grace, handOver))
	defer deadline.Stop()
	defer soon.Stop()
	for late := false; ; {
		l.turn(nil)
		if l.shard.flying == 0 && !l.shard.storing() {
			return
		}
		if late && l.asking == 0 {
			return
		}
		select {
		case <-l.mail.signal:
		case <-l.follow:
		case <-soon.C:
			late = true
		case <-deadline.C:
			return
		}
	}
}

// execute does what the shard wants done.
func (l *loop) execute() {
	for {
		effects := l.shard.effects()
		if len(effects) == 0 {
			return
		}
		for i := range effects {
			l.do(&effects[i])
		}
	}
}

func (l *loop) do(e *effect) {
	switch e.kind {
	case effPublish:
		it := e.item
		part := l.partOf(e.message.Subject)
		l.bus.Publish(e.message, func(ack schemas.Ack, err error) {
			l.mail.put(letter{item: it, part: part, ack: ack, err: err})
		})
	case effCore:
		l.mail.put(letter{item: e.item, err: l.bus.PublishCore(e.message)})
	case effRequest:
		it := e.item
		l.asking++
		l.bus.Request(e.message, e.timeout, func(reply schemas.Message, err error) {
			l.mail.post(func(s *shard, now time.Time) {
				l.asking--
				s.replied(now, it, reply, err)
			})
		})
	case effObserve:
		l.observer.Observe(e.event)
	case effCheckpoint:
		data, revision := e.data, e.revision
		l.chore(func(ctx context.Context) func(*shard, time.Time) { return l.saveCheckpoint(ctx, data, revision) })
	case effTrim:
		trim := *e
		l.chore(func(ctx context.Context) func(*shard, time.Time) { return l.trimIntake(ctx, trim) })
	case effFollow:
		all, from := e.all, e.from
		l.chores.Go(func() { l.follower.exchange(all, from) })
	case effRead:
		read := *e
		l.chore(func(ctx context.Context) func(*shard, time.Time) { return l.readLane(ctx, read) })
	case effPurge:
		purge := *e
		l.chore(func(ctx context.Context) func(*shard, time.Time) {
			var n uint64
			var err error
			done := l.purges.enter(ctx)
			if l.holds() { // else it is the next owner's, who settles it again
				n, err = l.bus.PurgeLane(ctx, purge.lane.subject, purge.before)
			}
			done()
			if !l.holds() {
				purge.least = 0 // the next owner may have been faster
			}
			l.pause(ctx, err)
			return func(s *shard, now time.Time) { s.purged(now, purge, int(n), err) }
		})
	case effRemove:
		if !l.holds() {
			return
		}
		sequence := e.sequence
		l.chore(func(ctx context.Context) func(*shard, time.Time) {
			err := l.bus.DeleteEntry(ctx, l.shard.index, sequence)
			l.pause(ctx, err)
			return func(s *shard, now time.Time) { s.removed(now, sequence, err) }
		})
	case effOwner:
		subject := e.subject
		l.chore(func(ctx context.Context) func(*shard, time.Time) {
			_, err := l.bus.Owner(ctx, subject)
			owned := err == nil
			if errors.Is(err, schemas.ErrNotFound) {
				err = nil
			}
			return func(s *shard, now time.Time) { s.owned(now, subject, owned, err) }
		})
	case effAnswer:
		e.command.done(e.command.kind)
	case effSignal:
		l.signal(e.breaker, e.success)
	case effStore:
		stored := *e
		l.chore(func(ctx context.Context) func(*shard, time.Time) { return l.storeState(ctx, &stored) })
	}
}

// partOf is the part of recoveryd's own subjects that a subject belongs to, "" if none.
func (l *loop) partOf(subject string) string {
	rest, own := strings.CutPrefix(subject, l.shard.subjects.Prefix+".")
	if !own {
		return ""
	}
	part, _, _ := strings.Cut(rest, ".")
	return part
}

// note remembers what cannot be stored at the moment, for Stats.
func (l *loop) note(part string, err error) {
	switch {
	case part == "":
	case err == nil:
		delete(l.trouble, part)
	default:
		l.trouble[part] = err
	}
}

// picture renews what Stats shows, a few times a second.
func (l *loop) picture(now time.Time) {
	if now.Sub(l.statsAt) < 200*time.Millisecond && l.stats.Load() != nil {
		return
	}
	l.statsAt = now
	stats := l.shard.stats()
	for part, err := range l.trouble {
		stats.Faults["store "+part] = err.Error()
	}
	l.stats.Store(&stats)
}
