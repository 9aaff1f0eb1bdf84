package handlers

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// calmConfig is a world without faults and with one policy for everything.
func calmConfig(change func(*schemas.PolicySpec)) simConfig {
	spec := schemas.PolicySpec{Name: "all", Subjects: []string{">"}, Outcomes: schemas.OutcomesTerminal, SuccessEvidence: "report"}
	if change != nil {
		change(&spec)
	}
	return simConfig{
		shards: 1, near: 5 * time.Second, memory: 96 << 20, maxNear: 50_000, inflight: 4096, sparse: sparse, latency: time.Millisecond, work: 20 * time.Millisecond,
		policies: compile(schemas.PolicyDocument{Version: 1, Policies: []schemas.PolicySpec{spec}}), punctual: true,
	}
}

// outage is a world in which one subject fails for an hour while work for it fails all
// the time.
func outage(c simConfig, works int, length time.Duration) *simWorld {
	w := newSimWorld(c, 1)
	w.own(0)
	w.faults.windows = []simFaultWindow{{faultOutage, "a.one", w.start, w.start.Add(length)}}
	for i := range works {
		work := &simWork{name: fmt.Sprintf("w%d", i), subject: "a.one", named: true}
		w.after(length*time.Duration(i)/time.Duration(works), func() { w.workers.fail(work) })
	}
	return w
}

func (w *simWorld) runUntil(at time.Time) {
	stopped := false
	w.after(at.Sub(w.now), func() { stopped = true })
	for !stopped && len(w.check.failures) == 0 {
		e := w.pop()
		w.now = time.Unix(0, e.at).UTC()
		e.do()
	}
}

func (w *simWorld) expect(t *testing.T) {
	t.Helper()
	for _, failure := range w.check.failures {
		t.Fatal(failure)
	}
}

var simHeld = flag.Int("sim.held", 5_000, "messages that a simulated outage holds")

// An hour's outage costs each message one write and no attempt; afterwards the lane drains
// onto a handler that fails when more than 50 of its messages are in progress, and the
// breaker does not open again. The same lane let go at once fails by the thousand.
func TestSimulatedOutage(t *testing.T) {
	t.Parallel()
	const length = time.Hour
	c := calmConfig(nil)
	c.capacity = 50
	w := outage(c, *simHeld, length)
	over := w.start.Add(length)
	w.runUntil(over)
	w.expect(t)
	held, delivered := 0, 0
	for _, l := range w.check.lives {
		switch {
		case l.writes == 1 && l.attempt == 0:
			held++
		case l.attempt > 0 && l.probes == 0:
			delivered++
		case l.writes > 1 && l.probes == 0:
			t.Errorf("%s was written %d times and never probed", l.name, l.writes)
		}
		if l.attempt > 2 {
			t.Errorf("%s was delivered as attempt %d while its handler was down", l.name, l.attempt)
		}
	}
	opened := w.check.counts["breaker open"]
	if probes := len(w.check.probes); delivered > 10 || held < *simHeld-delivered-probes-*simHeld/1000 {
		t.Errorf("%d of %d held with one write, %d delivered, %d probed", held, *simHeld, delivered, probes)
	}
	w.run(1 << 40)
	w.check.end()
	w.expect(t)
	if again := w.check.counts["breaker open"] - opened; again > 0 || w.check.letters > 0 {
		t.Errorf("the breaker opened %d times while the lane drained, %d dead letters", again, w.check.letters)
	}
	t.Logf("%d held with one write each, %d openings; drained %s after the outage, %d deliveries failed on the way",
		held, opened, w.workers.lastAt.Sub(over), w.workers.failed-delivered-opened)

	works := min(*simHeld, 5_000) // more of it shows nothing more
	control := outage(c, works, length)
	control.runUntil(over)
	before := control.workers.failed
	control.owners[0].do(func(s *shard, now time.Time) {
		s.operate(now, breakerKey{"all", "a.one"}, strategies.Operation{To: strategies.Disabled, Until: now.Add(time.Hour).UnixNano(), Actor: "test"})
	})
	control.run(1 << 40)
	control.check.end()
	control.expect(t)
	t.Logf("%d let go at once: drained %s after the outage, %d deliveries failed, %d dead letters",
		works, control.workers.lastAt.Sub(over), control.workers.failed-before, control.check.letters)
	if failed := control.workers.failed - before; failed < works/2 {
		t.Errorf("only %d deliveries failed without the ramp", failed)
	}
}

// One message that fails for ever ends as a dead letter and opens nothing.
func TestSimulatedPoison(t *testing.T) {
	t.Parallel()
	w := newSimWorld(calmConfig(func(p *schemas.PolicySpec) { p.Retry.MaxAttempts = ptr(20) }), 1)
	w.cfg.poisonEverywhere = true
	w.cfg.active = time.Hour
	w.own(0)
	w.workers.fail(&simWork{name: "poison", subject: "a.one", nature: naturePoison})
	w.run(1 << 20)
	w.check.end()
	w.expect(t)
	if n := w.check.counts["breaker open"]; n > 0 {
		t.Errorf("one message opened the breaker %d times", n)
	}
	if l := w.check.lives["poison"]; l.letter != schemas.ReasonExhausted || l.attempt != 20 {
		t.Errorf("the message ended with %q after attempt %d, want %q after 20", l.letter, l.attempt, schemas.ReasonExhausted)
	}
}

// Breakers that one outage opens at the same moment do not probe at the same moment.
func TestSimulatedProbesSpread(t *testing.T) {
	t.Parallel()
	const keys = 1_000
	c := calmConfig(nil)
	c.punctual = false // for a thousand ramps it takes too long to be held against their limits
	w := newSimWorld(c, 1)
	w.own(0)
	for i := range keys {
		subject := fmt.Sprintf("a.%d", i)
		w.faults.windows = append(w.faults.windows, simFaultWindow{faultOutage, subject, w.start, w.start.Add(30 * time.Second)})
		for n := range 5 {
			w.workers.fail(&simWork{name: fmt.Sprintf("w%d-%d", i, n), subject: subject, named: true})
		}
	}
	w.run(1 << 30)
	w.check.end()
	w.expect(t)
	perSecond := map[int64]int{}
	var probes []time.Duration
	for _, at := range w.check.probes {
		probes = append(probes, at.Sub(w.start))
		perSecond[at.Unix()]++
	}
	slices.Sort(probes)
	if len(probes) != keys {
		t.Fatalf("%d probes of %d breakers", len(probes), keys)
	}
	most := 0
	for _, n := range perSecond {
		most = max(most, n)
	}
	t.Logf("%d breakers probed between %s and %s, at most %d in one second", keys, probes[0], probes[keys-1], most)
	if spread := probes[keys-1] - probes[0]; spread < 10*time.Second || most > keys/5 {
		t.Errorf("the probes spread over %s with up to %d in one second", spread, most)
	}
}
