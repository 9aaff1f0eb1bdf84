package strategies

import (
	"fmt"
	"testing"
	"time"
)

// rig drives the breaker of one key and fails the test on what must never happen.
type rig struct {
	t   testing.TB
	set *BreakerSet
	now time.Duration // stream time
}

const rigKey = "orders.new"

// newRig changes the defaults by edit, which may be nil.
func newRig(t testing.TB, edit func(*BreakerConfig)) *rig {
	t.Helper()
	cfg := DefaultBreaker()
	if edit != nil {
		edit(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, set: NewBreakerSet("test", cfg), now: 1_000 * time.Hour}
}

func (r *rig) step(in Input) Output {
	r.t.Helper()
	in.Now = int64(r.now)
	before := r.snapshot()
	out := r.set.Step(rigKey, in)
	after := r.snapshot()
	switch {
	case after.Generation < before.Generation && r.set.Len() > 0:
		r.t.Fatalf("generation fell from %d to %d", before.Generation, after.Generation)
	case out.Changed != (after.Generation > before.Generation):
		r.t.Fatalf("changed %v, generation %d then %d", out.Changed, before.Generation, after.Generation)
	case out.Changed && (out.Change.From != before.State || out.Change.To != after.State):
		r.t.Fatalf("transition %+v between %s and %s", out.Change, before.State, after.State)
	case out.Changed && (in.Kind == InFailure || in.Kind == InSuccess) != (out.Change.ID != ""):
		r.t.Fatalf("transition %+v does not name its cause", out.Change)
	case out.Changed && out.Change.Reason == "" && in.Kind != InOperator:
		r.t.Fatalf("transition %+v without a reason", out.Change)
	}
	return out
}

func (r *rig) snapshot() Snapshot {
	s, _ := r.set.Snapshot(rigKey)
	return s
}

func (r *rig) after(d time.Duration) *rig {
	r.now += d
	return r
}

func (r *rig) tick(lane int) Output {
	r.t.Helper()
	return r.step(Input{Kind: InTick, Lane: lane})
}

func (r *rig) due(lane int) Output {
	r.t.Helper()
	return r.step(Input{Kind: InDue, ID: "due", Lane: lane})
}

// fail reports a failure of the current generation.
func (r *rig) fail(id string, delivery int) Output {
	r.t.Helper()
	return r.failAs(id, delivery, ClassTransient)
}

func (r *rig) failAs(id string, delivery int, class Class) Output {
	r.t.Helper()
	return r.step(Input{Kind: InFailure, ID: id, Delivery: delivery, Class: class, Generation: r.snapshot().Generation})
}

func (r *rig) succeed(id string, delivery int) Output {
	r.t.Helper()
	return r.step(Input{Kind: InSuccess, ID: id, Delivery: delivery, Generation: r.snapshot().Generation})
}

func (r *rig) release(id string, delivery int) Output {
	r.t.Helper()
	return r.step(Input{Kind: InReleased, ID: id, Delivery: delivery})
}

func (r *rig) operate(op Operation) Output {
	r.t.Helper()
	return r.step(Input{Kind: InOperator, Op: op})
}

// trip opens the breaker by the default threshold of five.
func (r *rig) trip() Output {
	r.t.Helper()
	var out Output
	for i := range 5 {
		out = r.fail(fmt.Sprintf("trip-%d", i), 1)
	}
	r.in(Open)
	return out
}

// halfOpen waits for the end of the opening and looks at a lane.
func (r *rig) halfOpen(lane int) Output {
	r.t.Helper()
	r.now = time.Duration(r.snapshot().OpenUntil)
	out := r.tick(lane)
	r.in(HalfOpen)
	return out
}

// recovering brings a closed breaker through an outage.
func (r *rig) recovering(lane int) Output {
	r.t.Helper()
	r.trip()
	for range r.halfOpen(max(1, lane)).Want {
		r.release("probe", 1)
	}
	r.succeed("probe", 1)
	r.in(Recovering)
	return r.tick(lane)
}

func (r *rig) in(want State) {
	r.t.Helper()
	if got := r.set.State(rigKey); got != want {
		r.t.Fatalf("%s, want %s", got, want)
	}
}

func (r *rig) eq(what string, got, want any) {
	r.t.Helper()
	if got != want {
		r.t.Fatalf("%s is %v, want %v", what, got, want)
	}
}
