package strategies

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func reported(c *BreakerConfig) { c.Evidence = EvidenceReport }

func probes(n, successes int) func(*BreakerConfig) {
	return func(c *BreakerConfig) { c.Evidence, c.Probes, c.Successes = EvidenceReport, n, successes }
}

// Each subtest is a row of the table in the specification, section 3.
func TestBreakerTable(t *testing.T) {
	t.Parallel()
	rows := map[string]func(*rig){
		"closed: a countable failure trips":                              rowTrips,
		"any: the outcome of an older generation is late":                rowLate,
		"open: a failure never trips again nor extends":                  rowOpenFailure,
		"open: a due message is held":                                    rowOpenDue,
		"open: at open_until, not after it, half open":                   rowOpenUntil,
		"half_open: success of a live lease":                             rowProbeSuccess,
		"half_open: countable failure of a live lease":                   rowProbeFailure,
		"half_open: permanent or ignored failure reassigns the lease":    rowProbeReassigned,
		"half_open: reassigned 3 times the slot is unknown":              rowProbeReassignedOften,
		"half_open: a lease that ran out is unknown":                     rowLeaseRanOut,
		"half_open: an outcome without a live lease is no verdict":       rowNoLease,
		"half_open: success out of reach opens on the next level":        rowOutOfReach,
		"half_open: all settled without a verdict opens, same level":     rowNoVerdict,
		"half_open: nothing to probe with":                               rowNothingToProbe,
		"recovering: released while in flight is below the limit":        rowRamp,
		"recovering: the limit doubles, after a failure it grows by 1":   rowRampSlows,
		"recovering: a wave of failures halves the limit, at least 1":    rowRampFailure,
		"recovering: trips like closed, on the next level":               rowRecoveringTrips,
		"recovering: lane empty closes":                                  rowLaneEmpty,
		"closed: the level falls by one per healthy reset_timeout":       rowLevelFalls,
		"closed: a lane without a breaker starts in recovering":          rowLaneFound,
		"any: what is due joins a lane that is not empty":                rowJoinsLane,
		"closed: permanent and ignored failures do not count":            rowNotCounted,
		"closed: a long throttle hint opens at once, at most max_open":   rowHint,
		"closed: a short throttle hint does not":                         rowShortHint,
		"forced_open: holds, counts nothing, ends at its limit":          rowForcedOpen,
		"disabled: releases, counts nothing, ends at its limit":          rowDisabled,
		"operator: reset closes and drains what is held by the ramp":     rowReset,
		"operator: half_open probes now":                                 rowProbeNow,
		"recovering: a release without an outcome stops counting":        rowInFlightEnds,
		"half_open: more releases than probes get no lease":              rowNoMoreLeases,
		"open: openings grow by the multiplier up to max_open, ± 10 %":   rowOpenGrows,
		"closed: one poison message never opens":                         rowPoison,
		"closed: without reported success failures must lie in a window": rowWindow,
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			row(newRig(t, reported))
		})
	}
}

func rowTrips(r *rig) {
	for i := range 4 {
		r.eq("changed", r.fail(fmt.Sprintf("m-%d", i), 1).Changed, false)
	}
	out := r.step(Input{Kind: InFailure, ID: "m-4", Delivery: 1}) // carries no generation
	r.eq("changed", out.Changed, true)
	want := Transition{
		From: Closed, To: Open, Generation: int64(r.now) / 1e6, Level: 1, OpenUntil: out.Next, At: int64(r.now),
		ID: "m-4", Reason: ReasonFailures,
	}
	r.eq("transition", out.Change, want)
	r.eq("generation", out.Generation, want.Generation)
	if length := time.Duration(out.Next) - r.now; length < 54*time.Second || length > 66*time.Second {
		r.t.Errorf("open for %v, want 60 s ± 10 %%", length)
	}
}

func rowLate(r *rig) {
	older := r.trip().Generation - 1
	for range 2 {
		before := r.snapshot()
		out := r.step(Input{Kind: InFailure, ID: "late", Delivery: 1, Generation: older})
		r.eq("late", out.Late, true)
		if after := r.snapshot(); !reflect.DeepEqual(before, after) {
			r.t.Fatalf("changed from %+v to %+v", before, after)
		}
		r.halfOpen(1)
		r.release("late", 1)
	}
}

func rowOpenFailure(r *rig) {
	opened := r.trip()
	for i := range 20 {
		out := r.after(time.Second).fail(fmt.Sprintf("more-%d", i), 1)
		r.eq("changed", out.Changed, false)
		r.eq("next", out.Next, opened.Next)
	}
	r.eq("open_until", r.snapshot().OpenUntil, opened.Change.OpenUntil)
}

func rowOpenDue(r *rig) {
	opened := r.trip()
	out := r.due(0)
	r.eq("verdict", out.Verdict, VerdictHold)
	r.eq("generation", out.Generation, opened.Generation)
	r.eq("want", r.tick(1).Want, 0)
}

func rowOpenUntil(r *rig) {
	r.now = time.Duration(r.trip().Change.OpenUntil) - 1
	r.eq("changed", r.tick(9).Changed, false)
	out := r.after(1).tick(9)
	r.in(HalfOpen)
	r.eq("reason", out.Change.Reason, ReasonResetTimeout)
	r.eq("want", out.Want, 1)
	r.eq("probing", out.Probing, true)
	r.eq("lease", r.release("a", 1).Next, int64(r.now+30*time.Second))
	r.eq("want", r.tick(8).Want, 0)
	r.eq("verdict", r.due(8).Verdict, VerdictHold)
}

func rowProbeSuccess(r *rig) {
	r.trip()
	r.halfOpen(1)
	r.release("a", 3)
	out := r.succeed("a", 3)
	r.in(Recovering)
	r.eq("result", out.ProbeResult, ProbeSuccess)
	r.eq("cause", out.Change.ID, "a")
	r.eq("reason", out.Change.Reason, ReasonProbesOK)
	r.eq("next", out.Next, int64(r.now))
}

func rowProbeFailure(r *rig) {
	r.trip()
	r.halfOpen(1)
	r.release("a", 3)
	out := r.failAs("a", 3, ClassTimeout)
	r.in(Open)
	r.eq("result", out.ProbeResult, ProbeFailure)
	r.eq("level", out.Change.Level, 2)
	r.eq("reason", out.Change.Reason, ReasonProbesFailed)
}

func rowProbeReassigned(r *rig) {
	for _, class := range []Class{ClassPermanent, ClassIgnored} {
		r.set = NewBreakerSet("test", r.set.cfg)
		r.trip()
		r.halfOpen(2)
		r.release("a", 1)
		out := r.failAs("a", 1, class)
		r.in(HalfOpen)
		r.eq("result", out.ProbeResult, ProbeReassigned)
		r.eq("next", out.Next, int64(r.now))
		r.eq("want", r.tick(1).Want, 1)
	}
}

func rowProbeReassignedOften(r *rig) {
	r.trip()
	r.halfOpen(9)
	for i := range 2 {
		id := fmt.Sprintf("a-%d", i)
		r.release(id, 1)
		r.eq("result", r.failAs(id, 1, ClassPermanent).ProbeResult, ProbeReassigned)
		r.eq("want", r.tick(9).Want, 1)
	}
	r.release("a-2", 1)
	out := r.failAs("a-2", 1, ClassPermanent)
	r.eq("result", out.ProbeResult, ProbeUnknown)
	r.eq("reason", out.Change.Reason, ReasonProbesUnknown)
	r.eq("level", out.Change.Level, 1)
	r.in(Open)
}

func rowLeaseRanOut(r *rig) {
	r.trip()
	r.halfOpen(2)
	r.release("a", 1)
	r.eq("changed", r.after(30*time.Second-1).tick(1).Changed, false)
	out := r.after(1).tick(1)
	r.in(HalfOpen)
	r.eq("result", out.ProbeResult, ProbeUnknown)
	r.eq("want", out.Want, 1) // another message
	r.eq("verdict of the lost one", r.succeed("a", 1).Changed, false)
}

func rowNoLease(r *rig) {
	r.trip()
	r.halfOpen(2)
	r.release("a", 2)
	for _, out := range []Output{r.succeed("b", 1), r.fail("c", 1), r.succeed("a", 1), r.fail("a", 3)} {
		r.eq("changed", out.Changed, false)
		r.eq("result", out.ProbeResult, "")
	}
	r.eq("leases", len(r.snapshot().Leases), 1)
	r.after(30*time.Second).succeed("a", 2) // at its end a lease is not live any more
	r.in(HalfOpen)
}

func rowOutOfReach(r *rig) {
	r.set.Configure(edited(probes(3, 2)))
	r.trip()
	r.eq("want", r.halfOpen(9).Want, 3)
	for i := range 3 {
		r.release(fmt.Sprintf("a-%d", i), 1)
	}
	r.fail("a-0", 1)
	r.in(HalfOpen)
	r.eq("level", r.fail("a-1", 1).Change.Level, 2)
	r.in(Open)
}

func rowNoVerdict(r *rig) {
	r.set.Configure(edited(probes(2, 2)))
	r.trip()
	r.halfOpen(99)
	r.release("ok", 1)
	r.succeed("ok", 1)
	for i := range 5 { // two probes may use 3 × 2 messages
		r.in(HalfOpen)
		r.release(fmt.Sprintf("lost-%d", i), 1)
		r.after(30 * time.Second).tick(99)
	}
	r.in(Open)
	r.eq("level", r.snapshot().Level, 1)
	r.eq("reason", r.snapshot().Reason, ReasonProbesUnknown)
}

func rowNothingToProbe(r *rig) {
	r.trip()
	r.eq("next", r.halfOpen(0).Next, int64(r.now+5*time.Second))
	r.eq("changed", r.after(5*time.Second-1).tick(0).Changed, false)
	out := r.after(1).tick(0)
	r.in(Recovering)
	r.eq("reason", out.Change.Reason, ReasonNothingToProbe)
	r.eq("next", out.Next, int64(r.now+5*time.Second))
	r.tick(0)
	r.in(Closed)
}

func rowRamp(r *rig) {
	r.eq("want", r.recovering(9).Want, 1)
	r.release("a", 1)
	r.eq("want", r.tick(8).Want, 0)
	r.eq("verdict", r.due(8).Verdict, VerdictHold)
	r.eq("next", r.succeed("a", 1).Next, int64(r.now))
	r.eq("want", r.tick(8).Want, 2)
	r.release("b", 1)
	r.eq("want", r.tick(7).Want, 1)
	r.release("c", 1)
	r.succeed("b", 1)
	r.eq("want", r.tick(6).Want, 1)
	r.succeed("c", 1)
	r.eq("want", r.tick(6).Want, 4)
	r.eq("want of a short lane", r.tick(3).Want, 3)
}

// climb lets every release of a full lane succeed until the limit is reached.
func (r *rig) climb(limit int) {
	r.t.Helper()
	for n := 0; r.snapshot().RampLimit < limit; n++ {
		for i := range r.tick(1 << 20).Want {
			r.release(fmt.Sprintf("climb-%d-%d-%d", limit, n, i), 1)
			r.succeed(fmt.Sprintf("climb-%d-%d-%d", limit, n, i), 1)
		}
	}
}

func rowRampSlows(r *rig) {
	r.recovering(9)
	r.climb(1_024)
	r.eq("limit", r.snapshot().RampLimit, 1_024)
	r.climb(1_024)
	for i := range 1_024 {
		r.release(fmt.Sprintf("full-%d", i), 1)
		r.succeed(fmt.Sprintf("full-%d", i), 1)
	}
	r.eq("limit", r.snapshot().RampLimit, 1_024) // ramp_max
	r.fail("x", 1)
	r.eq("limit", r.snapshot().RampLimit, 512)
	r.climb(513)
	r.eq("limit", r.snapshot().RampLimit, 513)
}

func rowRampFailure(r *rig) {
	r.recovering(9)
	r.climb(8)
	r.fail("x", 1)
	r.eq("limit", r.snapshot().RampLimit, 4)
	r.eq("duplicate", r.fail("x", 1).Duplicate, true)
	r.eq("limit", r.snapshot().RampLimit, 4)
	r.step(Input{Kind: InFailure, ID: "none", Delivery: 1}) // no generation: perhaps from within the outage
	r.failAs("permanent", 1, ClassPermanent)
	r.eq("limit", r.snapshot().RampLimit, 4)
	for i := range 9 {
		r.fail("x", 2+i)
	}
	r.eq("limit after more of the same wave", r.snapshot().RampLimit, 4)
	for i, want := range []int{2, 1, 1} {
		r.after(time.Second).release("well", i)
		r.succeed("well", i)
		r.after(time.Second).release("ill", i)
		r.fail("ill", i)
		r.eq("limit", r.snapshot().RampLimit, want)
	}
	r.in(Recovering)
}

func rowRecoveringTrips(r *rig) {
	r.recovering(9)
	for i := range 4 {
		r.eq("changed", r.fail(fmt.Sprintf("m-%d", i), 1).Changed, false)
	}
	out := r.fail("m-4", 1)
	r.in(Open)
	r.eq("level", out.Change.Level, 2)
	r.eq("from", out.Change.From, Recovering)
}

func rowLaneEmpty(r *rig) {
	r.recovering(9)
	r.fail("m", 1)
	out := r.tick(0)
	r.in(Closed)
	r.eq("reason", out.Change.Reason, ReasonLaneEmpty)
	s := r.snapshot()
	r.eq("run", s.Failures+s.Distinct+len(s.Leases)+len(s.Samples), 0)
	r.eq("level", s.Level, 1)
	r.eq("verdict", r.due(0).Verdict, VerdictRelease)
}

func rowLevelFalls(r *rig) {
	r.recovering(0)
	r.in(Closed)
	r.after(60*time.Second - 1).tick(0)
	r.eq("level", r.snapshot().Level, 1)
	r.fail("m", 1) // not healthy
	r.after(60*time.Second - 1).tick(0)
	r.eq("level", r.snapshot().Level, 1)
	r.after(1).tick(0)
	r.eq("level", r.snapshot().Level, 0)
}

func rowLaneFound(r *rig) {
	out := r.tick(3)
	r.in(Recovering)
	r.eq("reason", out.Change.Reason, ReasonLaneFound)
	r.eq("want", out.Want, 1)
	r.eq("probing", out.Probing, false)
}

func rowJoinsLane(r *rig) {
	r.eq("unknown key", r.due(0).Verdict, VerdictRelease)
	r.eq("unknown key", r.due(1).Verdict, VerdictHold)
	r.fail("m", 1)
	r.eq("closed", r.due(0).Verdict, VerdictRelease)
	r.eq("closed", r.due(1).Verdict, VerdictHold)
	r.operate(Operation{To: Disabled})
	r.eq("disabled", r.due(1).Verdict, VerdictHold)
	r.recovering2()
	r.eq("recovering", r.due(0).Verdict, VerdictHold)
}

func (r *rig) recovering2() {
	r.operate(Operation{To: Closed})
	r.tick(1)
	r.in(Recovering)
}

func rowNotCounted(r *rig) {
	for i := range 50 {
		r.failAs(fmt.Sprintf("p-%d", i), 1, ClassPermanent)
		r.failAs(fmt.Sprintf("i-%d", i), 1, ClassIgnored)
	}
	r.eq("records", r.set.Len(), 0)
}

func (r *rig) throttle(hint time.Duration) Output {
	r.t.Helper()
	return r.step(Input{Kind: InFailure, ID: "t", Delivery: 1, Class: ClassThrottled, Hint: hint})
}

func rowHint(r *rig) {
	for hint, want := range map[time.Duration]time.Duration{
		5 * time.Minute: 5 * time.Minute, 7 * time.Minute: 7 * time.Minute, 48 * time.Hour: 10 * time.Minute,
	} {
		r.set = NewBreakerSet("test", r.set.cfg)
		out := r.throttle(hint)
		r.in(Open)
		r.eq("reason", out.Change.Reason, ReasonHint)
		r.eq("open for", time.Duration(out.Change.OpenUntil)-r.now, want)
	}
}

func rowShortHint(r *rig) {
	r.throttle(5*time.Minute - 1)
	r.in(Closed)
	r.step(Input{Kind: InFailure, ID: "other", Delivery: 1, Class: ClassTransient, Hint: time.Hour})
	r.in(Closed)
}

func rowForcedOpen(r *rig) {
	until := int64(r.now + time.Hour)
	out := r.operate(Operation{To: ForcedOpen, Until: until, Actor: "eve", Reason: "maintenance"})
	r.eq("transition", out.Change, Transition{
		From: Closed, To: ForcedOpen, Generation: out.Generation, OpenUntil: until, At: int64(r.now), Reason: "maintenance", Actor: "eve",
	})
	r.eq("next", out.Next, until)
	r.eq("verdict", r.due(0).Verdict, VerdictHold)
	for i := range 9 {
		r.fail(fmt.Sprintf("m-%d", i), 1)
	}
	r.eq("want", r.after(time.Hour-1).tick(5).Want, 0)
	r.in(ForcedOpen)
	out = r.after(1).tick(5)
	r.in(Recovering)
	r.eq("reason", out.Change.Reason, ReasonLimit)
	r.operate(Operation{To: ForcedOpen, Until: int64(r.now + 1)})
	r.eq("actor", r.snapshot().Actor, "operator")
	r.after(1).tick(0)
	r.in(Closed)
	r.eq("next without a limit", r.operate(Operation{To: ForcedOpen}).Next, int64(0))
}

func rowDisabled(r *rig) {
	r.operate(Operation{To: Disabled, Until: int64(r.now + time.Hour)})
	for i := range 9 {
		r.fail(fmt.Sprintf("m-%d", i), 1)
	}
	r.in(Disabled)
	r.eq("verdict", r.due(0).Verdict, VerdictRelease)
	r.eq("want", r.tick(5_000).Want, 1_024)
	out := r.tick(5)
	r.eq("want", out.Want, 5)
	r.eq("probing", out.Probing, false)
	r.after(time.Hour).tick(0)
	r.in(Closed)
}

func rowReset(r *rig) {
	r.trip()
	out := r.operate(Operation{To: Closed, Actor: "eve", Reason: "fixed"})
	r.in(Closed)
	r.eq("level", out.Change.Level, 0)
	r.eq("next", out.Next, int64(r.now))
	r.eq("want", r.tick(7).Want, 1)
	r.in(Recovering)
}

func rowProbeNow(r *rig) {
	r.trip()
	r.operate(Operation{To: HalfOpen, Actor: "eve"})
	out := r.tick(7)
	r.eq("want", out.Want, 1)
	r.eq("probing", out.Probing, true)
	before := r.snapshot()
	for _, to := range []State{Open, Recovering, State(99)} {
		r.eq("changed", r.operate(Operation{To: to}).Changed, false)
	}
	r.eq("generation", r.snapshot().Generation, before.Generation)
}

func rowInFlightEnds(r *rig) {
	r.recovering(9)
	r.release("lost", 1)
	r.eq("want", r.after(30*time.Second-1).tick(8).Want, 0)
	r.eq("want", r.after(1).tick(8).Want, 1)
	r.eq("limit", r.snapshot().RampLimit, 1) // unknown is no success
}

func rowNoMoreLeases(r *rig) {
	r.trip()
	r.halfOpen(9)
	for i := range 5 {
		r.release(fmt.Sprintf("a-%d", i), 1)
	}
	r.eq("leases", len(r.snapshot().Leases), 1)
	r.fail("a-4", 1)
	r.in(HalfOpen)
}

func rowOpenGrows(r *rig) {
	r.set.Configure(edited(func(c *BreakerConfig) { reported(c); c.OpenMultiplier = 2 }))
	length := time.Duration(r.trip().Change.OpenUntil) - r.now
	for _, want := range []time.Duration{60, 120, 240, 480, 600, 600} {
		want *= time.Second
		if length < want*9/10 || length > want*11/10 {
			r.t.Fatalf("open for %v, want %v ± 10 %%", length, want)
		}
		r.halfOpen(1)
		r.release("p", 1)
		length = time.Duration(r.fail("p", 1).Change.OpenUntil) - r.now
	}
}

func rowPoison(r *rig) {
	for i := range 1_000 {
		r.fail("poison", i)
	}
	r.in(Closed)
	r.fail("other", 1)
	r.in(Open)
}

func rowWindow(r *rig) {
	r.set.Configure(edited(nil))
	for i := range 9 {
		r.after(16*time.Second).fail(fmt.Sprintf("m-%d", i), 1) // five in 64 s
	}
	r.in(Closed)
	r.after(14*time.Second).fail("n-0", 1) // the last five in 62 s
	r.in(Closed)
	r.after(14*time.Second).fail("n-1", 1) // in 60 s
	r.in(Open)
}

func edited(edit func(*BreakerConfig)) BreakerConfig {
	c := DefaultBreaker()
	if edit != nil {
		edit(&c)
	}
	return c
}

func TestSilentEvidence(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.trip()
	r.halfOpen(9)
	r.release("a", 1)
	out := r.after(30 * time.Second).tick(8)
	r.eq("result", out.ProbeResult, ProbeSuccess)
	r.in(Recovering)
	want := 1
	for range 14 {
		r.eq("want", out.Want, want)
		for i := range want {
			r.release(fmt.Sprintf("m-%d", i), 1)
		}
		r.eq("want", r.after(5*time.Second-1).tick(9_999).Want, 0)
		out = r.after(1).tick(9_999) // a round lasts half_open_timeout
		want = min(want*2, 1_024)
	}
}

func TestRateMode(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *BreakerConfig) { reported(c); c.Mode = ModeRate })
	for i := range 10 {
		r.succeed(fmt.Sprintf("s-%d", i), 1)
	}
	for i := range 9 {
		r.fail("poison", i)
	}
	r.in(Closed) // 19 outcomes are too few
	r.eq("duplicate", r.fail("poison", 8).Duplicate, true)
	r.in(Closed)
	out := r.fail("poison", 9)
	r.in(Open)
	r.eq("reason", out.Change.Reason, ReasonRate)
	s := r.snapshot()
	r.eq("total", s.Total, 20)
	r.eq("failed", s.Failures, 10)
}

func TestBreakerValidateNamesEveryField(t *testing.T) {
	t.Parallel()
	if err := DefaultBreaker().Validate(); err != nil {
		t.Fatal(err)
	}
	err := BreakerConfig{MinDistinct: -1, TripOnHint: -1, MaxOpen: -1}.Validate()
	for _, field := range strings.Fields(`mode success_evidence failure_threshold min_distinct min_volume rate_permille
		probes successes ramp_max max_keys window reset_timeout half_open_timeout outcome_timeout max_open open_multiplier trip_on_hint`) {
		if err == nil || !strings.Contains(err.Error(), "breaker."+field+": ") {
			t.Errorf("%s is not named in:\n%v", field, err)
		}
	}
	err = edited(func(c *BreakerConfig) { c.Mode = ModeRate }).Validate()
	if err == nil || !strings.Contains(err.Error(), "success_evidence") {
		t.Errorf("rate mode without reported successes: %v", err)
	}
}

func TestStateNames(t *testing.T) {
	t.Parallel()
	for s := range states {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back State
		if err := json.Unmarshal(text, &back); err != nil || back != s {
			t.Errorf("%s read back as %s: %v", text, back, err)
		}
	}
	if _, err := ParseState("ajar"); err == nil || !strings.Contains(err.Error(), `"ajar"`) {
		t.Errorf("unknown state: %v", err)
	}
	if got := State(77).String(); got != "state(77)" {
		t.Error(got)
	}
}
