package handlers

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
	"time"
)

// lane is what a shard knows of one subject of its ledger: a slot of the calendar, the
// messages that one breaker holds, what other shards handed over, or letters that cannot
// be stored yet. Entries are read in order, settled in any order, and purged as a prefix,
// only up to the last sequence that was read: a later entry may be on its way.
type lane struct {
	subject string
	kind    string // of schemas.Lane*
	second  int64  // of a slot
	policy  string // of a held lane, once an entry told it
	key     string // of a held lane, once an entry told it

	purged    uint64 // first sequence that no purge has removed
	since     uint64 // all that stood there up to here was settled and is gone
	announced uint64 // highest sequence known to be stored
	read      uint64 // everything up to here was read
	unread    int64  // messages stored after that, as far as known
	more      int64  // entries in them besides the first of each, as far as known
	coming    int    // entries that this shard appends, without an answer

	// Known sequences after read, in order. They are read one by one if they are all that is
	// unread: the server finds a message by its subject only by looking at all that stand
	// between.
	known   []uint64
	counted bool // more may be unread than is known: counted when the shard was taken, or an append without an answer

	entries []place // messages that were read and not yet purged, in order
	settled int     // of entries, in any place
	open    int     // entries that were read and not yet settled

	wanted   bool // stands in the shard's list of lanes to be read
	reading  bool
	reserved int64 // bytes that the read under way may bring
	purging  bool
	empties  int       // reads in a row that found nothing although something is announced
	retry    time.Time // nothing is read before
	index    int       // in the calendar, -1 when not in it
}

// place is that of an entry in its lane, or of a page of them. Of one that is settled it
// keeps no more than what purging needs: many may stand behind one that is not.
type place struct {
	seq     uint64
	item    *item // the first; nil = all are settled
	open    int   // how many are not settled
	deleted bool  // by itself
}

// complete says whether everything known to be stored was read.
func (l *lane) complete() bool { return l.read >= l.announced && l.unread <= 0 }

// idle says whether the lane can be forgotten.
func (l *lane) idle() bool {
	return l.complete() && len(l.entries) == 0 && l.coming == 0 && !l.reading && !l.purging
}

// announce takes note of a stored message with so many entries. counted says that it was
// announced before.
func (l *lane) announce(seq uint64, entries int, counted bool) {
	l.announced, l.since = max(l.announced, seq), min(l.since, seq-1)
	if !counted && seq > l.read {
		l.count(entries)
	}
}

// count adds a message that was not read.
func (l *lane) count(entries int) {
	l.unread++
	l.more += int64(entries - 1)
}

// forget drops what is known up to a sequence.
func (l *lane) forget(read uint64) {
	n := 0
	for n < len(l.known) && l.known[n] <= read {
		n++
	}
	if l.known = l.known[n:]; len(l.known) == 0 {
		l.known = nil
	}
}

// lookUp is which messages, at most, are to be looked up by their sequences: none unless they
// are known of all that is unread, and stand on average so far apart that it is worth it.
func (l *lane) lookUp(most int, apart uint64) []uint64 {
	n := len(l.known)
	if n == 0 || l.counted || l.coming > 0 || int64(n) != l.unread || l.known[n-1]-l.known[0] < uint64(n)*apart {
		return nil
	}
	n = min(n, most)
	return l.known[:n:n]
}

// length is how many entries stand in the lane, those on their way into it included.
func (l *lane) length() int {
	return int(min(max(0, l.unread)+max(0, l.more)+int64(l.open+l.coming), math.MaxInt32))
}

// Reads that find nothing although something is announced are repeated: a replica may lag.
// These bound how often, for entries counted at the start and for announced ones.
const (
	emptyCounted   = 3
	emptyAnnounced = 40
)

// load takes what a read found. lost says that entries which were announced are not there
// and never will be: somebody removed them.
func (l *lane) load(found []*item, more bool) (lost int64) {
	messages := int64(0)
	for _, it := range found {
		if n := len(l.entries); n == 0 || l.entries[n-1].seq != it.seq {
			l.entries = append(l.entries, place{seq: it.seq, item: it})
			messages++
		}
		l.entries[len(l.entries)-1].open++
	}
	l.open += len(found)
	if n := len(found); n > 0 {
		l.read = max(l.read, found[n-1].seq)
		l.forget(l.read)
		l.unread = max(0, l.unread-messages)
		l.more = max(0, l.more-int64(n)+messages)
		l.empties = 0
		if l.unread == 0 {
			l.more = 0
			if l.read < l.announced {
				l.unread = 1
			}
		}
		return 0
	}
	l.known = nil // gone, or a replica lags: the subject tells
	if more || l.complete() {
		return 0
	}
	l.empties++
	if l.read < l.announced && l.empties >= emptyAnnounced {
		lost = l.unread
		l.read, l.unread, l.more, l.empties = l.announced, 0, 0, 0
	} else if l.read >= l.announced && l.empties >= emptyCounted {
		l.unread, l.more, l.empties = 0, 0, 0
	}
	return lost
}

// settle marks an entry as done. alone says that it must be deleted by itself, because it
// was taken from the middle of the lane and entries before it stay.
func (l *lane) settle(it *item) (alone bool) {
	at, found := slices.BinarySearchFunc(l.entries, it.seq, func(p place, seq uint64) int { return cmp.Compare(p.seq, seq) })
	if !found || l.entries[at].item == nil || it.stage == stageSettled {
		return false
	}
	it.stage = stageSettled
	l.open--
	if l.entries[at].open--; l.entries[at].open > 0 {
		return false
	}
	l.settled++
	alone = it.probe && at > 0
	l.entries[at] = place{seq: it.seq, deleted: alone}
	return alone
}

// prefix is the number of entries at the head that are settled.
func (l *lane) prefix() int {
	n := 0
	for n < len(l.entries) && l.entries[n].item == nil {
		n++
	}
	return n
}

// cut removes the settled prefix of n entries. before is the first sequence that must stay,
// least and most how many entries a purge up to it should remove: those deleted by
// themselves may be gone already, and those up to inherited by a request of the former
// owner that arrived late.
func (l *lane) cut(n int, inherited uint64) (before uint64, least, most int) {
	before, most = l.entries[n-1].seq+1, n
	for _, p := range l.entries[:n] {
		if !p.deleted && p.seq > inherited {
			least++
		}
	}
	l.entries = l.entries[n:]
	if len(l.entries) == 0 {
		l.entries = nil
	}
	l.settled -= n
	return before, least, most
}

// calendar is a heap of slots by their second.
type calendar []*lane

func (c calendar) Len() int           { return len(c) }
func (c calendar) Less(i, j int) bool { return c[i].second < c[j].second }
func (c calendar) Swap(i, j int) {
	c[i], c[j] = c[j], c[i]
	c[i].index, c[j].index = i, j
}
func (c *calendar) Push(x any) {
	l := x.(*lane)
	l.index = len(*c)
	*c = append(*c, l)
}
func (c *calendar) Pop() any {
	old := *c
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*c = old[:len(old)-1]
	l.index = -1
	return l
}

func (c *calendar) add(l *lane) { heap.Push(c, l) }
func (c *calendar) remove(l *lane) {
	if l.index >= 0 {
		heap.Remove(c, l.index)
	}
}

// slotSecond is the slot of a due time: one second wide for waits under an hour, 16 s
// under six hours, else 256 s, so that far waits do not make a subject each.
func slotSecond(due, now int64) int64 {
	const hour = int64(3600e9)
	width := int64(1)
	switch wait := due - now; {
	case wait >= 6*hour:
		width = 256
	case wait >= hour:
		width = 16
	}
	second := due / 1e9
	return second - second%width
}

// moving counts the entries that were read and are on their way.
func (l *lane) moving() int {
	n := 0
	for _, p := range l.entries {
		if p.item != nil && p.item.stage != stageWaiting {
			n++
		}
	}
	return n
}
