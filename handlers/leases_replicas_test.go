package handlers

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// leaseTable is a bucket of leases in memory.
type leaseTable struct {
	mu       sync.Mutex
	revision uint64
	entries  map[string]leaseEntry
	handles  []*leaseHandle
	owners   map[int]time.Time // latest of each shard
}

type leaseEntry struct {
	value    string
	revision uint64
	at       time.Time
}

// leaseHandle is one replica's way to the table.
type leaseHandle struct {
	*leaseTable
	cut   bool // requests end with their context, nothing is heard
	heard func(key string, value []byte)
}

func newLeaseTable() *leaseTable {
	return &leaseTable{entries: map[string]leaseEntry{}, owners: map[int]time.Time{}}
}

func (t *leaseTable) handle() *leaseHandle {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := &leaseHandle{leaseTable: t}
	t.handles = append(t.handles, h)
	return h
}

func (h *leaseHandle) set(cut bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cut = cut
}

// reach waits as a request does.
func (h *leaseHandle) reach(ctx context.Context) error {
	h.mu.Lock()
	cut := h.cut
	h.mu.Unlock()
	if cut {
		<-ctx.Done()
		return fmt.Errorf("%w: %w", schemas.ErrTimeout, ctx.Err())
	}
	return ctx.Err()
}

func (t *leaseTable) get(key string) (leaseEntry, bool) {
	e, ok := t.entries[key]
	return e, ok && time.Since(e.at) < leaseTTL
}

// store needs the lock and gives it up.
func (t *leaseTable) store(key string, value []byte) uint64 {
	t.revision++
	if value == nil {
		delete(t.entries, key)
	} else {
		t.entries[key] = leaseEntry{string(value), t.revision, time.Now()}
	}
	var hear []func(string, []byte)
	for _, h := range t.handles {
		if h.heard != nil && !h.cut {
			hear = append(hear, h.heard)
		}
	}
	revision := t.revision
	t.mu.Unlock()
	for _, on := range hear {
		on(key, value)
	}
	return revision
}

func (h *leaseHandle) HoldLease(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if err := h.reach(ctx); err != nil {
		return 0, err
	}
	h.mu.Lock()
	e, held := h.get(key)
	if held && e.revision != revision && e.value != string(value) || !held && revision != 0 {
		h.mu.Unlock()
		return 0, schemas.ErrConflict
	}
	return h.store(key, value), nil
}

func (h *leaseHandle) FreeLease(ctx context.Context, key string, revision uint64) error {
	if err := h.reach(ctx); err != nil {
		return err
	}
	h.mu.Lock()
	if e, held := h.get(key); !held || e.revision != revision {
		h.mu.Unlock()
		return schemas.ErrConflict
	}
	h.store(key, nil)
	return nil
}

func (h *leaseHandle) Announce(ctx context.Context, key string, value []byte) error {
	if err := h.reach(ctx); err != nil {
		return err
	}
	h.mu.Lock()
	h.store(key, value)
	return nil
}

func (h *leaseHandle) Withdraw(ctx context.Context, key string) error {
	return h.Announce(ctx, key, nil)
}

func (h *leaseHandle) FollowLeases(_ context.Context, on func(string, []byte)) (func(), error) {
	h.mu.Lock()
	h.heard = on
	known := maps.Clone(h.entries)
	h.mu.Unlock()
	for key, e := range known {
		if time.Since(e.at) < leaseTTL {
			on(key, []byte(e.value))
		}
	}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.heard = nil
	}, nil
}

func (h *leaseHandle) StateGet(_ context.Context, key string) (data []byte, revision uint64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for shard, since := range h.owners {
		if key == intakeKey(shard) {
			data, err = json.Marshal(intakeRecord{Since: since})
			return data, 1, err
		}
	}
	return nil, 0, schemas.ErrNotFound
}

// fleet is several replicas on one table.
type fleet struct {
	t     *testing.T
	table *leaseTable

	mu     sync.Mutex
	owners map[int][]string // who works on a shard right now
	gaps   map[int]time.Duration
	left   map[int]time.Time
	seen   map[int]time.Time // since of the latest owner
}

// member is one replica of a fleet.
type fleetMember struct {
	*Replicas
	store *leaseHandle
	stop  func() // as SIGTERM does, and waits
}

func newFleet(t *testing.T) *fleet {
	return &fleet{t: t, table: newLeaseTable(), owners: map[int][]string{}, gaps: map[int]time.Duration{}, left: map[int]time.Time{}, seen: map[int]time.Time{}}
}

const fleetShards = 8

func (f *fleet) join(name string) *fleetMember {
	f.t.Helper()
	m := &fleetMember{store: f.table.handle()}
	r, err := NewReplicas(ReplicasConfig{Store: m.store, Instance: name, Session: name, Shards: fleetShards})
	if err != nil {
		f.t.Fatal(err)
	}
	m.Replicas = r
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = r.Run(ctx, func() schemas.InstanceStatus { return schemas.InstanceStatus{} }, func(ctx context.Context, l Lease) { f.own(ctx, m, name, l) })
	}()
	m.stop = sync.OnceFunc(func() { cancel(); <-over })
	return m
}

// own works on a shard as a loop does: it acts while it holds the lease, and takes a
// moment to settle.
func (f *fleet) own(ctx context.Context, m *fleetMember, name string, l Lease) {
	f.mu.Lock()
	if !l.Since.After(f.seen[l.Shard]) {
		f.t.Errorf("shard %d: %s since %v is not after the owner before", l.Shard, name, l.Since)
	}
	f.seen[l.Shard] = l.Since
	if at, ok := f.left[l.Shard]; ok {
		f.gaps[l.Shard] = max(f.gaps[l.Shard], time.Since(at))
	}
	f.mu.Unlock()
	f.table.mu.Lock()
	f.table.owners[l.Shard] = l.Since
	f.table.mu.Unlock()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	acting := false
	act := func(now bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		switch {
		case now && !acting:
			f.owners[l.Shard] = append(f.owners[l.Shard], name)
			if len(f.owners[l.Shard]) > 1 {
				f.t.Errorf("shard %d has the owners %v at the same time", l.Shard, f.owners[l.Shard])
			}
		case !now && acting:
			i := slices.Index(f.owners[l.Shard], name)
			f.owners[l.Shard] = slices.Delete(f.owners[l.Shard], i, i+1)
			f.left[l.Shard] = time.Now()
		}
		acting = now
	}
	defer act(false)
	for {
		act(m.Holds(l.Shard))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			time.Sleep(20 * time.Millisecond)
			return
		}
	}
}

// shares is how many shards each replica works on, largest first.
func (f *fleet) shares() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	count := map[string]int{}
	for _, names := range f.owners {
		for _, name := range names {
			count[name]++
		}
	}
	all := slices.Collect(maps.Values(count))
	slices.SortFunc(all, func(a, b int) int { return b - a })
	return all
}

func (f *fleet) want(shares ...int) {
	f.t.Helper()
	synctest.Wait()
	if got := f.shares(); !slices.Equal(got, shares) {
		f.t.Errorf("after %v the shares are %v, want %v", time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), got, shares)
	}
}

// longest is the longest time a shard was without an owner since the last call.
func (f *fleet) longest() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	longest := time.Duration(0)
	for _, gap := range f.gaps {
		longest = max(longest, gap)
	}
	clear(f.gaps)
	return longest
}

func TestReplicasShareAndHandOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		a := f.join("a")
		time.Sleep(time.Second)
		f.want(8)
		b := f.join("b")
		time.Sleep(time.Second)
		f.want(4, 4)
		c := f.join("c")
		time.Sleep(time.Second)
		f.want(3, 3, 2)
		b.stop()
		time.Sleep(100 * time.Millisecond)
		f.want(4, 4)
		if gap := f.longest(); gap > 200*time.Millisecond {
			t.Errorf("a shard had no owner for %v", gap)
		}
		if got := a.Instances(); len(got) != 2 || got[0].Instance != "a" || got[1].Instance != "c" {
			t.Errorf("a knows of %+v, want a and c", got)
		}
		a.stop()
		c.stop()
	})
}

func TestReplicaThatIsCutOffStopsBeforeOthersBegin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		a, b := f.join("a"), f.join("b")
		time.Sleep(time.Second)
		f.want(4, 4)
		b.store.set(true)
		time.Sleep(leaseSafe + 100*time.Millisecond)
		f.want(4) // b stopped by itself, and a has not got its leases yet
		time.Sleep(leaseTTL - leaseSafe + time.Second)
		f.want(8)
		if gap := f.longest(); gap > 6*time.Second {
			t.Errorf("a shard had no owner for %v", gap)
		}
		b.store.set(false)
		time.Sleep(5 * time.Second)
		f.want(4, 4)
		a.stop()
		b.stop()
	})
}

func TestReplicasSurviveALossOfTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		a, b := f.join("a"), f.join("b")
		time.Sleep(time.Second)
		for _, lasts := range []time.Duration{4 * time.Second, time.Minute} {
			a.store.set(true)
			b.store.set(true)
			time.Sleep(lasts)
			a.store.set(false)
			b.store.set(false)
			time.Sleep(5 * time.Second)
			f.want(4, 4)
		}
		a.stop()
		b.stop()
	})
}

func TestDutyIsDoneByOneAndTakenOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		a, b := f.join("a"), f.join("b")
		time.Sleep(time.Second)
		var mu sync.Mutex
		var at []string
		work := func(name string) func(context.Context) {
			return func(ctx context.Context) {
				mu.Lock()
				at = append(at, name)
				mu.Unlock()
				<-ctx.Done()
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { a.Alone(ctx, "sweep", work("a")) })
		time.Sleep(10 * time.Millisecond)
		wg.Go(func() { b.Alone(ctx, "sweep", work("b")) })
		time.Sleep(time.Minute)
		a.store.set(true)
		time.Sleep(15 * time.Second)
		cancel()
		wg.Wait()
		if !slices.Equal(at, []string{"a", "b"}) {
			t.Errorf("it was done by %v, want by a and, when that was cut off, by b", at)
		}
		a.stop()
		b.stop()
	})
}

func TestShareIsFair(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		shards, members int
		mine, free      []int
		take, give      []int
	}{
		{8, 1, nil, []int{0, 1, 2, 3, 4, 5, 6, 7}, []int{0, 1, 2, 3, 4, 5, 6, 7}, nil},
		{8, 3, []int{4}, []int{5, 6, 7}, []int{5, 6}, nil},
		{8, 3, []int{1, 2, 3, 4, 5}, []int{7}, nil, []int{4, 5}},
		{8, 2, []int{1, 2, 3, 4}, []int{7}, []int{}, nil},
		{2, 5, []int{1}, []int{}, []int{}, nil},
		{8, 0, nil, []int{1}, []int{1}, nil},
	} {
		take, give := share(c.shards, c.members, c.mine, c.free)
		if !slices.Equal(take, c.take) || !slices.Equal(give, c.give) {
			t.Errorf("%d shards, %d members, mine %v, free %v: take %v give %v, want %v and %v", c.shards, c.members, c.mine, c.free, take, give, c.take, c.give)
		}
	}
}

func TestFreshAsksBothClocks(t *testing.T) {
	t.Parallel()
	sent := time.Now()
	for _, c := range []struct {
		what string
		now  time.Time
		want bool
	}{
		{"just kept", sent.Add(time.Second), true},
		{"time is up", sent.Add(leaseSafe), false},
		{"the machine was suspended", sent.Add(time.Minute).Round(0), false},
	} {
		if got := fresh(sent, c.now); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}
