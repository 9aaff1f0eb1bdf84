package handlers

import (
	"context"
	"slices"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// chore runs a request beside the loop and posts what it found. A chore that ends because
// the shard is given back posts nothing.
func (l *loop) chore(do func(ctx context.Context) func(*shard, time.Time)) {
	l.chores.Go(func() {
		select {
		case l.slots <- struct{}{}:
			defer func() { <-l.slots }()
		case <-l.tidyStop.Done():
			return
		}
		ctx, cancel := context.WithTimeout(l.tidyStop, 10*time.Second)
		defer cancel()
		if letter := do(ctx); l.tidyStop.Err() == nil {
			l.mail.post(letter)
		}
	})
}

// oneByOne has requests that keep the server busy follow each other at a distance. The slots
// of all shards end at the same moment: purged together they would hold up what is due.
type oneByOne chan struct{}

// longestRest bounds the pause after a request, which is as long as the request was.
const longestRest = 50 * time.Millisecond

// enter waits for its turn, or until ctx ends. done must be called after the request.
func (o oneByOne) enter(ctx context.Context) (done func()) {
	select {
	case o <- struct{}{}:
	case <-ctx.Done():
		return func() {}
	}
	began := time.Now()
	return func() { time.AfterFunc(min(time.Since(began), longestRest), func() { <-o }) }
}

// pause keeps a chore that failed from being repeated at once.
func (l *loop) pause(ctx context.Context, err error) {
	if err != nil {
		l.rest(ctx, time.Second)
	}
}

// rest waits, but not longer than the chores may run.
func (l *loop) rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-l.tidyStop.Done():
	}
}

func (l *loop) readLane(ctx context.Context, e effect) func(*shard, time.Time) {
	var stored []schemas.Stored
	var err error
	if len(e.known) > 0 {
		stored, err = l.bus.ReadEntries(ctx, e.lane.subject, e.known, e.bytes)
	} else {
		stored, err = l.bus.ReadLane(ctx, e.lane.subject, e.from, e.messages, e.bytes)
	}
	found := make([]loadedEntry, 0, len(stored))
	for i := range stored {
		found = appendEntries(found, &stored[i])
	}
	return func(s *shard, now time.Time) { s.loaded(now, e.lane, found, len(found) > 0, err) }
}

// appendEntries parses the entries of a message of the ledger. A message that cannot be
// read is one entry that cannot be read.
func appendEntries(found []loadedEntry, m *schemas.Stored) []loadedEntry {
	entries, err := schemas.ParseEntries(m)
	if err != nil {
		return append(found, loadedEntry{item: unreadable(m, err), err: err})
	}
	found = slices.Grow(found, len(entries))
	for i := range entries {
		e, pinned := &entries[i], 0
		if len(entries) == 1 {
			pinned = e.Detach(m.Header)
		}
		it := &item{
			work: e.Work, seq: m.Sequence, part: uint16(i), index: -1, kind: schemas.KindDead, pinned: pinned,
			step: e.Step, due: e.Due, key: e.Key, reason: e.Reason, next: e.Work.Fallback,
			attempt: e.Attempt, number: e.Number, heldAt: e.HeldAt, source: e.Source, record: e.Record,
		}
		if it.reason == schemas.ReasonRefused {
			it.kind = schemas.KindRejected
		}
		found = append(found, loadedEntry{item: it, policy: e.Policy})
	}
	return found
}

// unreadable makes a letter of a message that is no entry.
func unreadable(m *schemas.Stored, err error) *item {
	return &item{
		work: schemas.Work{
			Subject: m.Subject, Attempt: 1, Delivery: 1, Fallback: schemas.NoFallback, LastFailedAt: m.Time, FirstFailedAt: m.Time,
			Error: err.Error(), Header: m.Header, Body: m.Body,
		},
		seq: m.Sequence, index: -1, kind: schemas.KindDead, step: schemas.StepDead, reason: schemas.ReasonMalformed, pinned: m.Header.Size(),
	}
}

// follower tells the loop what is stored in its shard's ledger. One goroutine at a time works
// with it: that which runs the shard, or the one chore that exchanges it.
type follower struct {
	loop *loop
	ctx  context.Context // ends the following
	stop func()
	next uint64 // first sequence that was not told of
}

func (f *follower) start(all bool, from uint64) (err error) {
	follow := f.loop.bus.FollowSignals
	if all {
		follow = f.loop.bus.FollowLedger
	}
	f.next = from
	f.stop, err = follow(f.ctx, f.loop.shard.index, from, func(subject string, sequence uint64, entries int) {
		if f.tell(announcement{subject: subject, sequence: sequence, entries: entries}) {
			f.next = sequence + 1
		}
	})
	return err
}

// tell waits until the loop can hear it, false if it never will.
func (f *follower) tell(a announcement) bool {
	select {
	case f.loop.follow <- a:
		return true
	case <-f.loop.tidyStop.Done():
		return false
	}
}

// exchange has another follower tell of everything from a sequence on, or of those signals
// that the former did not tell of.
func (f *follower) exchange(all bool, from uint64) {
	f.stop()
	if !all {
		from = f.next
	}
	f.stop = func() {}
	if !f.tell(announcement{switched: true, all: all, sequence: from}) {
		return
	}
	for {
		err := f.start(all, from)
		if err == nil {
			break
		}
		f.stop = func() {}
		f.loop.observer.Observe(Event{Kind: EventFault, At: f.loop.clock.Now(), Shard: f.loop.shard.index, Op: "follow ledger", Err: err})
		f.loop.pause(f.ctx, err)
		if f.ctx.Err() != nil || f.loop.tidyStop.Err() != nil {
			return
		}
	}
	f.loop.mail.post(func(s *shard, now time.Time) { s.attached(now) })
}
