package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// ReplicasConfig is what Replicas needs.
type ReplicasConfig struct {
	Store    LeaseStore
	Instance string // name of this replica; no other live one may have it
	Session  string // of this process, unlike any other's
	Shards   int
	Observer Observer // nil = nobody
	Now      func() time.Time
}

// Validate returns every fault at once.
func (c ReplicasConfig) Validate() error {
	var faults []error
	for field, missing := range map[string]bool{
		"Store": c.Store == nil, "Instance": c.Instance == "", "Session": c.Session == "", "Shards": c.Shards < 1,
	} {
		if missing {
			faults = append(faults, fmt.Errorf("%s: missing", field))
		}
	}
	return errors.Join(faults...)
}

// Replicas shares the shards among all live replicas, by leases. Each replica announces
// itself, takes what is free up to its fair share, gives back what is over it, and keeps
// what it has. Nobody decides for the others: that two never hold the same is the store's
// compare-and-set.
type Replicas struct {
	ReplicasConfig
	name    string // as a token
	value   []byte // of its leases
	changed chan struct{}

	mu      sync.Mutex
	members *membership
	mine    map[int]*hold
	giving  map[int]bool
	fault   error // why leases cannot be had at the moment
}

// NewReplicas makes one replica's part in sharing; Run starts it.
func NewReplicas(c ReplicasConfig) (*Replicas, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("replicas: %w", err)
	}
	if c.Observer == nil {
		c.Observer = Observers{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	value, err := json.Marshal(holder{c.Instance, c.Session})
	if err != nil {
		return nil, fmt.Errorf("replicas: %w", err)
	}
	return &Replicas{
		ReplicasConfig: c, name: schemas.EscapeKey(c.Instance), value: value, changed: make(chan struct{}, 1),
		members: newMembership(), mine: map[int]*hold{}, giving: map[int]bool{},
	}, nil
}

// lookEvery is how often leases that ran out are looked for: that they did is not told.
const lookEvery = 500 * time.Millisecond

// Run implements Leases.
func (r *Replicas) Run(ctx context.Context, about func() schemas.InstanceStatus, own func(context.Context, Lease)) error {
	var wg sync.WaitGroup
	wg.Go(func() { r.follow(ctx) })
	wg.Go(func() { r.attend(ctx, about) })
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-r.changed:
			r.balance(ctx, &wg, own)
		case <-ticker.C:
			r.balance(ctx, &wg, own)
		}
	}
	wg.Wait()
	return ctx.Err()
}

// follow hears of all leases.
func (r *Replicas) follow(ctx context.Context) {
	repeat(ctx, leaseRetry, func() {
		stop, err := r.Store.FollowLeases(ctx, r.heard)
		if r.report("follow leases", err) {
			<-ctx.Done()
			stop()
		}
	})
}

func (r *Replicas) heard(key string, value []byte) {
	r.mu.Lock()
	err := r.members.heard(r.Now(), key, value)
	r.mu.Unlock()
	if err != nil {
		r.Observer.Observe(Event{Kind: EventFault, At: r.Now(), Op: "read lease", Subject: key, Err: err})
	}
	r.look()
}

func (r *Replicas) look() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// attend keeps this replica among the members, and leaves at the end, so that the others
// know at once that there is more for them.
func (r *Replicas) attend(ctx context.Context, about func() schemas.InstanceStatus) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			r.leave()
			return
		case <-timer.C:
		}
		status := about()
		status.Instance = r.Instance
		value, err := json.Marshal(status)
		if err == nil {
			call, cancel := context.WithTimeout(ctx, leaseCall)
			err = r.Store.Announce(call, memberKeys+r.name, value)
			cancel()
		}
		if ctx.Err() == nil && r.report("announce this replica", err) {
			timer.Reset(leaseEvery)
		} else {
			timer.Reset(leaseRetry)
		}
	}
}

func (r *Replicas) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaseCall)
	defer cancel()
	// Unless the others are told they find out when it runs out.
	_ = r.Store.Withdraw(ctx, memberKeys+r.name)
}

// report says whether something went well, and tells if not.
func (r *Replicas) report(op string, err error) bool {
	r.mu.Lock()
	r.fault = err
	r.mu.Unlock()
	if err == nil {
		return true
	}
	if !errors.Is(err, context.Canceled) {
		r.Observer.Observe(Event{Kind: EventFault, At: r.Now(), Op: op, Err: err})
	}
	return false
}

// check says whether leases can be had, and who else is there.
func (r *Replicas) check() Check {
	r.mu.Lock()
	defer r.mu.Unlock()
	live := len(r.members.live(r.Now()))
	c := Check{Name: "replicas", OK: r.fault == nil, Detail: fmt.Sprintf("%d live, this one is %s", live, r.Instance)}
	if r.fault != nil {
		c.Detail += ": " + r.fault.Error()
	}
	return c
}

// balance gives back what is over the fair share and takes what is free below it.
func (r *Replicas) balance(ctx context.Context, wg *sync.WaitGroup, own func(context.Context, Lease)) {
	for _, shard := range r.plan() {
		if !r.take(ctx, wg, shard, own) {
			return
		}
	}
}

// plan begins to give back the surplus and returns what to take. Before this replica has
// heard of itself it has not heard of all the others either.
func (r *Replicas) plan() (take []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.Now()
	r.members.forget(now)
	live := r.members.live(now)
	if !slices.Contains(live, memberKeys+r.name) {
		return nil
	}
	var mine, free []int
	for i := range r.Shards {
		shard := (i + r.first()) % r.Shards
		_, held := r.members.holder(now, shardKey(shard))
		switch {
		case r.giving[shard]:
		case r.mine[shard] != nil:
			mine = append(mine, shard)
		case !held:
			free = append(free, shard)
		}
	}
	take, give := share(r.Shards, len(live), mine, free)
	for _, shard := range give {
		r.giving[shard] = true
		r.mine[shard].cancel(errSurplus)
	}
	return take
}

// first is the shard that this replica prefers, so that not all try the same ones.
func (r *Replicas) first() int {
	h := fnv.New32a()
	h.Write([]byte(r.Instance))
	return int(h.Sum32() % uint32(r.Shards))
}

// take serves a shard if its lease can be had. It returns false when there is no use in
// trying others at the moment.
func (r *Replicas) take(ctx context.Context, wg *sync.WaitGroup, shard int, own func(context.Context, Lease)) bool {
	h, err := r.get(ctx, shardKey(shard))
	if h == nil {
		return err == nil
	}
	since, err := r.since(ctx, shard)
	if !r.report("take shard", err) {
		_ = h.free() // else it runs out
		return false
	}
	ctx, h.cancel = context.WithCancelCause(ctx)
	r.mu.Lock()
	r.mine[shard] = h
	r.mu.Unlock()
	wg.Go(func() {
		r.serve(ctx, h, func(ctx context.Context) { own(ctx, Lease{Shard: shard, Since: since}) }, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.mine, shard)
			delete(r.giving, shard)
		})
	})
	return true
}

// get takes a lease; nil without an error means that somebody else has it.
func (r *Replicas) get(ctx context.Context, key string) (*hold, error) {
	h := &hold{store: r.Store, now: r.Now, key: key, value: r.value, cancel: func(error) {}}
	err := h.renew(ctx)
	if errors.Is(err, schemas.ErrConflict) {
		r.mu.Lock()
		r.members.refused(r.Now(), key)
		r.mu.Unlock()
		return nil, nil
	}
	if !r.report("take lease", err) {
		return nil, err
	}
	return h, nil
}

// since is later than that of all owners before, whatever the clocks say.
func (r *Replicas) since(ctx context.Context, shard int) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseCall)
	defer cancel()
	data, _, err := r.Store.StateGet(ctx, intakeKey(shard))
	if errors.Is(err, schemas.ErrNotFound) {
		return r.Now(), nil
	}
	if err != nil {
		return time.Time{}, err
	}
	latest, _ := parseIntakeRecord(data) // who reads it for good tells what is wrong with it
	if now := r.Now(); latest.Since.Before(now) {
		return now, nil
	}
	return latest.Since.Add(1), nil
}

// serve works while a lease is kept, then gives it back.
func (r *Replicas) serve(ctx context.Context, h *hold, work func(context.Context), ended func()) {
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx)) // also while the work settles
	kept := make(chan struct{})
	go func() { defer close(kept); h.keep(keeping) }()
	work(ctx)
	why := context.Cause(ctx)
	h.cancel(nil)
	stop()
	<-kept
	ended()
	if h.lost.Load() {
		r.Observer.Observe(Event{Kind: EventFault, At: r.Now(), Op: "lease lost", Subject: h.key, Err: why})
	}
	r.report("give back lease", h.free())
	r.look()
}

// Holds implements Leases.
func (r *Replicas) Holds(shard int) bool {
	r.mu.Lock()
	h := r.mine[shard]
	r.mu.Unlock()
	return h != nil && h.valid()
}

// Alone implements Leases.
func (r *Replicas) Alone(ctx context.Context, duty string, work func(context.Context)) {
	key := dutyKeys + duty
	repeat(ctx, ownAgain, func() {
		r.mu.Lock()
		_, held := r.members.holder(r.Now(), key)
		r.mu.Unlock()
		if held {
			return
		}
		h, _ := r.get(ctx, key) // an error was told
		if h == nil {
			return
		}
		var alone context.Context
		alone, h.cancel = context.WithCancelCause(ctx)
		r.serve(alone, h, work, func() {})
	})
}

// Owner implements Leases.
func (r *Replicas) Owner(shard int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, ok := r.members.holder(r.Now(), shardKey(shard))
	if !ok {
		return ""
	}
	return h.Instance
}

// Instances implements Leases.
func (r *Replicas) Instances() []schemas.InstanceStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.members.instances(r.Now())
}
