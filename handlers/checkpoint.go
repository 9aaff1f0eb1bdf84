package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// Instead of acknowledging each report, a shard stores now and then which ones are settled,
// and removes those at the head of the stream together. What was settled after the last
// checkpoint is done again by the next owner, and recognised.
const (
	checkpointEvery = 100 * time.Millisecond // while reports are being settled
	trimEvery       = time.Second
)

// checkpoint is how far a shard's part of the intake stream is settled, and how far that
// is stored.
type checkpoint struct {
	books    []*intakeBook
	since    time.Time // of the lease
	revision uint64
	former   bool      // another owner was there before
	far      int64     // entries in slots of the ledger
	farAt    time.Time // when they were counted
	dirty    bool      // something was settled after the last one was written
	writing  bool
	at       time.Time    // when the last one was written
	commands []*command   // that are settled with the one that is being written
	ahead    []aheadEntry // when the shard was taken
	trimming bool
	trimAt   time.Time // when it is worth removing something again
}

// settled notes that a report is settled.
func (s *shard) settled(now time.Time, b *intakeBook, seq uint64) {
	b.settle(seq)
	s.intake.dirty = true
	if s.stopping {
		s.save(now)
	}
}

// save stores a checkpoint and removes what it is worth to remove, if it is time for it.
func (s *shard) save(now time.Time) {
	c := &s.intake
	if c.dirty && !c.writing && (s.stopping || now.Sub(c.at) >= checkpointEvery) {
		c.dirty, c.writing, c.at = false, true, now
		s.countFar(now)
		c.commands, s.commands = s.commands, nil
		s.forgetAhead(now)
		s.emit(effect{kind: effCheckpoint, data: c.record(s.ahead.sorted()), revision: c.revision})
	}
	if c.trimming || !s.stopping && now.Before(c.trimAt) {
		return
	}
	for part, b := range c.books {
		if floor := b.floor(); floor > b.trimmed {
			c.trimming = true
			s.emit(effect{kind: effTrim, part: part, filters: b.filters, before: floor + 1})
			return
		}
	}
}

// countFar counts, now and then, what stands in slots of the ledger.
func (s *shard) countFar(now time.Time) {
	c := &s.intake
	if now.Sub(c.farAt) < time.Second {
		return
	}
	c.far, c.farAt = s.unseen, now
	for _, l := range s.lanes {
		if l.kind == schemas.LaneDue {
			c.far += int64(l.length())
		}
	}
}

// record is the checkpoint as it is stored.
func (c *checkpoint) record(ahead []aheadEntry) []byte {
	r := intakeRecord{Since: c.since, Far: c.far, Ahead: ahead}
	for _, b := range c.books {
		r.Parts = append(r.Parts, b.record())
	}
	data, _ := json.Marshal(r) // times and numbers cannot fail
	return data
}

// nextSave is when save has something to do, zero if not before something happens.
func (s *shard) nextSave() (at time.Time) {
	c := &s.intake
	if c.dirty && !c.writing {
		at = c.at.Add(checkpointEvery)
	}
	if c.trimming {
		return at
	}
	for _, b := range c.books {
		if b.floor() > b.trimmed && (at.IsZero() || c.trimAt.Before(at)) {
			at = c.trimAt
		}
	}
	return at
}

// saved takes the answer to a checkpoint. stale says that it was stored before, with an
// answer that was lost, and that something may have been settled since.
func (s *shard) saved(now time.Time, revision uint64, stale bool, err error) {
	c := &s.intake
	c.writing = false
	if err != nil || stale {
		s.commands = append(c.commands, s.commands...)
	} else {
		s.answer(c.commands)
	}
	c.commands = nil
	if err != nil {
		s.observe(Event{Kind: EventFault, At: now, Op: "store checkpoint", Err: err})
		c.dirty = true
	} else {
		c.revision = revision
		c.dirty = c.dirty || stale
	}
	if s.stopping && !errors.Is(err, schemas.ErrConflict) {
		s.save(now)
	}
}

// trimmed takes the answer to the removal of settled reports.
func (s *shard) trimmed(now time.Time, e effect, err error) {
	c := &s.intake
	c.trimming, c.trimAt = false, now.Add(trimEvery)
	if err != nil {
		// Nothing is lost: what stays is passed over by the checkpoint.
		s.observe(Event{Kind: EventFault, At: now, Op: "remove settled reports", Err: err})
		return
	}
	c.books[e.part].trimmed = e.before - 1
	if s.stopping {
		s.save(now)
	}
}

// claimTries bounds the race with a former owner that still writes, which it loses.
const claimTries = 10

// claim makes this owner the only one that can store checkpoints of the shard, and returns
// the latest. A later owner is schemas.ErrConflict.
func (l *loop) claim(ctx context.Context) (checkpoint, error) {
	for tries := 1; ; tries++ {
		r, revision, err := l.latest(ctx)
		if err != nil {
			return checkpoint{}, err
		}
		c := checkpoint{since: l.lease.Since, far: r.Far, former: revision != 0, ahead: r.Ahead, books: books(l.shard.subjects.IntakeParts(l.shard.index), r)}
		c.revision, err = l.bus.StatePut(ctx, intakeKey(l.shard.index), c.record(r.Ahead), revision)
		if err == nil || !errors.Is(err, schemas.ErrConflict) || tries == claimTries {
			return c, err
		}
		l.rest(ctx, 50*time.Millisecond) // what was read was stale, or a former owner was faster
	}
}

// latest reads the stored checkpoint. One that cannot be read is none: everything in the
// stream is done again then, and recognised.
func (l *loop) latest(ctx context.Context) (r intakeRecord, revision uint64, err error) {
	key := intakeKey(l.shard.index)
	data, revision, err := l.bus.StateGet(ctx, key)
	switch {
	case errors.Is(err, schemas.ErrNotFound):
		return r, 0, nil
	case err != nil:
		return r, 0, err
	}
	if r, err = parseIntakeRecord(data); err != nil {
		l.observer.Observe(Event{Kind: EventAlarm, At: l.clock.Now(), Shard: l.shard.index, Op: "read checkpoint", Subject: key, Err: err})
	}
	if r.Since.After(l.lease.Since) {
		return r, revision, fmt.Errorf("%w: shard %d has a later owner, since %s", schemas.ErrConflict, l.shard.index, r.Since.Format(time.RFC3339Nano))
	}
	return r, revision, nil
}

// saveCheckpoint stores a checkpoint. When a later owner stored one, this one has lost the
// shard and learns it here at the latest.
func (l *loop) saveCheckpoint(ctx context.Context, data []byte, revision uint64) func(*shard, time.Time) {
	next, err := l.bus.StatePut(ctx, intakeKey(l.shard.index), data, revision)
	stale := errors.Is(err, schemas.ErrConflict)
	if stale {
		if _, next, err = l.latest(ctx); errors.Is(err, schemas.ErrConflict) {
			l.lose(err)
		}
	}
	l.pause(ctx, err)
	return func(s *shard, now time.Time) { s.saved(now, next, stale, err) }
}

// trimIntake removes the settled reports of one part.
func (l *loop) trimIntake(ctx context.Context, e effect) func(*shard, time.Time) {
	done := l.purges.enter(ctx)
	err := l.bus.PurgeIntake(ctx, e.filters, e.before)
	done()
	return func(s *shard, now time.Time) { s.trimmed(now, e, err) }
}
