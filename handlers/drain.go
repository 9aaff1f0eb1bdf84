package handlers

import (
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// laneLength is how many messages a breaker holds back.
func (s *shard) laneLength(k breakerKey) int {
	if l := s.heldLane(k); l != nil {
		return l.length()
	}
	return 0
}

// heldLane is the lane of a breaker if it has one. Until the lanes found at the start have
// told their keys, they are looked up by the hash in their subject.
func (s *shard) heldLane(k breakerKey) *lane {
	if l := s.held[k]; l != nil || s.unnamed == 0 {
		return l
	}
	return s.lanes[s.subjects.Held(s.index, k.String())]
}

// openLane is the lane of a breaker, made if it has none.
func (s *shard) openLane(now time.Time, k breakerKey) *lane {
	l := s.heldLane(k)
	if l == nil {
		l = s.lane(now, s.subjects.Held(s.index, k.String()))
	}
	s.name(l, k)
	return l
}

// drain asks a breaker how many messages of its lane may go now, and releases them.
func (s *shard) drain(now time.Time, k breakerKey) {
	if s.stopping {
		return
	}
	l := s.heldLane(k)
	out := s.step(now, k, strategies.Input{Kind: strategies.InTick, Lane: s.laneLength(k)})
	if l == nil {
		return
	}
	s.expireHeld(now, l)
	if out.Want <= 0 {
		s.trim(l)
		return
	}
	ready := l.ready(max(out.Want, headMessages))
	if len(ready) < max(out.Want, headMessages) && !l.complete() {
		if !l.reading && !now.Before(l.retry) {
			s.read(l, max(headMessages, min(out.Want, readMessages)))
		} else if !l.reading {
			s.want(l)
		}
		if out.Probing || len(ready) == 0 {
			return // probes are chosen among the whole head of the lane
		}
	}
	ramp := s.set(k.policy).State(k.key) == strategies.Recovering
	for _, it := range s.choose(k, ready, out) {
		it.generation, it.probe, it.ramp, it.due = out.Generation, out.Probing, ramp, now
		it.work.Held += max(0, now.Sub(it.heldAt))
		s.step(now, k, strategies.Input{
			Kind: strategies.InReleased, ID: it.work.ID, Delivery: it.number, Generation: out.Generation, Probe: out.Probing, Lane: l.length(),
		})
		s.start(now, it, moveDeliver)
	}
	if out.Probing {
		s.store(k) // a restart must know which probes are out
	}
	s.trim(l)
}

func (s *shard) choose(k breakerKey, ready []*item, out strategies.Output) []*item {
	if !out.Probing {
		return ready[:min(len(ready), out.Want)]
	}
	head := make([]strategies.Candidate, len(ready))
	for i, it := range ready {
		head[i] = strategies.Candidate{Seq: it.seq, ID: it.work.ID, Delivery: it.number}
	}
	var chosen []*item
	for _, i := range s.set(k.policy).PickProbes(k.key, out.Want, head) {
		chosen = append(chosen, ready[i])
	}
	return chosen
}

// ready lists up to n entries of a held lane that were read and not released, in order.
func (l *lane) ready(n int) []*item {
	var ready []*item
	for _, p := range l.entries {
		if len(ready) == n {
			break
		}
		if p.item != nil && p.item.stage == stageWaiting {
			ready = append(ready, p.item)
		}
	}
	return ready
}

// expireHeld sends the oldest of a lane on to fallback or dead letter when the policy
// bounds how many may be held or for how long. It bounds nothing by itself.
func (s *shard) expireHeld(now time.Time, l *lane) {
	p := s.policies.Named(l.policy)
	if p == nil || p.HeldMax == 0 && p.HeldMaxAge == 0 {
		return
	}
	if len(l.ready(1)) == 0 && !l.complete() && !l.reading {
		s.read(l, headMessages)
	}
	over := 0
	if p.HeldMax > 0 {
		over = l.length() - p.HeldMax - l.moving()
	}
	for i, it := range l.ready(headMessages) {
		old := p.HeldMaxAge > 0 && now.Sub(it.heldAt) >= p.HeldMaxAge
		if i >= over && !old {
			return
		}
		it.work.Held += max(0, now.Sub(it.heldAt))
		it.step, it.reason = schemas.StepFallback, schemas.ReasonExpired
		s.start(now, it, moveDeliver)
	}
}

// nextExpiry is when the oldest message of any held lane becomes too old, zero if never.
func (s *shard) nextExpiry() (at time.Time, k breakerKey) {
	if !s.expiring {
		return at, k
	}
	for key, l := range s.held {
		p := s.policies.Named(l.policy)
		if p == nil || p.HeldMaxAge == 0 {
			continue
		}
		if head := l.ready(1); len(head) == 1 {
			t := head[0].heldAt.Add(p.HeldMaxAge)
			if at.IsZero() || t.Before(at) || t.Equal(at) && key.compare(k) < 0 {
				at, k = t, key
			}
		}
	}
	return at, k
}
