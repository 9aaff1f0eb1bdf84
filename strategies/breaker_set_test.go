package strategies

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func failure(now int64, id string) Input {
	return Input{Kind: InFailure, Now: now, ID: id, Delivery: 1}
}

func openKey(t *testing.T, s *BreakerSet, key string, now int64) {
	t.Helper()
	for i := range 5 {
		s.Step(key, failure(now, fmt.Sprint(i)))
	}
	if got := s.State(key); got != Open {
		t.Fatalf("%s is %s", key, got)
	}
}

func TestHealthyKeysTakeNoMemory(t *testing.T) {
	t.Parallel()
	s := NewBreakerSet("p", DefaultBreaker())
	for _, in := range []Input{{Kind: InDue}, {Kind: InTick}, {Kind: InSuccess, ID: "a"}, {Kind: InReleased, ID: "a"}, {Kind: InOperator, Op: Operation{To: Closed}}} {
		if out := s.Step("k", in); out.Changed || out.Generation != 0 || out.Key != "k" {
			t.Errorf("%+v: %+v", in, out)
		}
	}
	if _, known := s.Snapshot("k"); known || s.Len() != 0 || s.Next() != 0 {
		t.Errorf("%d keys, next %d", s.Len(), s.Next())
	}
}

func TestClosedIdleKeysAreForgotten(t *testing.T) {
	t.Parallel()
	window := int64(DefaultBreaker().Window)
	s := NewBreakerSet("p", DefaultBreaker())
	s.Step("idle", failure(1, "a"))
	openKey(t, s, "open", 1)
	s.Step("forced", Input{Kind: InOperator, Now: 1, Op: Operation{To: ForcedOpen}})
	if got := s.Due(window); len(got) != 0 && !slices.Equal(got, []string{"open"}) {
		t.Errorf("due within the window: %v", got)
	}
	for _, now := range []int64{window, window + 1, 5 * window} {
		for _, key := range s.Due(now) {
			s.Step(key, Input{Kind: InTick, Now: now})
		}
		if got := s.State("forced"); got != ForcedOpen {
			t.Fatalf("forced is %s", got)
		}
		if _, known := s.Snapshot("idle"); known == (now > window) {
			t.Errorf("at %d idle is known: %v", now, known)
		}
	}
	if counts := s.Counts(); counts[HalfOpen] != 1 || counts[ForcedOpen] != 1 || counts[Closed] != 0 {
		t.Errorf("counts %v", counts)
	}
}

func TestKeysBeyondTheLimitShareABreaker(t *testing.T) {
	t.Parallel()
	cfg := DefaultBreaker()
	cfg.MaxKeys = 2
	s := NewBreakerSet("p", cfg)
	openKey(t, s, "a", 1)
	openKey(t, s, "b", 1)
	if s.Overflowed() || s.Resolve("c") != "c" {
		t.Fatal("shared before it had to be")
	}
	for i := range 5 {
		out := s.Step(fmt.Sprintf("c-%d", i), failure(2, fmt.Sprint(i)))
		if out.Key != OverflowKey || out.Changed != (i == 4) {
			t.Fatalf("failure %d: %+v", i, out)
		}
	}
	if !s.Overflowed() || s.Resolve("new") != OverflowKey || s.Resolve("a") != "a" || s.State("new") != Open {
		t.Errorf("overflowed %v, new is governed by %s and %s", s.Overflowed(), s.Resolve("new"), s.State("new"))
	}
	if out := s.Step("new", Input{Kind: InDue}); out.Verdict != VerdictHold || out.Key != OverflowKey {
		t.Errorf("a due message of a new key: %+v", out)
	}
	if got := s.State("a"); got != Open {
		t.Errorf("a is %s", got)
	}
	for now := s.Next(); s.Len() > 0; now = s.Next() { // nothing is held, so all of them close and are forgotten
		for _, key := range s.Due(now) {
			s.Step(key, Input{Kind: InTick, Now: now})
		}
	}
	if s.Overflowed() || s.Resolve("new") != "new" {
		t.Error("shared for ever")
	}
}

func TestRoomIsMadeByIdleKeysOnly(t *testing.T) {
	t.Parallel()
	cfg := DefaultBreaker()
	cfg.MaxKeys = 2
	s := NewBreakerSet("p", cfg)
	openKey(t, s, "open", 1)
	s.Step("idle", failure(1, "a"))
	if out := s.Step("new", failure(int64(cfg.Window)+1, "b")); out.Key != "new" {
		t.Errorf("no room was made: %+v", out)
	}
	if _, known := s.Snapshot("idle"); known || s.State("open") != Open {
		t.Errorf("idle is known: %v, open is %s", known, s.State("open"))
	}
}

// Invariant 11: whatever is in memory and however many keys there are, only a step of its own closes a breaker.
func TestForgettingClosesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cfg := DefaultBreaker()
		cfg.MaxKeys, cfg.FailureThreshold, cfg.MinDistinct = 4, 2, 1
		s := NewBreakerSet("p", cfg)
		now := int64(1)
		for n := range rapid.IntRange(1, 100).Draw(t, "steps") {
			now += rapid.Int64Range(0, 40e9).Draw(t, "pause")
			notClosed := map[string]State{}
			s.Each(func(b Snapshot) {
				if b.State != Closed {
					notClosed[b.Key] = b.State
				}
			})
			key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g"}).Draw(t, "key")
			kind := InputKind(rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3}).Draw(t, "kind"))
			out := s.Step(key, Input{Kind: kind, Now: now, ID: fmt.Sprint(n), Delivery: 1, Lane: rapid.IntRange(0, 1).Draw(t, "lane")})
			for k, before := range notClosed {
				after, known := s.Snapshot(k)
				if changed := k == out.Key && out.Changed; !known || after.State != before && !changed {
					t.Fatalf("%s was %s; after %+v it is %+v", k, before, out, after)
				}
			}
		}
	})
}

func TestDueQueue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var q dueQueue
		all := make([]*breaker, 20)
		for i := range all {
			all[i] = &breaker{key: fmt.Sprintf("%02d", i), slot: -1}
		}
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			b := all[rapid.IntRange(0, len(all)-1).Draw(t, "which")]
			b.next = rapid.Int64Range(0, 30).Draw(t, "next")
			q.place(b)
			now := rapid.Int64Range(0, 30).Draw(t, "now")
			var want []string
			for _, b := range all {
				if b.next != 0 && b.next <= now {
					want = append(want, b.key)
				}
			}
			got := q.due(0, now, nil)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("due %v, want %v", got, want)
			}
		}
	})
}

func TestPickProbes(t *testing.T) {
	t.Parallel()
	lane := []Candidate{{1, "a", 3}, {2, "b", 1}, {3, "c", 2}, {4, "b", 1}, {5, "d", 1}}
	r := newRig(t, probes(2, 2))
	pick := func(n int) []int { return r.set.PickProbes(rigKey, n, lane) }
	check := func(what string, got, want []int) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	check("unknown key, least tried first, each id once", pick(9), []int{1, 4, 2, 0})
	check("none", pick(0), nil)
	r.trip()
	r.halfOpen(5)
	check("two", pick(2), []int{1, 4})
	r.release("b", 1)
	r.release("d", 1)
	check("those of this round last", pick(9), []int{2, 0, 1, 4})
	r.fail("b", 1)
	r.halfOpen(5)
	check("those of the last round last", pick(9), []int{2, 0, 1, 4})
	r.release("c", 2)
	check("this round after the last", pick(9), []int{0, 1, 4, 2})
	for range 100 {
		lane = slices.Insert(lane, 0, Candidate{9, "first", 9})
	}
	check("only the first 64 are looked at", pick(9), []int{0})
	lane = nil
	check("an empty lane", pick(9), nil)
}

func TestConfigureKeepsStates(t *testing.T) {
	t.Parallel()
	r := newRig(t, reported)
	until := r.trip().Change.OpenUntil
	r.set.Configure(edited(func(c *BreakerConfig) { reported(c); c.ResetTimeout = time.Second }))
	r.eq("open_until", r.snapshot().OpenUntil, until)
	r.halfOpen(5)
	r.release("a", 1)
	r.succeed("a", 1)
	r.in(Recovering)

	r.set.Configure(edited(func(c *BreakerConfig) { c.Disabled = true }))
	r.eq("due at once", slices.Contains(r.set.Due(int64(r.now)), rigKey), true)
	r.eq("a due message beside a lane", r.due(4).Verdict, VerdictHold)
	r.eq("a due message", r.due(0).Verdict, VerdictRelease)
	out := r.tick(4)
	r.in(Disabled)
	r.eq("reason", out.Change.Reason, ReasonPolicy)
	r.eq("want", out.Want, 4)
	for i := range 9 {
		r.fail(fmt.Sprint(i), 1)
	}
	r.tick(0)
	r.in(Closed)
	r.eq("want", r.tick(3).Want, 3)

	r.set.Configure(edited(reported))
	r.tick(3)
	r.in(Recovering)
}

func TestDisabledPolicyKeepsNothing(t *testing.T) {
	t.Parallel()
	s := NewBreakerSet("p", edited(func(c *BreakerConfig) { c.Disabled = true }))
	for i := range 20 {
		s.Step("k", failure(1, fmt.Sprint(i)))
	}
	if s.Len() != 0 || s.Step("k", Input{Kind: InDue}).Verdict != VerdictRelease {
		t.Errorf("%d keys", s.Len())
	}
	s.Step("k", Input{Kind: InOperator, Now: 2, Op: Operation{To: ForcedOpen, Until: 9}})
	if s.Step("k", Input{Kind: InDue, Now: 3}).Verdict != VerdictHold {
		t.Error("an operator has the last word, but the message was released")
	}
	if out := s.Step("k", Input{Kind: InTick, Now: 9, Lane: 2}); s.State("k") != Disabled || out.Want != 2 {
		t.Errorf("after the operator's limit: %s, %+v", s.State("k"), out)
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	r := newRig(t, reported)
	r.trip()
	r.halfOpen(3)
	r.release("a", 1)
	stored := r.snapshot()
	if stored.Policy != "test" || stored.Key != rigKey || len(stored.Leases) != 1 || len(stored.Samples) == 0 {
		t.Errorf("snapshot %+v", stored)
	}
	r.succeed("a", 1)
	r.set.Restore(stored) // older than what is known
	r.in(Recovering)

	r.set = NewBreakerSet("test", r.set.cfg)
	r.set.Restore(stored)
	r.in(HalfOpen)
	r.eq("due at once", slices.Contains(r.set.Due(int64(r.now)), rigKey), true)
	r.eq("result", r.succeed("a", 1).ProbeResult, ProbeSuccess)
	r.in(Recovering)

	s := NewBreakerSet("p", DefaultBreaker())
	s.Restore(Snapshot{Key: OverflowKey, State: Open, Generation: 7, OpenUntil: 9})
	if !s.Overflowed() || s.State("any") != Open {
		t.Errorf("overflowed %v, any is %s", s.Overflowed(), s.State("any"))
	}
}

// The clock of a set never goes back, so a late record cannot end an opening early or late.
func TestTimeNeverGoesBack(t *testing.T) {
	t.Parallel()
	s := NewBreakerSet("p", DefaultBreaker())
	openKey(t, s, "k", int64(time.Hour))
	until := s.Next()
	s.Step("other", Input{Kind: InTick, Now: until})
	if s.Step("k", Input{Kind: InTick, Now: 1}); s.State("k") != HalfOpen {
		t.Errorf("k is %s", s.State("k"))
	}
}
