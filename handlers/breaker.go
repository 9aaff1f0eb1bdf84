package handlers

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// storedState is the state of a breaker as the state store held it.
type storedState struct {
	key      breakerKey
	snapshot strategies.Snapshot
	revision uint64
}

// stateRecord follows one breaker's place in the state store: at most one write is under
// way, and the newest state is written after it.
type stateRecord struct {
	revision uint64 // 0 = not stored
	unsure   bool   // a write was not answered: what is stored must be read before it counts as deleted
	writing  bool
	again    bool
}

// stateKey is the key of a breaker in the state store.
func stateKey(shard int, k breakerKey) string {
	return fmt.Sprintf("breaker.%d.%s.%s", shard, schemas.Escape(k.policy), schemas.EscapeKey(k.key))
}

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
	it := &item{onlyTell: true, event: m, stage: stageTelling, index: -1, wake: now}
	it.work.Subject = m.Subject
	s.waiting.add(it)
}

// store writes the state of a breaker, or deletes it when the breaker is closed: no record
// means closed.
func (s *shard) store(k breakerKey) {
	r := s.records[k]
	if r == nil {
		r = &stateRecord{}
		s.records[k] = r
	}
	if r.writing {
		r.again = true
		return
	}
	e := effect{kind: effStore, breaker: k, revision: r.revision}
	if snapshot, ok := s.set(k.policy).Snapshot(k.key); ok && snapshot.State != strategies.Closed {
		e.snapshot = &snapshot
	} else if r.revision == 0 && !r.unsure {
		delete(s.records, k)
		return
	}
	r.writing, r.again = true, false
	s.emit(e)
}

// storing says whether the state of a breaker is on its way to the store, or a lane is
// being purged.
func (s *shard) storing() bool {
	for _, r := range s.records {
		if r.writing {
			return true
		}
	}
	for _, l := range s.lanes {
		if l.purging {
			return true
		}
	}
	return false
}

// stored takes the answer of the state store. A conflict means that another owner wrote it:
// what it wrote is passed as found, nil if it deleted it, and the newer generation wins.
func (s *shard) stored(now time.Time, k breakerKey, revision uint64, conflict bool, found *storedState, err error) {
	r := s.records[k]
	if r == nil {
		return
	}
	r.writing, r.unsure = false, err != nil
	if err != nil {
		s.observe(Event{Kind: EventFault, At: now, Policy: k.policy, Op: "store breaker", Subject: k.key, Err: err})
		r.again = true
	} else {
		r.revision = revision
		r.again = r.again || conflict
	}
	if found != nil {
		s.set(k.policy).Restore(found.snapshot)
		s.view.set(k, s.set(k.policy).State(k.key))
		s.dirty = append(s.dirty, k)
	}
	if r.again {
		s.store(k)
	} else if revision == 0 {
		delete(s.records, k)
	}
	s.look(now)
}

// restore takes a breaker over from the state store.
func (s *shard) restore(now time.Time, st storedState) {
	s.set(st.key.policy).Restore(st.snapshot)
	s.records[st.key] = &stateRecord{revision: st.revision}
	s.view.set(st.key, s.set(st.key.policy).State(st.key.key))
	s.dirty = append(s.dirty, st.key)
}

func parseState(data []byte, revision uint64) (storedState, error) {
	var st storedState
	if err := json.Unmarshal(data, &st.snapshot); err != nil {
		return st, fmt.Errorf("stored breaker: %w", err)
	}
	st.key, st.revision = breakerKey{st.snapshot.Policy, st.snapshot.Key}, revision
	return st, nil
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

// touch has the breaker of a held lane looked at before the step ends.
func (s *shard) touch(l *lane) {
	if l.kind == schemas.LaneHeld && l.key != "" {
		s.dirty = append(s.dirty, breakerKey{l.policy, l.key})
	}
}

// wakeBreakers marks the breakers whose time has come.
func (s *shard) wakeBreakers(now time.Time) {
	for policy, set := range s.sets {
		for _, key := range set.Due(now.UnixNano()) {
			s.dirty = append(s.dirty, breakerKey{policy, key})
		}
	}
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
	for _, it := range l.entries {
		if len(ready) == n {
			break
		}
		if it.stage == stageWaiting {
			ready = append(ready, it)
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
			if t := head[0].heldAt.Add(p.HeldMaxAge); at.IsZero() || t.Before(at) {
				at, k = t, key
			}
		}
	}
	return at, k
}
