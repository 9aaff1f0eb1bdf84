package handlers

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// Reading of the ledger.
const (
	readAhead    = 500 * time.Millisecond // before a slot begins, and up to a second earlier; what it must cover is a read, not a wait
	warmUp       = 3 * time.Second        // more than that if no slot was read for a while: the server must load the blocks of its stream
	coldAfter    = 8 * time.Second        // it forgets them after ten
	readMessages = 4000                   // of a slot at once, of which each may be a page
	readBytes    = 6 << 20                // of memory at once
	perMessage   = 1 << 10                // of memory at least
	worthReading = 8                      // a slot is read when this part of memory is free: not page by page
	maxKnown     = 1 << 16                // sequences that a shard knows
	sparse       = 32                     // see shardConfig; where both ways cost the same, see BenchmarkReadSlot of bus
	headMessages = 64                     // of a held lane: as many as probes are chosen from
	purgeBatch   = 1024                   // settled entries at the head that are worth a purge of their own
	readRetry    = 250 * time.Millisecond
)

// loadedEntry is an entry as it was read, parsed outside of the shard's loop.
type loadedEntry struct {
	item   *item  // as far as the entry tells
	policy string // that wrote it
	err    error  // why it cannot be read; the item is a letter of what was found
}

// boot takes what the ledger and the state store held when the shard was taken: how far the
// intake was settled, how many entries each lane has, the last sequence of the ledger then,
// and all breaker states.
func (s *shard) boot(now time.Time, intake checkpoint, counts map[string]uint64, last uint64, states []storedState) {
	s.intake, s.unseen, s.ahead = intake, intake.far, newAheadBook(intake.ahead)
	s.inherited = last
	s.following.begin(now, last, intake.former)
	for _, subject := range slices.Sorted(maps.Keys(counts)) {
		l := s.lane(now, subject)
		if l == nil {
			continue
		}
		l.unread, l.counted = int64(counts[subject]), true
		if l.kind != schemas.LaneDue {
			s.want(l)
			continue
		}
		s.unseen -= l.unread
	}
	s.unseen = max(0, s.unseen)
	for _, st := range states {
		s.restore(now, st)
	}
	s.look(now)
}

// lane is the lane of a subject, made if it is not known; nil, with an alarm, if the
// subject is none of the ledger's.
func (s *shard) lane(now time.Time, subject string) *lane {
	if l := s.lanes[subject]; l != nil {
		return l
	}
	parsed, err := s.subjects.ParseLedger(subject)
	if err == nil && parsed.Shard != s.index {
		err = fmt.Errorf("it belongs to shard %d", parsed.Shard)
	}
	if err != nil {
		s.alarm(now, "ledger lane", subject, err)
		return nil
	}
	l := &lane{subject: subject, kind: parsed.Kind, second: parsed.Second, since: s.forgotten, index: -1}
	s.lanes[subject] = l
	switch l.kind {
	case schemas.LaneDue:
		s.slots.add(l)
	case schemas.LaneHeld:
		s.unnamed++
	}
	return l
}

// openSlots moves the slots that are near to the lanes that want to be read.
func (s *shard) openSlots(now time.Time) {
	for len(s.slots) > 0 && !s.opens(s.slots[0]).After(now) {
		l := s.slots[0]
		s.slots.remove(l)
		s.want(l)
		s.slotRead = now
	}
}

// opens is when a slot must be read. Shards take turns within a second: the server answers
// one read after the other, and releases should not wait for all of them.
func (s *shard) opens(l *lane) time.Time {
	turn := time.Second * time.Duration(s.index) / time.Duration(s.shards)
	at := time.Unix(l.second, 0).Add(-readAhead - turn)
	if at.Sub(s.slotRead) > coldAfter {
		at = at.Add(-warmUp)
	}
	return at
}

func (s *shard) want(l *lane) {
	if !l.wanted {
		l.wanted = true
		s.wanting = append(s.wanting, l)
	}
}

// room says whether a lane may be read now.
func (s *shard) room(l *lane) bool {
	switch l.kind {
	case schemas.LaneHeld:
		return true // bounded by the window of its breaker
	case schemas.LaneDead:
		return len(l.entries) == l.settled
	}
	return s.bytes+s.reserved <= s.memory-s.memory/worthReading
}

// readWanted reads the lanes that want it, in order.
func (s *shard) readWanted(now time.Time) {
	s.crowded = false
	s.wanting = slices.DeleteFunc(s.wanting, func(l *lane) bool {
		switch {
		case l.reading:
			return false
		case l.complete():
			l.wanted = false
			s.trim(l)
			return true
		case now.Before(l.retry):
			return false
		case !s.room(l):
			s.crowded = s.crowded || l.kind == schemas.LaneDue
			return false
		case l.kind == schemas.LaneHeld && l.key != "":
			l.wanted = false
			s.touch(l)
			return true
		}
		n := readMessages
		if l.kind == schemas.LaneHeld || l.kind == schemas.LaneDead {
			n = headMessages
		}
		s.read(l, n)
		return false
	})
}

func (s *shard) read(l *lane, messages int) {
	l.reading = true
	l.reserved = max(64<<10, min(readBytes, s.memory-s.bytes-s.reserved))
	s.reserved += l.reserved
	// In memory a small entry takes three times what it takes in its stream.
	messages = min(messages, int(l.reserved/perMessage))
	s.emit(effect{kind: effRead, lane: l, from: l.read + 1, messages: messages, known: l.lookUp(messages, s.sparse), bytes: int(l.reserved / 3)})
}

// loaded takes what a read found. more says that there may be more after it.
func (s *shard) loaded(now time.Time, l *lane, found []loadedEntry, more bool, err error) {
	l.reading = false
	s.reserved -= l.reserved
	if err != nil {
		l.retry = now.Add(4 * readRetry)
		s.observe(Event{Kind: EventFault, At: now, Op: "read ledger", Subject: l.subject, Err: err})
		s.want(l)
		return
	}
	items := make([]*item, len(found))
	for i := range found {
		items[i] = s.fromEntry(now, l, &found[i])
	}
	if l.kind == schemas.LaneDue {
		s.seen(items)
	}
	known := len(l.known)
	lost := l.load(items, more)
	s.known -= known - len(l.known)
	if lost > 0 {
		s.alarm(now, "read ledger", l.subject, fmt.Errorf("%d announced entries are gone: somebody removed them", lost))
	}
	l.retry = time.Time{}
	if len(found) == 0 && !l.complete() {
		l.retry = now.Add(readRetry)
		s.want(l)
	}
	for _, it := range items {
		s.account(it)
		if !s.passOver(now, it) {
			s.enter(now, it)
		}
	}
	s.trim(l)
	s.touch(l)
	s.look(now)
}

// seen takes what was read of inherited pages off the number of those that were not.
func (s *shard) seen(items []*item) {
	for i, it := range items {
		if i > 0 && it.seq == items[i-1].seq && it.seq <= s.inherited {
			s.unseen--
		}
	}
	s.unseen = max(0, s.unseen)
	s.intake.dirty = true // its count of what waits has changed
}

// fromEntry completes the item of an entry. An entry that cannot be read becomes a letter: it
// is never dropped.
func (s *shard) fromEntry(now time.Time, l *lane, e *loadedEntry) *item {
	it := e.item
	it.lane = l
	if e.err != nil {
		it.work.ID, it.due = fmt.Sprintf("ledger-%d-%d", s.index, it.seq), now
		return it
	}
	it.policy = s.policyFor(it.work.Subject)
	if l.kind == schemas.LaneHeld {
		// By the policy that held it: another one may serve the subject now.
		s.name(l, breakerKey{e.policy, it.key})
	}
	return it
}

// enter lets an item that was read from a lane go on. One whose twin is in memory, because
// it was stored twice, waits for what becomes of that: a former owner may still hold the
// twin, and then this entry is all that the next owner has.
func (s *shard) enter(now time.Time, it *item) {
	if twin := s.bySource[it.source]; twin != nil && twin.number == it.number && twin.work.LastFailedAt.Equal(it.work.LastFailedAt) {
		it.stage = stageEcho
		twin.echoes = append(twin.echoes, it)
		return
	}
	s.claim(it)
	switch {
	case it.record != nil && it.record.Success:
		s.signalled(now, it)
	case it.policy == nil && it.step != schemas.StepDead:
		it.kind = schemas.KindRejected
		s.letter(now, it, schemas.ReasonRefused, fmt.Sprintf("no policy serves %q any more", it.work.Subject))
	case it.step == schemas.StepDead:
		s.start(now, it, moveLetter)
	case it.lane.kind == schemas.LaneHeld:
		it.stage = stageWaiting
	case it.lane.kind == schemas.LaneSignal && it.record != nil:
		s.reported(now, it)
		s.count(now, it)
		s.proceed(now, it, nil)
	default:
		s.place(now, it)
	}
}

// name notes which breaker a held lane belongs to, as its first entry told or as the work
// that goes there knows.
func (s *shard) name(l *lane, k breakerKey) {
	if l.key == "" {
		l.policy, l.key = k.policy, k.key
		s.held[k] = l
		s.unnamed--
	}
}

// trim purges what is settled at the head of a lane and forgets the lane when nothing is
// left of it.
func (s *shard) trim(l *lane) {
	n := l.prefix()
	all := l.complete() && n == len(l.entries) && l.coming == 0
	if n > 0 && !l.purging && (all || n >= purgeBatch || s.stopping) {
		e := effect{kind: effPurge, lane: l}
		e.before, e.least, e.most = l.cut(n, s.inherited)
		l.purging = true
		s.emit(e)
	}
	s.forgetLane(l)
}

// stop begins nothing new. It stores and purges what is settled: the next owner would
// release it again, and only a target that still remembers it would recognise it. And it
// stores the breakers, or the next owner would wait for outcomes that are known.
func (s *shard) stop(now time.Time) {
	s.stopping = true
	for _, k := range slices.SortedFunc(maps.Keys(s.records), breakerKey.compare) {
		s.store(k)
	}
	for _, subject := range slices.Sorted(maps.Keys(s.lanes)) {
		s.trim(s.lanes[subject])
	}
	s.save(now)
}

// forgetLane forgets a lane of which nothing is left: a slot, and a held lane once its
// breaker is closed.
func (s *shard) forgetLane(l *lane) {
	if !l.idle() || l.wanted || s.lanes[l.subject] != l {
		return
	}
	switch {
	case l.kind == schemas.LaneDue:
		s.slots.remove(l)
	case l.kind != schemas.LaneHeld:
		return
	case l.key == "":
		s.unnamed--
	case s.sets[l.policy] != nil && s.sets[l.policy].State(l.key) != strategies.Closed:
		return
	default:
		delete(s.held, breakerKey{l.policy, l.key})
	}
	s.forgotten = max(s.forgotten, l.read)
	s.known -= len(l.known)
	delete(s.lanes, l.subject)
}

// purged takes the answer to a purge.
func (s *shard) purged(now time.Time, e effect, removed int, err error) {
	l := e.lane
	switch {
	case err != nil:
		// Nothing is lost: what stays is released again after a restart and recognised.
		s.observe(Event{Kind: EventFault, At: now, Op: "purge ledger", Subject: l.subject, Err: err})
		e.least = 0 // the one that failed may have done its work
		s.emit(e)
		return
	case removed < e.least || removed > e.most:
		s.alarm(now, "purge ledger", l.subject, fmt.Errorf("%d entries were removed, %d to %d were settled", removed, e.least, e.most))
	}
	l.purging = false
	l.purged = e.before
	s.intake.dirty = s.intake.dirty || s.ahead.size() > 0
	s.trim(l)
	s.look(now)
}

// entry is how an item is written to the ledger.
func (it *item) entry() schemas.Entry {
	return schemas.Entry{
		Work: it.work, Step: it.step, Due: it.due, Attempt: it.attempt, Number: it.number, Key: it.key,
		Policy: it.policyName(), Reason: it.reason, HeldAt: it.heldAt, Source: it.source, Record: it.record,
	}
}

// evict moves the reports that are due last to the ledger when memory or the number of
// reports fills up: something due in 100 ms must not queue behind what is
// due later.
func (s *shard) evict(now time.Time) {
	if s.bytes <= s.memory && s.near <= s.maxNear && !s.crowded || now.Before(s.evictAt) {
		return
	}
	candidates := make([]*item, 0, len(s.waiting))
	for _, w := range s.waiting {
		if w.it.movable(now) {
			candidates = append(candidates, w.it)
		}
	}
	slices.SortFunc(candidates, func(a, b *item) int { return b.wake.Compare(a.wake) })
	bytes, count := s.bytes-s.memory*3/4, s.near-s.maxNear*3/4
	for _, it := range candidates {
		if bytes <= 0 && count <= 0 {
			return
		}
		bytes, count = bytes-it.bytes, count-1
		s.postpone(now, it)
	}
	s.evictAt = now.Add(evictPause) // all that may move has moved
}

// movable says whether an item waits in memory for so long that the ledger can have it.
func (it *item) movable(now time.Time) bool {
	waits := it.stage == stageWaiting && it.lane == nil || it.stage == stageMoving && it.move == moveDeliver
	return waits && it.index >= 0 && it.wake.Sub(now) > evictAhead
}

// postpone moves an item that waits in memory to the ledger.
func (s *shard) postpone(now time.Time, it *item) {
	s.waiting.remove(it)
	it.due = it.wake
	s.later(now, it)
}

// unpin moves a report to the ledger that keeps many settled ones in the stream, for
// example because its target is full.
func (s *shard) unpin(now time.Time) {
	for _, b := range s.intake.books {
		if seq, is := b.pinned(); is {
			if it := s.bySource[seq]; it != nil && it.book == b && it.movable(now) {
				s.postpone(now, it)
			}
		}
	}
}

// evictPause is how long nothing is looked for after everything movable was moved.
const evictPause = 100 * time.Millisecond

// evictAhead is how far its time must be for a message to be worth moving.
const evictAhead = time.Second

// errFull is shown while letters wait in the ledger.
var errFull = errors.New("the store of dead letters is full: letters wait in the ledger; raise RECOVERYD_DEAD_MAX_BYTES, or replay or discard letters")
