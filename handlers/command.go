package handlers

import (
	"fmt"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// command is what an operator wants of one piece of work that waits: that it is tried now
// instead of when it is due, or never again.
type command struct {
	cancel      bool
	actor, note string

	kind string            // of the last outcome that followed
	done func(kind string) // called once what followed is stored, and the source settled
}

func conflict(format string, args ...any) error {
	return &schemas.APIError{Code: 409, Message: fmt.Sprintf(format, args...)}
}

// commandReport carries out a command for work that the daemon has in memory, named by the
// sequence of its report. found is false if there is none.
func (s *shard) commandReport(now time.Time, source uint64, c *command) (found bool, err error) {
	it := s.bySource[source]
	if it == nil {
		return false, nil
	}
	return true, s.command(now, it, c)
}

// commandEntry carries out a command for an entry as it was read from the ledger a moment
// ago.
func (s *shard) commandEntry(now time.Time, lane string, e *loadedEntry, c *command) error {
	l, at := s.lanes[lane], e.item.spot()
	if l == nil || at.seq <= l.since {
		return conflict("it is not in the ledger any more: look again")
	}
	switch {
	case s.ahead.has(at, e.item.source, e.item.work.ID):
		return conflict("it is settled already: see recoveryd outcomes --id")
	case s.ahead.taken[at] != nil:
		return conflict("another command for it is under way: look again")
	case e.err != nil:
		return conflict("it cannot be read (%v): it becomes a dead letter when its time comes", e.err)
	case l.kind == schemas.LaneDead:
		return conflict("it is a dead letter that waits for room in its store: raise RECOVERYD_DEAD_MAX_BYTES, or replay or discard letters")
	case l.kind == schemas.LaneHeld && !c.cancel:
		return conflict("breaker %s holds it: recoveryd breaker probe %[1]s, or close, releases it", e.item.key)
	case l.read >= at.seq:
		return s.command(now, s.entryAt(l, at), c)
	case l.kind == schemas.LaneSignal:
		return conflict("it is on its way between two shards: look again")
	}
	if twin := s.bySource[e.item.source]; twin != nil {
		return conflict("the step before this one is not settled yet: look again")
	}
	if err := s.roomAhead(now); err != nil {
		return err
	}
	it := s.fromEntry(now, l, e)
	it.ahead = true
	s.account(it)
	s.claim(it)
	s.ahead.taken[at] = it
	s.obey(now, it, c)
	return nil
}

// entryAt is the item of an entry that was read, nil if it is settled or on its way.
func (s *shard) entryAt(l *lane, at spot) *item {
	if l.kind == schemas.LaneHeld { // whose messages are one entry each
		for _, p := range l.entries {
			if p.seq == at.seq {
				return p.item
			}
		}
		return nil
	}
	for _, w := range s.waiting {
		if w.it.lane == l && w.it.spot() == at {
			return w.it
		}
	}
	return nil
}

// command carries out a command for an item in memory, if it waits.
func (s *shard) command(now time.Time, it *item, c *command) error {
	switch {
	case it == nil || it.commanded != nil || it.onlyTell:
	case it.stage == stageWaiting && it.index >= 0, it.stage == stageMoving && it.move == moveDeliver && it.index >= 0:
		if err := s.roomAhead(now); err != nil {
			return err
		}
		s.waiting.remove(it)
		s.obey(now, it, c)
		return nil
	case it.stage == stageWaiting && c.cancel: // in a held lane
		if err := s.roomAhead(now); err != nil {
			return err
		}
		it.work.Held += max(0, now.Sub(it.heldAt))
		s.obey(now, it, c)
		return nil
	case it.stage == stageWaiting:
		return conflict("breaker %s holds it: recoveryd breaker probe %[1]s, or close, releases it", it.key)
	}
	return conflict("it is on its way this moment: look again")
}

// roomAhead refuses commands when a checkpoint would have too much to tell.
func (s *shard) roomAhead(now time.Time) error {
	s.forgetAhead(now)
	if s.ahead.size() < maxAhead {
		return nil
	}
	return conflict("shard %d keeps %d entries that were cancelled, or tried ahead of their time, and no more: wait until some are due", s.index, maxAhead)
}

func (s *shard) obey(now time.Time, it *item, c *command) {
	it.commanded = c
	if !c.cancel {
		it.due, it.wake = now, now
		if it.stage != stageMoving {
			it.stage = stageWaiting
		}
		s.waiting.add(it)
		return
	}
	s.withdraw(now, it)
	it.stage, it.move, it.reason = stageMoving, moveDrop, schemas.ReasonDiscarded
	s.moved(now, it, schemas.Ack{})
}

// commandDone has the operator told once the checkpoint says that the source is settled.
func (s *shard) commandDone(now time.Time, it *item) {
	if it.commanded != nil {
		s.ahead.settle(now, it)
		s.intake.dirty = true
		s.commands = append(s.commands, it.commanded)
	}
}

// answer tells the operators whose commands are settled for good.
func (s *shard) answer(settled []*command) {
	for _, c := range settled {
		s.emit(effect{kind: effAnswer, command: c})
	}
}
