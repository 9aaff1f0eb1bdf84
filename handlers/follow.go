package handlers

import (
	"errors"
	"slices"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// following is how a shard learns what stands in its ledger. It knows its own appends by
// their answers, and is told of what other shards hand over. It is told of everything only
// while something else may have been stored: by a former owner whose appends are still on
// their way, or by an append of its own that had no answer. Being told of a message makes
// the server keep the block around it in memory for ten seconds, which is much while a
// million are written; what comes later than that is what its source says once more, as a
// former owner settles no source after its lease.
type following struct {
	all        bool      // of everything, not only of signals
	exchanging bool      // the follower is being exchanged
	until      time.Time // everything is followed until then

	told  uint64   // everything up to here is known: it was told, or before the shard was taken
	ahead []uint64 // after that: own appends, known by their answers, and signals that were told

	// An append that has no answer yet was sent when top was at least floor: what it stored
	// stands after that. They come in two eras, so that the floor can rise while there is
	// always one; those of the older era were sent before top was next.
	top, floor, next uint64
	era              uint8
	flying           [2]int // by the parity of the era
	doubt            bool   // something may be stored after floor that nobody will tell of
}

// strangers is how long everything is followed: longer than anything sent by then can be on
// its way, and than a follower can lag.
const strangers = 30 * time.Second

// begin is when the shard is taken, with the last sequence of its ledger.
func (f *following) begin(now time.Time, last uint64, former bool) {
	*f = following{all: former, told: last, top: last, floor: last, next: last}
	if former {
		f.until = now.Add(strangers)
	}
}

// sent takes note of an append that is sent now.
func (f *following) sent() (era uint8) {
	f.flying[f.era&1]++
	return f.era
}

// answered takes note of the answer to an append, or that there will be none.
func (f *following) answered(era uint8) {
	f.flying[era&1]--
	if f.flying[(f.era+1)&1] == 0 && !f.doubt {
		f.floor, f.next = f.next, f.top
		f.era++
		f.trim()
	}
}

// trim drops what nobody will tell of once more.
func (f *following) trim() {
	if !f.all && !f.exchanging {
		f.drop(f.floor)
	}
}

// drop drops what stands ahead up to a sequence, and says whether that was there.
func (f *following) drop(seq uint64) (found bool) {
	n, found := slices.BinarySearch(f.ahead, seq)
	if found {
		n++
	}
	f.ahead = f.ahead[n:]
	return found
}

func (f *following) add(seq uint64) {
	f.top = max(f.top, seq)
	at, _ := slices.BinarySearch(f.ahead, seq)
	f.ahead = slices.Insert(f.ahead, at, seq)
}

// hear takes note of what the follower tells. counted says that it is known already.
func (f *following) hear(seq uint64) (counted bool) {
	if !f.all {
		f.add(seq)
		return false
	}
	f.top, f.told = max(f.top, seq), max(f.told, seq)
	return f.drop(seq) // what was passed over was removed before the follower saw it
}

// stored takes note of the answer to an own append. counted says that the follower told of
// it before.
func (f *following) stored(seq uint64) (counted bool) {
	if seq <= f.told {
		return true
	}
	f.add(seq)
	return false
}

// unsure has everything followed for a while, as an append may be stored all the same.
func (f *following) unsure(now time.Time) {
	f.until = now.Add(strangers)
	f.doubt = !f.all || f.exchanging
}

// wants says whether everything is to be followed. It goes on until the follower, which may
// lag, has told what was stored before.
func (f *following) wants(now time.Time) (all bool) {
	return f.doubt || now.Before(f.until) || f.all && f.told < f.floor
}

// exchange has the follower exchanged when it should tell of more, or need not any longer.
func (s *shard) exchange(now time.Time) {
	f := &s.following
	if all := f.wants(now); all != f.all && !f.exchanging {
		f.exchanging = true
		s.emit(effect{kind: effFollow, all: all, from: max(f.floor, f.told) + 1})
	}
}

// exchanged says that everything the former follower told was heard. The new one tells of all
// from a sequence on, or of signals.
func (s *shard) exchanged(all bool, from uint64) {
	f := &s.following
	f.all = all
	if all {
		f.told = max(f.told, from-1)
		f.drop(f.told)
	}
}

// attached says that the new follower is there.
func (s *shard) attached(now time.Time) {
	f := &s.following
	f.exchanging = false
	if f.all {
		f.until, f.doubt = now.Add(strangers), false // it tells what it was called for
	}
	f.trim()
}

// nextExchange is when the follower need not tell of everything any more, zero if it does not.
func (f *following) nextExchange() time.Time {
	if !f.all || f.exchanging || f.told < f.floor {
		return time.Time{}
	}
	return f.until
}

// announced says that a message with so many entries is stored, as the follower saw it.
func (s *shard) announced(now time.Time, subject string, seq uint64, entries int) {
	counted := s.following.hear(seq)
	if counted && s.lanes[subject] == nil {
		return // read, released and forgotten already
	}
	l := s.lane(now, subject)
	switch {
	case l == nil:
	case seq <= s.forgotten && l.announced == 0 && l.read == 0:
		l.count(entries) // it may be gone with the lane that was forgotten
		l.counted = true
		if l.kind != schemas.LaneDue {
			s.want(l)
		}
	default:
		s.know(l, seq)
		s.announce(l, seq, entries, counted)
	}
}

// know notes the sequence of a message that will have to be read.
func (s *shard) know(l *lane, seq uint64) {
	if l.kind != schemas.LaneDue && l.kind != schemas.LaneHeld || seq <= l.read || s.known >= maxKnown {
		return
	}
	if at, already := slices.BinarySearch(l.known, seq); !already {
		l.known = slices.Insert(l.known, at, seq)
		s.known++
	}
}

// appended says that an append of this shard is stored.
func (s *shard) appended(it *item, seq uint64) {
	l, f := it.into, &s.following
	l.coming -= it.paged()
	counted := f.stored(seq)
	if !counted && !f.all && !f.exchanging {
		s.know(l, seq)
	}
	f.answered(it.era)
	s.announce(l, seq, it.paged(), counted)
}

// unappended says that an append of this shard failed. Unless it is certain that nothing was
// stored, it may be found in the lane some day.
func (s *shard) unappended(now time.Time, it *item, err error) {
	l, f := it.into, &s.following
	l.coming -= it.paged()
	if !errors.Is(err, schemas.ErrNotSent) && !errors.Is(err, schemas.ErrTooLarge) && !errors.Is(err, schemas.ErrStoreFull) && !errors.Is(err, schemas.ErrNoStream) {
		f.unsure(now)
		l.counted = true
	}
	f.answered(it.era)
}

func (s *shard) announce(l *lane, seq uint64, entries int, counted bool) {
	l.announce(seq, entries, counted)
	switch {
	case l.kind == schemas.LaneHeld && l.key != "":
		s.touch(l)
	case l.kind == schemas.LaneDue && l.index < 0 && !l.wanted:
		s.want(l) // its time has come already
	case l.kind != schemas.LaneDue:
		s.want(l)
	}
}
