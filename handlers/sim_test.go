package handlers

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

var (
	simSeed = flag.Uint64("sim.seed", 0, "run the simulation of this seed only, and print what happened")
	simRuns = flag.Int("sim.runs", 200, "how many simulations to run")
	simFrom = flag.Uint64("sim.from", 1, "seed of the first simulation")
)

// TestSimulation runs shards through random lives with random faults. One seed is one run:
//
//	go test ./handlers -run TestSimulation -sim.seed=N
func TestSimulation(t *testing.T) {
	t.Parallel()
	if *simSeed != 0 {
		w := simulate(*simSeed, true)
		for _, line := range w.traced {
			t.Log(line)
		}
		for _, failure := range w.check.failures {
			t.Error(failure)
		}
		t.Logf("%+v", w.cfg)
		return
	}
	var next atomic.Uint64
	next.Store(*simFrom)
	var mu sync.Mutex
	counts, failed, steps := map[string]int{}, 0, 0
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for {
				seed := next.Add(1) - 1
				if seed >= *simFrom+uint64(*simRuns) {
					return
				}
				w := simulate(seed, false)
				mu.Lock()
				steps += w.steps
				for what, n := range w.check.counts {
					counts[what] += n
				}
				enough := false
				if len(w.check.failures) > 0 {
					failed++
					enough = failed > 20
					t.Errorf("seed %d: %s\nreplay: go test ./handlers -run TestSimulation -sim.seed=%d", seed, w.check.failures[0], seed)
				}
				mu.Unlock()
				if enough {
					return
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d runs, %d steps: %v", *simRuns, steps, counts)
}

// The same seed is the same run, step by step.
func TestSimulationRepeats(t *testing.T) {
	t.Parallel()
	for seed := range uint64(15) {
		one, other := simulate(seed, true), simulate(seed, true)
		for i := range one.traced {
			if i >= len(other.traced) || one.traced[i] != other.traced[i] {
				t.Fatalf("seed %d differs in line %d of %d:\n%s\n%s", seed, i, len(one.traced), one.traced[i], other.traced[min(i, len(other.traced)-1)])
			}
		}
	}
}

// simulate is one run.
func simulate(seed uint64, tracing bool) *simWorld {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := newSimWorld(drawConfig(rng), seed)
	w.tracing = tracing
	defer func() {
		if p := recover(); p != nil {
			w.check.failf("", "panic: %v", p)
			if tracing {
				panic(p)
			}
		}
	}()
	w.plan()
	w.run(400_000)
	w.check.end()
	return w
}

// plan lays out the work and the faults of a run.
func (w *simWorld) plan() {
	c := &w.cfg
	w.faults.rates = c.rates
	w.after(c.active, func() { w.faults.rates = simRates{} })
	for shard := range c.shards {
		w.own(shard)
	}
	for i := range c.works {
		work := &simWork{
			name: fmt.Sprintf("w%d", i), subject: simTargets[w.rng.IntN(len(simTargets))],
			nature: simNature(w.rng.IntN(int(natures))), named: w.rng.IntN(2) == 0,
		}
		at := w.between(0, c.active)
		if c.crowded {
			at -= at % (20 * time.Second)
		}
		w.after(at, func() { w.workers.fail(work) })
	}
	w.planWindows()
	for range c.kills {
		w.after(w.between(0, c.active), w.kill)
	}
	if w.chance(0.1) {
		w.after(w.between(0, c.active), w.litter)
	}
	for range c.operations {
		w.after(w.between(0, c.active), w.operate)
	}
	for range c.commands {
		w.after(w.between(0, c.active), w.command)
	}
	for _, p := range c.reloads {
		w.after(w.between(0, c.active), func() { w.reload(p) })
	}
}

func (w *simWorld) planWindows() {
	window := func(kind simFaultKind, subject string, most time.Duration) {
		from := w.between(0, w.cfg.active)
		w.faults.windows = append(w.faults.windows, simFaultWindow{kind, subject, w.start.Add(from), w.start.Add(min(w.cfg.active, from+w.between(0, most)))})
	}
	for _, subject := range simTargets {
		if w.chance(0.5) {
			window(faultOutage, subject, 4*time.Minute)
		}
	}
	if w.cfg.punctual {
		return
	}
	for _, subject := range append([]string{"f.one", "f.two"}, simTargets...) {
		if w.chance(0.15) {
			window(faultNoStream, subject, time.Minute)
			w.cfg.loose = true
		}
		if w.chance(0.15) {
			window(faultFull, subject, time.Minute)
		}
	}
	if w.chance(0.3) {
		window(faultDeadFull, "", 2*time.Minute)
	}
}

// kill takes a shard from its owner in one of the ways that happens.
func (w *simWorld) kill() {
	o := w.owners[w.rng.IntN(len(w.owners))]
	if !o.alive {
		return // its shard has no owner at the moment
	}
	how := w.rng.IntN(5)
	if !o.fed {
		how = 0
	}
	switch how {
	case 0:
		o.end()
	case 1:
		w.tracef("shard %d: owner %d gives back", o.shard, o.name)
		o.loop.shard.stop(w.now)
		w.after(8*time.Second, func() {
			if o.alive {
				o.end()
			}
		})
		o.wake()
	case 2:
		w.tracef("shard %d: owner %d reads anew", o.shard, o.name)
		o.read, o.loop.shard.intake.books[0].seen = 0, 0
		o.wake()
	case 3:
		o.depose(w.between(0, 20*time.Second), true)
	default:
		o.depose(w.between(0, 20*time.Second), false)
	}
}

// operate is an operator's decision about a breaker; what has no end by itself gets one.
func (w *simWorld) operate() {
	work := schemas.Work{Subject: simTargets[w.rng.IntN(len(simTargets))]}
	p := w.engine.policies.Load().For(work.Subject)
	if p == nil {
		return
	}
	k := breakerKey{p.Name, p.BreakerKey(&work)}
	to := []strategies.State{strategies.ForcedOpen, strategies.Disabled, strategies.Closed, strategies.HalfOpen}[w.rng.IntN(4)]
	op := strategies.Operation{To: to, Actor: "operator", Reason: "because"}
	if to == strategies.ForcedOpen || to == strategies.Disabled {
		op.Until = w.now.Add(w.between(time.Second, 2*time.Minute)).UnixNano()
	}
	w.owners[simSubjects.Partition(k.key, w.cfg.shards)].do(func(s *shard, now time.Time) { s.operate(now, k, op) })
}

// litter writes what is no entry to a lane: to one that only the owner should write to while
// all are followed.
func (w *simWorld) litter() {
	policy := w.engine.policies.Load().All()[0].Name
	lanes := []string{simSubjects.Signal(0)}
	if o := w.owners[0]; o != nil && o.loop.shard.following.all && w.now.Add(10*time.Second).Before(o.loop.shard.following.until) {
		lanes = append(lanes, simSubjects.Held(0, breakerKey{policy, "a.one"}.String()), simSubjects.Due(0, w.now.Unix()+w.rng.Int64N(20)-10))
	}
	w.streams.ledger.append(schemas.Message{Subject: lanes[w.rng.IntN(len(lanes))], Header: schemas.Header{schemas.HeaderEntry: {"litter"}}})
}

func (w *simWorld) reload(p *Policies) {
	w.tracef("policies are reloaded")
	w.engine.policies.Store(p)
	w.cfg.loose = true
	for _, o := range w.owners {
		o.do(func(s *shard, _ time.Time) { s.reload(p) })
	}
}
