package handlers

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// simStreams is JetStream in memory, as far as a shard can tell the difference.
type simStreams struct {
	w        *simWorld
	intake   []*simIntake // by shard
	reports  uint64       // last sequence of the intake stream
	ledger   simLedger
	work     simStream
	dead     simStream
	outcomes simStream
	state    simBucket
}

func newSimStreams(w *simWorld) *simStreams {
	s := &simStreams{w: w, ledger: simLedger{w: w, lanes: map[string][]schemas.Stored{}}, state: simBucket{values: map[string]simValue{}}}
	for range w.cfg.shards {
		s.intake = append(s.intake, &simIntake{w: w})
	}
	for _, stream := range []*simStream{&s.work, &s.dead, &s.outcomes} {
		stream.ids = map[string]simTwin{}
	}
	return s
}

// store puts a message where its subject belongs.
func (s *simStreams) store(m schemas.Message) (schemas.Ack, error) {
	switch rest, own := strings.CutPrefix(m.Subject, schemas.DefaultPrefix+"."); {
	case !own:
		return s.deliver(m)
	case strings.HasPrefix(rest, "failed."):
		return s.report(m, strings.TrimPrefix(rest, "failed.")), nil
	case strings.HasPrefix(rest, "succeeded."):
		s.reports++
		stored := schemas.Stored{Message: m, Sequence: s.reports, Time: s.w.now}
		s.w.after(s.w.latency(), func() { s.w.succeeded(stored) })
		return schemas.Ack{}, nil
	case strings.HasPrefix(rest, "ledger."):
		return s.ledger.append(m), nil
	case strings.HasPrefix(rest, "dead."):
		if s.w.faults.active(faultDeadFull, "") {
			return schemas.Ack{}, schemas.ErrStoreFull
		}
		stored, ack := s.dead.store(s.w.now, m)
		if !ack.Duplicate {
			s.w.check.letter(&stored)
		}
		return ack, nil
	case strings.HasPrefix(rest, "outcomes."):
		stored, ack := s.outcomes.store(s.w.now, m)
		if !ack.Duplicate {
			s.w.check.outcome(&stored)
		}
		return ack, nil
	case strings.HasPrefix(rest, "breakers."):
		_, ack := s.outcomes.store(s.w.now, m)
		return ack, nil
	}
	s.w.check.failf("", "publish to %s", m.Subject)
	return schemas.Ack{}, schemas.ErrNoStream
}

func (s *simStreams) deliver(m schemas.Message) (schemas.Ack, error) {
	switch {
	case s.w.faults.active(faultNoStream, m.Subject):
		return schemas.Ack{}, schemas.ErrNoStream
	case s.w.faults.active(faultFull, m.Subject):
		return schemas.Ack{}, schemas.ErrStoreFull
	}
	stored, ack := s.work.store(s.w.now, m)
	if ack.Duplicate {
		s.w.check.recognised(m.Header)
		return ack, nil
	}
	s.w.check.delivered(&stored)
	s.w.workers.receive(&stored)
	return ack, nil
}

func (s *simStreams) report(m schemas.Message, subject string) schemas.Ack {
	s.reports++
	shard := simSubjects.Partition(subject, s.w.cfg.shards)
	m.Subject = simSubjects.Intake(shard, subject)
	stored := schemas.Stored{Message: m, Sequence: s.reports, Time: s.w.now}
	s.w.check.reported(&stored)
	s.intake[shard].add(stored)
	return schemas.Ack{Sequence: s.reports}
}

// simWindow is how long a stream recognises a repeated message id.
const simWindow = 2 * time.Minute

// simStream knows the message ids of its window.
type simStream struct {
	seq   uint64
	ids   map[string]simTwin
	order []string
}

type simTwin struct {
	at  time.Time
	seq uint64
}

func (s *simStream) store(now time.Time, m schemas.Message) (schemas.Stored, schemas.Ack) {
	for len(s.order) > 0 && now.Sub(s.ids[s.order[0]].at) > simWindow {
		delete(s.ids, s.order[0])
		s.order = s.order[1:]
	}
	id := m.Header.Get(schemas.HeaderMsgID)
	if twin, ok := s.ids[id]; ok && id != "" {
		return schemas.Stored{}, schemas.Ack{Sequence: twin.seq, Duplicate: true}
	}
	s.seq++
	if id != "" {
		s.ids[id] = simTwin{now, s.seq}
		s.order = append(s.order, id)
	}
	return schemas.Stored{Message: m, Sequence: s.seq, Time: now}, schemas.Ack{Sequence: s.seq}
}

// simIntake is one shard's part of the stream of failures.
type simIntake struct {
	w       *simWorld
	reports []schemas.Stored // not removed
}

func (q *simIntake) add(m schemas.Stored) {
	q.reports = append(q.reports, m)
	shard, _, err := simSubjects.ParseIntake(m.Subject)
	if err != nil {
		q.w.check.failf("", "%v", err)
	}
	for _, o := range q.w.readers {
		if o.shard == shard {
			q.w.after(q.w.latency(), o.wake)
		}
	}
}

// next is the first report from a sequence on.
func (q *simIntake) next(from uint64) (schemas.Stored, bool) {
	i, _ := q.find(from)
	if i == len(q.reports) {
		return schemas.Stored{}, false
	}
	return q.reports[i], true
}

func (q *simIntake) purge(before uint64) {
	i, _ := q.find(before)
	q.reports = q.reports[i:]
}

func (q *simIntake) find(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(q.reports, seq, func(m schemas.Stored, seq uint64) int { return cmp.Compare(m.Sequence, seq) })
}

// simLedger is the ledger: lanes of entries, without deduplication, and its followers.
type simLedger struct {
	w         *simWorld
	seq       uint64
	lanes     map[string][]schemas.Stored
	followers []*simFollower
	writes    int
}

type simFollower struct {
	owner  *simOwner
	prefix string
	last   time.Time
	next   uint64 // first sequence that was not told of
	ended  bool
}

func (l *simLedger) append(m schemas.Message) schemas.Ack {
	l.seq++
	l.writes++
	stored := schemas.Stored{Message: m, Sequence: l.seq, Time: l.w.now}
	l.lanes[m.Subject] = append(l.lanes[m.Subject], stored)
	if n := schemas.PageEntries(m.Header); n > 1 {
		l.w.check.counts["pages"]++
		l.w.check.counts["entries in pages"] += n
	}
	eachEntry(&stored, l.w.check.entered)
	for _, f := range l.followers {
		if strings.HasPrefix(m.Subject, f.prefix) {
			f.tell(&stored)
		}
	}
	return schemas.Ack{Sequence: l.seq}
}

// eachEntry calls do for every entry of a message, or for the message if it is no entry.
func eachEntry(m *schemas.Stored, do func(*schemas.Stored)) {
	entries, err := schemas.ParseEntries(m)
	if err != nil {
		do(m)
	}
	for i := range entries {
		do(&schemas.Stored{Message: schemas.Message{Subject: m.Subject, Header: entries[i].Header}, Sequence: m.Sequence})
	}
}

// tell announces a message after a while and in order, unless it is gone by then.
func (f *simFollower) tell(m *schemas.Stored) {
	w, subject, seq, entries := f.owner.w, m.Subject, m.Sequence, schemas.PageEntries(m.Header)
	sent := w.faults.lag()
	at := w.now.Add(sent + w.latency())
	if at.Before(f.last) {
		at = f.last
	}
	f.last = at
	found := false
	w.after(sent, func() { _, found = w.streams.ledger.find(subject, seq) })
	w.after(at.Sub(w.now), func() {
		if found && !f.ended {
			f.next = seq + 1
			f.owner.do(func(s *shard, now time.Time) { s.announced(now, subject, seq, entries) })
		}
	})
}

func (l *simLedger) find(subject string, seq uint64) (int, bool) {
	return slices.BinarySearchFunc(l.lanes[subject], seq, func(m schemas.Stored, seq uint64) int {
		return int(int64(m.Sequence) - int64(seq))
	})
}

// follow tells of everything from a sequence on, or of signals.
func (l *simLedger) follow(o *simOwner, all bool, from uint64) {
	f := &simFollower{owner: o, prefix: simSubjects.Signal(o.shard), next: from}
	if all {
		f.prefix = strings.TrimSuffix(simSubjects.Ledger(o.shard), ">")
	}
	var missed []schemas.Stored
	for subject, lane := range l.lanes {
		if strings.HasPrefix(subject, f.prefix) {
			i, _ := l.find(subject, from)
			missed = append(missed, lane[i:]...)
		}
	}
	slices.SortFunc(missed, func(a, b schemas.Stored) int { return int(int64(a.Sequence) - int64(b.Sequence)) })
	for i := range missed {
		f.tell(&missed[i])
	}
	l.followers = append(slices.DeleteFunc(l.followers, func(f *simFollower) bool { return !f.owner.alive }), f)
}

// unfollow ends what an owner follows, and returns from where another has to go on.
func (l *simLedger) unfollow(o *simOwner) (next uint64) {
	l.followers = slices.DeleteFunc(l.followers, func(f *simFollower) bool {
		if f.owner == o {
			next, f.ended = f.next, true
		}
		return f.owner == o
	})
	return next
}

func (l *simLedger) counts(shard int) (map[string]uint64, uint64) {
	counts := map[string]uint64{}
	prefix := strings.TrimSuffix(simSubjects.Ledger(shard), ">")
	for subject, lane := range l.lanes {
		if strings.HasPrefix(subject, prefix) {
			counts[subject] = uint64(len(lane))
		}
	}
	return counts, l.seq
}

// read answers from a replica that may lag; only an empty answer is confirmed.
func (l *simLedger) read(subject string, from uint64, most, bytes int) []schemas.Stored {
	i, _ := l.find(subject, from)
	rest := l.lanes[subject][i:]
	if n := len(rest); n > 0 && l.w.chance(l.w.faults.rates.staleRead) {
		rest = rest[:max(1, l.w.rng.IntN(n+1))]
	}
	rest = rest[:min(len(rest), most)]
	size := 0
	for n := range rest {
		if size += len(rest[n].Body) + rest[n].Header.Size(); size >= bytes {
			rest = rest[:n+1]
			break
		}
	}
	return slices.Clone(rest)
}

func (l *simLedger) purge(subject string, before uint64) uint64 {
	i, _ := l.find(subject, before)
	for n := range i {
		eachEntry(&l.lanes[subject][n], l.w.check.left)
	}
	l.drop(subject, 0, i)
	return uint64(i)
}

func (l *simLedger) remove(seq uint64) {
	for subject := range l.lanes {
		if i, found := l.find(subject, seq); found {
			eachEntry(&l.lanes[subject][i], l.w.check.left)
			l.drop(subject, i, i+1)
			return
		}
	}
}

func (l *simLedger) drop(subject string, from, to int) {
	lane := l.lanes[subject]
	if from == 0 {
		lane = lane[to:] // long lanes are purged from their head
	} else {
		lane = slices.Delete(lane, from, to)
	}
	if len(lane) == 0 {
		delete(l.lanes, subject)
		return
	}
	l.lanes[subject] = lane
}

// simBucket is a key-value bucket with compare-and-set.
type simBucket struct {
	revision uint64
	values   map[string]simValue
}

type simValue struct {
	data     []byte
	revision uint64
}

func (b *simBucket) put(key string, data []byte, revision uint64) (uint64, error) {
	if b.values[key].revision != revision {
		return 0, fmt.Errorf("put %s at revision %d: %w", key, revision, schemas.ErrConflict)
	}
	b.revision++
	b.values[key] = simValue{data, b.revision}
	return b.revision, nil
}

func (b *simBucket) delete(key string, revision uint64) error {
	if v, ok := b.values[key]; !ok || v.revision != revision {
		return fmt.Errorf("delete %s at revision %d: %w", key, revision, schemas.ErrConflict)
	}
	b.revision++
	delete(b.values, key)
	return nil
}

func (b *simBucket) keys() []string { return slices.Sorted(maps.Keys(b.values)) }
