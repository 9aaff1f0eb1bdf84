package handlers

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// simWorld is virtual time and everything that lives in it: the streams, the owners of
// the shards and the workers. Events run one after the other in the order of (time, seq),
// all chance comes from one seeded source, so a seed is a run.
type simWorld struct {
	cfg     simConfig
	start   time.Time
	now     time.Time
	queue   []simEvent
	seq     uint64
	steps   int
	rng     *rand.Rand
	faults  simFaults
	streams *simStreams
	engine  *Engine
	owners  []*simOwner // of each shard, the present one
	readers []*simOwner // of reports, former owners that do not know it included
	zombies int
	workers *simWorkers
	check   *simCheck

	tracing bool
	traced  []string
}

type simEvent struct {
	at  int64
	seq uint64
	do  func()
}

var simSubjects = schemas.Subjects{Prefix: schemas.DefaultPrefix}

func newSimWorld(c simConfig, seed uint64) *simWorld {
	start := time.Unix(1_900_000_000, 0).UTC()
	w := &simWorld{cfg: c, start: start, now: start, rng: rand.New(rand.NewPCG(seed, 0x5eed))}
	w.streams = newSimStreams(w)
	w.faults = simFaults{w: w}
	w.workers = newSimWorkers(w)
	w.check = newSimCheck(w)
	w.engine = newSimEngine(w)
	w.owners = make([]*simOwner, c.shards)
	return w
}

// after has something done later, never before what was asked for the same moment earlier.
func (w *simWorld) after(d time.Duration, do func()) {
	w.seq++
	w.queue = append(w.queue, simEvent{w.now.Add(max(0, d)).UnixNano(), w.seq, do})
	for i := len(w.queue) - 1; i > 0; {
		parent := (i - 1) / 2
		if !w.queue[i].before(&w.queue[parent]) {
			return
		}
		w.queue[i], w.queue[parent] = w.queue[parent], w.queue[i]
		i = parent
	}
}

func (e *simEvent) before(o *simEvent) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

func (w *simWorld) pop() simEvent {
	first, last := w.queue[0], len(w.queue)-1
	w.queue[0] = w.queue[last]
	w.queue[last] = simEvent{}
	w.queue = w.queue[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if w.queue[child].before(&w.queue[least]) {
				least = child
			}
		}
		if least == i {
			return first
		}
		w.queue[i], w.queue[least] = w.queue[least], w.queue[i]
		i = least
	}
}

// run lets everything happen until nothing is left to happen, a check failed or there
// were more steps than such a run can need.
func (w *simWorld) run(maxSteps int) {
	for len(w.queue) > 0 && len(w.check.failures) == 0 {
		e := w.pop()
		w.now = time.Unix(0, e.at).UTC()
		if w.steps++; w.steps > maxSteps {
			w.check.failf("", "livelock: more than %d steps", maxSteps)
			return
		}
		e.do()
	}
}

// between draws a duration.
func (w *simWorld) between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(w.rng.Int64N(int64(high-low)))
}

func (w *simWorld) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// latency is one way between a client and the server.
func (w *simWorld) latency() time.Duration {
	if w.cfg.latency == 0 {
		return 0
	}
	return w.between(w.cfg.latency/4, w.cfg.latency)
}

func (w *simWorld) tracef(format string, args ...any) {
	if w.tracing {
		w.traced = append(w.traced, fmt.Sprintf("%12.6f ", w.now.Sub(w.start).Seconds())+fmt.Sprintf(format, args...))
	}
}
