package handlers

import (
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// signalPause is how long successes of one breaker are collected before they are told to
// the replica that owns it: one write for all of them.
const signalPause = 100 * time.Millisecond

// maxSignals bounds the successes of one write that are told one by one.
const maxSignals = 256

// signals collects successes for breakers whose shards other replicas own.
type signals struct {
	after func(time.Duration, func())
	send  func(*signal)

	mu      sync.Mutex
	pending map[breakerKey]*signal
}

// signal is what is told of one breaker at once.
type signal struct {
	key     breakerKey
	subject string // that a policy serves
	schemas.Signals
	done []func(settle bool)
}

func newSignals(after func(time.Duration, func()), send func(*signal)) *signals {
	return &signals{after: after, send: send, pending: map[breakerKey]*signal{}}
}

// add collects one success. A delivery of a generation is told by its own, because the
// breaker awaits it; of the others the latest counts, and where rates are kept, how many
// they were.
func (s *signals) add(k breakerKey, r *schemas.Success, rates bool, done func(settle bool)) {
	s.mu.Lock()
	p := s.pending[k]
	if p == nil {
		p = &signal{key: k, subject: r.Subject}
		s.pending[k] = p
		s.after(signalPause, func() { s.flush(p) })
	}
	switch at := r.At.UnixNano(); {
	case r.Generation != 0 || r.Probe:
		p.Each = append(p.Each, schemas.Signal{ID: r.ID, Delivery: r.Delivery, Generation: r.Generation, At: at, Probe: r.Probe})
	default:
		if rates || p.Plain == 0 {
			p.Plain++
		}
		p.At = max(p.At, at)
	}
	p.done = append(p.done, done)
	full := len(p.Each) >= maxSignals
	s.mu.Unlock()
	if full {
		s.flush(p)
	}
}

// flush sends what was collected, once.
func (s *signals) flush(p *signal) {
	s.mu.Lock()
	mine := s.pending[p.key] == p
	if mine {
		delete(s.pending, p.key)
	}
	s.mu.Unlock()
	if mine {
		s.send(p)
	}
}

// signalSuccess tells the breaker of another shard of a success that no report will tell.
func (e *Engine) signalSuccess(k breakerKey, success *schemas.Success) {
	if p := e.policies.Load().Named(k.policy); p != nil {
		e.tellBreaker(p, k, success, func(bool) {}) // one that is lost leaves the outcome unknown
	}
}

// sendSignal stores a signal in the ledger of the shard that is home to its breaker.
func (e *Engine) sendSignal(p *signal) {
	finish := func(err error) {
		if err != nil {
			e.observer.Observe(Event{Kind: EventFault, At: e.clock.Now(), Policy: p.key.policy, Op: "signal success", Subject: p.subject, Err: err})
		}
		for _, done := range p.done {
			done(err == nil)
		}
	}
	entry, err := p.Entry(p.subject, p.key.policy, p.key.key)
	if err != nil {
		finish(err)
		return
	}
	e.bus.Publish(entry.Message(e.Subjects.Signal(e.Subjects.Partition(p.key.key, e.Shards))), func(_ schemas.Ack, err error) { finish(err) })
}

// signalled tells a breaker of the successes that another replica collected.
func (s *shard) signalled(now time.Time, it *item) {
	found, err := schemas.ParseSignals(it.work.Body)
	if err != nil {
		s.alarm(now, "read signal", it.work.Subject, err)
	}
	k := breakerKey{it.policyName(), it.key}
	in := strategies.Input{Kind: strategies.InSuccess, Lane: s.laneLength(k), OccurredAt: found.At}
	for range min(found.Plain, maxPlain) {
		s.step(now, k, in)
	}
	for _, each := range found.Each {
		in.ID, in.Delivery, in.Generation, in.OccurredAt, in.Probe = each.ID, each.Delivery, each.Generation, each.At, each.Probe
		s.step(now, k, in)
	}
	s.finish(now, it)
}

// maxPlain bounds what one signal may make the loop do.
const maxPlain = 10_000
