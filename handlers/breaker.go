package handlers

import (
	"slices"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// orphan is the policy name of the breakers of work that no policy serves any more.
const orphan = "-"

func (it *item) policyName() string {
	if it.policy == nil {
		return orphan
	}
	return it.policy.Name
}

func (s *shard) set(policy string) *strategies.BreakerSet {
	set := s.sets[policy]
	if set == nil {
		config := strategies.DefaultBreaker()
		if p := s.policies.Named(policy); p != nil {
			config = p.Breaker
		}
		set = strategies.NewBreakerSet(policy, s.share(config))
		s.sets[policy] = set
	}
	return set
}

// step applies one input to a breaker and lets everybody know what follows.
func (s *shard) step(now time.Time, k breakerKey, in strategies.Input) strategies.Output {
	in.Now = now.UnixNano()
	out := s.set(k.policy).Step(k.key, in)
	governing := breakerKey{k.policy, out.Key}
	if out.Changed {
		s.changed(now, governing, out.Change)
	}
	if out.ProbeResult != "" {
		s.observe(Event{Kind: EventProbe, At: now, Policy: k.policy, Result: out.ProbeResult, ID: in.ID, Subject: out.Key})
	}
	if out.Late {
		s.observe(Event{Kind: EventLate, At: now, Policy: k.policy, ID: in.ID, Subject: out.Key})
	}
	if out.Changed || out.ProbeResult != "" || in.Kind == strategies.InFailure || in.Kind == strategies.InSuccess {
		if s.held[governing] != nil || out.Changed {
			s.dirty = append(s.dirty, governing)
		}
	}
	return out
}

// changed publishes, shows and stores a new state.
func (s *shard) changed(now time.Time, k breakerKey, t strategies.Transition) {
	s.view.set(k, t.To)
	if t.To == strategies.Closed {
		delete(s.causes, k)
	}
	b := schemas.BreakerEvent{
		Policy: k.policy, Key: k.key, From: t.From.String(), To: t.To.String(), Generation: t.Generation, Level: t.Level,
		ID: t.ID, Reason: t.Reason, Actor: t.Actor, Held: s.laneLength(k),
	}
	if t.OpenUntil != 0 {
		b.OpenUntil = time.Unix(0, t.OpenUntil).UTC().Format(time.RFC3339Nano)
	}
	s.observe(Event{Kind: EventBreaker, At: now, Policy: k.policy, Breaker: &b, Subject: k.key, ID: t.ID})
	message, err := s.subjects.BreakerMessage(&b, now)
	if err != nil {
		s.alarm(now, "breaker event", k.key, err)
	} else {
		s.publishEvent(now, message)
	}
	s.store(k)
}

// publishEvent stores an event that belongs to no item; it is repeated until it is stored.
func (s *shard) publishEvent(now time.Time, m schemas.Message) {
	it := &item{onlyTell: true, event: &m, stage: stageTelling, index: -1, wake: now}
	it.work.Subject = m.Subject
	s.waiting.add(it)
}

// count tells the breaker of a failure that was reported.
func (s *shard) count(now time.Time, it *item) {
	r := it.record
	if r == nil || it.policy == nil || it.policy.Breaker.Disabled {
		return
	}
	in := strategies.Input{
		Kind: strategies.InFailure, ID: it.work.ID, Delivery: it.work.Delivery, Generation: r.Generation,
		Class: strategies.Class(r.Class), OccurredAt: r.OccurredAt, Hint: time.Duration(r.Hint), Probe: r.Probe,
	}
	if r.Success {
		in.Kind = strategies.InSuccess
	}
	k := breakerKey{it.policyName(), it.key}
	in.Lane = s.laneLength(k)
	s.step(now, k, in)
	if in.Kind == strategies.InFailure && in.Class.Counts() {
		s.causes.add(k, string(in.Class), it.work.Error)
	}
}

// withdraw takes back a release that the target had already, from an owner before this one:
// its outcome may have come and gone, so nothing is learnt by waiting for it.
func (s *shard) withdraw(now time.Time, it *item) {
	if it.generation == 0 || it.step != schemas.StepRetry {
		return
	}
	k := breakerKey{it.policyName(), it.key}
	s.step(now, k, strategies.Input{
		Kind: strategies.InWithdrawn, ID: it.work.ID, Delivery: it.number, Generation: it.generation, Lane: s.laneLength(k),
	})
	s.dirty = append(s.dirty, k)
}

// success tells the breaker of a success that was reported.
func (s *shard) success(now time.Time, k breakerKey, r *schemas.Success) {
	s.step(now, k, strategies.Input{
		Kind: strategies.InSuccess, ID: r.ID, Delivery: r.Delivery, Generation: r.Generation,
		OccurredAt: r.At.UnixNano(), Probe: r.Probe, Lane: s.laneLength(k),
	})
	if s.stopping && s.records[k] != nil {
		s.store(k) // what is stored when a shard stops must not lack it
	}
	s.look(now)
}

// operate applies an operator's decision.
func (s *shard) operate(now time.Time, k breakerKey, op strategies.Operation) {
	s.step(now, k, strategies.Input{Kind: strategies.InOperator, Op: op, Lane: s.laneLength(k)})
	s.dirty = append(s.dirty, k)
	s.look(now)
}

// touch has the breaker of a held lane looked at before the step ends.
func (s *shard) touch(l *lane) {
	if l.kind == schemas.LaneHeld && l.key != "" {
		s.dirty = append(s.dirty, breakerKey{l.policy, l.key})
	}
}

// wakeBreakers marks the breakers whose time has come.
func (s *shard) wakeBreakers(now time.Time) {
	before := len(s.dirty)
	for policy, set := range s.sets {
		for _, key := range set.Due(now.UnixNano()) {
			s.dirty = append(s.dirty, breakerKey{policy, key})
		}
	}
	// Those of several policies may be due at the same moment: the order must not be a map's.
	slices.SortFunc(s.dirty[before:], breakerKey.compare)
	if at, k := s.nextExpiry(); !at.IsZero() && !at.After(now) {
		s.dirty = append(s.dirty, k)
	}
}

// look drains what may be drained of the lanes that something happened to.
func (s *shard) look(now time.Time) {
	for len(s.dirty) > 0 {
		dirty := s.dirty
		s.dirty = nil
		seen := make(map[breakerKey]bool, len(dirty))
		for _, k := range dirty {
			if !seen[k] {
				seen[k] = true
				s.drain(now, k)
			}
		}
	}
}
