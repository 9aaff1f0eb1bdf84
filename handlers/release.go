package handlers

import (
	"errors"
	"fmt"
	"time"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// release does the step of an item whose time has come.
func (s *shard) release(now time.Time, it *item) {
	switch {
	case it.policy == nil:
		s.letter(now, it, schemas.ReasonRefused, fmt.Sprintf("no policy serves %q", it.work.Subject))
	case it.step == schemas.StepRetry:
		s.ask(now, it)
	case it.step == schemas.StepDead:
		s.start(now, it, moveLetter)
	default:
		s.start(now, it, moveDeliver)
	}
}

// ask lets the breaker decide whether work that is due may go.
func (s *shard) ask(now time.Time, it *item) {
	if it.policy.Breaker.Disabled && s.laneLength(breakerKey{it.policy.Name, it.key}) == 0 {
		s.move(now, it, moveDeliver)
		return
	}
	k := breakerKey{it.policy.Name, it.key}
	k.key = s.set(k.policy).Resolve(k.key)
	out := s.step(now, k, strategies.Input{
		Kind: strategies.InDue, ID: it.work.ID, Delivery: it.number, Lane: s.laneLength(k),
	})
	if out.Verdict == strategies.VerdictHold {
		it.key, it.heldAt = out.Key, now
		s.move(now, it, moveHold)
		return
	}
	it.generation = out.Generation
	s.move(now, it, moveDeliver)
}

// move begins a move at once: a place for its publish was found.
func (s *shard) move(now time.Time, it *item, m move) {
	it.stage, it.move, it.tries = stageMoving, m, 0
	s.send(now, it)
}

// send publishes what the item's move needs.
func (s *shard) send(now time.Time, it *item) {
	var m schemas.Message
	switch it.move {
	case moveDeliver:
		var ok bool
		if m, ok = s.delivery(now, it); !ok {
			return
		}
		if it.policy.Deliver.Mode != schemas.DeliverStream {
			s.sendUnstored(it, m)
			return
		}
	case moveReport:
		m = *it.report
	case moveLetter:
		if s.deadFull && it.lane == nil {
			s.move(now, it, movePark)
			return
		}
		m = s.letterMessage(now, it)
	default:
		m = s.append(now, it)
	}
	it.tries++
	s.publish(it, m)
}

func (s *shard) publish(it *item, m schemas.Message) {
	s.flying++
	s.emit(effect{kind: effPublish, item: it, message: m})
}

// append is how an item is written to the ledger: into a lane of this shard, or handed
// over to the one that is home to its breaker.
func (s *shard) append(now time.Time, it *item) schemas.Message {
	if it.move == moveLater {
		return s.pageMessage(now, it)
	}
	e := it.entry()
	switch it.move {
	case moveOver:
		return e.Message(s.subjects.Signal(s.subjects.Partition(it.key, s.shards)))
	case moveHold:
		it.into = s.openLane(now, breakerKey{it.policyName(), it.key})
	default:
		it.into = s.lane(now, s.subjects.DeadLane(s.index))
	}
	it.into.coming++
	it.era = s.following.sent()
	return e.Message(it.into.subject)
}

// delivery makes the message that sends work to its subject or to the next fallback. When
// there is none to send it to, the item becomes a letter and ok is false.
func (s *shard) delivery(now time.Time, it *item) (m schemas.Message, ok bool) {
	d := schemas.Delivery{
		Attempt: it.attempt, MaxAttempts: it.policy.Retry.MaxAttempts, Number: it.number,
		Generation: it.generation, Probe: it.probe, Ramp: it.ramp, Fallback: schemas.NoFallback, Step: schemas.StepRetry,
	}
	if it.step == schemas.StepFallback {
		if !s.nextFallback(it) {
			s.lastResort(now, it)
			return m, false
		}
		d.Fallback, d.Step, d.Generation, d.Probe, d.Ramp = it.next, schemas.StepFallback, 0, false, false
		d.Target = it.policy.Fallback[it.next]
	} else {
		d.Target = it.policy.Target(&it.work)
	}
	if err := s.subjects.CheckTarget(d.Target); err != nil {
		it.kind = schemas.KindRejected
		s.letter(now, it, schemas.ReasonRefused, err.Error())
		return m, false
	}
	it.target = d.Target
	it.work.KeepDigest()
	return s.sealer.Message(&it.work, d), true
}

// nextFallback chooses the fallback to try, once; a repeated send keeps the choice.
func (s *shard) nextFallback(it *item) bool {
	if it.tries > 0 {
		return true
	}
	i, skipped, ok := strategies.NextFallback(it.next, it.policy.Fallback, func(i int) bool {
		return s.view.refuses(breakerKey{it.policy.Name, it.policy.Fallback[i]})
	})
	it.skipped = append(it.skipped, skipped...)
	if ok {
		it.next = i
	}
	return ok
}

// lastResort makes a letter of work that has no fallback left.
func (s *shard) lastResort(now time.Time, it *item) {
	reason := it.reason
	if len(it.policy.Fallback) > 0 {
		reason = schemas.ReasonFallbacksFailed
	}
	s.letter(now, it, reason, "")
}

// letter makes a dead letter of an item. what, if given, replaces the reported error.
func (s *shard) letter(now time.Time, it *item, reason, what string) {
	it.reason = reason
	if what != "" {
		it.work.Error = what
	}
	it.step = schemas.StepDead
	s.start(now, it, moveLetter)
}

func (s *shard) letterMessage(now time.Time, it *item) schemas.Message {
	d := schemas.DeadLetter{
		Work: it.work, Reason: it.reason, Cause: deadletter.Cause(it.reason, it.work.Error),
		Policy: it.policyName(), DeadAt: now, Truncated: it.truncated,
		Refused: it.reason == schemas.ReasonRefused && it.attempt == 0, // nothing was decided about it before
	}
	return s.subjects.DeadLetterMessage(&d)
}

// published takes the answer to a publish.
func (s *shard) published(now time.Time, it *item, ack schemas.Ack, err error) {
	s.flying--
	switch {
	case it.stage == stageMoving && err == nil:
		s.moved(now, it, ack)
	case it.stage == stageMoving:
		s.failed(now, it, err)
	case err == nil:
		s.told(now, it)
	default:
		s.fault(now, "publish outcome", it, err)
		s.again(now, it)
	}
	s.look(now)
}

// again has the item's publish repeated after a pause that grows with every try.
func (s *shard) again(now time.Time, it *item) {
	it.tries = max(1, it.tries)
	it.wake = now.Add(min(10*time.Second, 100*time.Millisecond<<min(it.tries, 10)))
	s.waiting.add(it)
}

// moved goes on with an item whose move is stored.
func (s *shard) moved(now time.Time, it *item, ack schemas.Ack) {
	repeated := it.tries > 1
	it.tries = 0
	switch it.move {
	case moveDeliver:
		s.targetOK(it.target)
		if ack.Duplicate && !repeated {
			s.withdraw(now, it)
		}
		s.await(it, ack)
		it.lateness = max(0, now.Sub(it.due))
		kind := schemas.KindRedelivered
		if it.step == schemas.StepFallback {
			kind = schemas.KindFallback
		}
		s.conclude(now, it, kind)
	case moveLetter:
		it.deadSeq = ack.Sequence
		s.deadStored()
		s.conclude(now, it, it.kind)
	case moveDrop:
		s.conclude(now, it, schemas.KindDiscarded)
	case moveHold:
		s.appended(it, ack.Sequence)
		s.conclude(now, it, schemas.KindHeld)
	case moveLater:
		s.appended(it, ack.Sequence)
		s.finishPage(now, it)
	case movePark:
		s.appended(it, ack.Sequence)
		s.finish(now, it)
	case moveOver:
		s.finish(now, it)
	case moveReport:
		s.conclude(now, it, schemas.KindRedelivered)
	}
}

// conclude tells an outcome, then settles the source.
func (s *shard) conclude(now time.Time, it *item, kind string) {
	o := it.outcome(kind)
	e := Event{Kind: EventOutcome, At: now, Policy: it.policyName(), Outcome: &o, Subject: o.Subject, ID: o.ID, Lateness: it.lateness,
		FailedAt: it.work.LastFailedAt, Trace: schemas.Traceparent(it.work.Header)}
	if schemas.Terminal(kind) {
		e.Elapsed = max(0, now.Sub(it.work.FirstFailedAt))
	}
	s.observe(e)
	if it.commanded != nil {
		it.commanded.kind = kind
	}
	if it.policy != nil && !schemas.Published(it.policy.Outcomes, kind) {
		s.finish(now, it)
		return
	}
	it.stage, it.untold = stageTelling, &o
	s.tell(now, it)
}

// tell publishes the outcome of an item that is not stored yet.
func (s *shard) tell(now time.Time, it *item) {
	if it.onlyTell {
		s.publish(it, *it.event)
		it.tries++
		return
	}
	m := s.subjects.OutcomeMessage(it.untold, &it.work, now)
	it.tries++
	s.publish(it, m)
}

// told goes on with an item one of whose outcomes is stored.
func (s *shard) told(now time.Time, it *item) {
	if it.onlyTell {
		it.forget()
		return
	}
	it.untold, it.tries = nil, 0
	if it.stage == stageAnnouncing {
		s.place(now, it)
	} else {
		s.finish(now, it)
	}
}

// failed decides what to do with an item whose move could not be stored.
func (s *shard) failed(now time.Time, it *item, err error) {
	switch it.move {
	case moveDeliver:
		s.undelivered(now, it, err)
		return
	case moveLetter:
		if errors.Is(err, schemas.ErrStoreFull) {
			s.deadFull = true
			s.faults["dead letters"] = errFull.Error()
			s.fault(now, "store dead letter", it, errFull)
			if it.lane == nil || it.lane.kind != schemas.LaneDead {
				s.start(now, it, movePark)
				return
			}
			it.wake = now.Add(parkRetry)
			s.waiting.add(it)
			return
		}
		s.fault(now, "store dead letter", it, err)
	case moveOver:
		s.fault(now, "hand over to another shard", it, err)
	case moveReport:
		if errors.Is(err, schemas.ErrTooLarge) {
			s.letter(now, it, schemas.ReasonUndeliverable, fmt.Sprintf("the failure of the request (%s) is too large to be reported", it.report.Header.Get(schemas.HeaderError)))
			return
		}
		s.fault(now, "report a failed request", it, err)
	default:
		s.unappended(now, it, err)
		s.fault(now, "append to ledger", it, err)
		if s.tearPage(now, it, err) {
			return
		}
	}
	s.again(now, it)
}

// parkRetry is how often a full store of dead letters is tried again.
const parkRetry = 2 * time.Second

func (s *shard) deadStored() {
	s.deadFull = false
	delete(s.faults, "dead letters")
}

// outcome describes the item for subscribers.
func (it *item) outcome(kind string) schemas.Outcome {
	w := &it.work
	o := schemas.Outcome{
		Kind: kind, ID: w.ID, Subject: schemas.Readable(w.Subject), Attempt: w.Attempt, Delivery: w.Delivery, Replay: w.Replay,
		Error: w.Error, Code: w.Code, Class: w.Class, Key: it.key, HeldMS: w.Held.Milliseconds(),
		Faults: it.faults, Truncated: it.truncated, Generation: it.generation, Probe: it.probe,
	}
	if it.policy != nil {
		o.Policy, o.MaxAttempts = it.policy.Name, it.policy.Retry.MaxAttempts
	}
	if it.firstFailedAt == "" && !w.FirstFailedAt.IsZero() {
		it.firstFailedAt = w.FirstFailedAt.UTC().Format(time.RFC3339Nano)
	}
	o.FirstFailedAt = it.firstFailedAt
	if it.commanded != nil {
		o.Actor, o.Note = it.commanded.actor, it.commanded.note
	}
	switch kind {
	case schemas.KindRedelivered:
		o.Attempt, o.Delivery, o.Target = it.attempt, it.number, it.target
		o.DueAt, o.LateMS = it.due.UTC().Format(time.RFC3339Nano), it.lateness.Milliseconds()
	case schemas.KindRecovered:
		o.Attempt, o.Delivery, o.Target, o.Evidence = it.attempt, it.number, it.target, evidenceReply
		if it.step == schemas.StepFallback {
			n := it.next
			o.Fallback = &n
		}
	case schemas.KindHeld:
		o.DueAt = it.due.UTC().Format(time.RFC3339Nano)
	case schemas.KindFallback:
		n := it.next
		o.Fallback, o.Target, o.Reason, o.Skipped = &n, it.target, it.reason, it.skipped
	case schemas.KindDead, schemas.KindRejected, schemas.KindDiscarded:
		o.Reason, o.DeadLetterSequence, o.Skipped = it.reason, it.deadSeq, it.skipped
		if it.deadSeq != 0 {
			o.Cause = deadletter.Cause(it.reason, w.Error)
		}
	}
	return o
}
