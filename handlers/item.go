package handlers

import (
	"cmp"
	"container/heap"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// stage is how far an item has come. Each stage but the first ends with a PubAck.
type stage uint8

const (
	stageWaiting    stage = iota // for its time, in the heap
	stageAnnouncing              // that it was scheduled is being stored, before it waits
	stageMoving                  // its redelivery, ledger entry, fallback or letter is being stored
	stageTelling                 // its outcomes are being stored
	stageEcho                    // an entry that waits for what becomes of its twin in memory
	stageSettled                 // everything that follows from its source is stored
)

// move is what is being stored of an item.
type move uint8

const (
	moveDeliver move = iota // to its subject or to a fallback
	moveLetter              // to the store of dead letters
	moveLater               // to a slot of the ledger, for its due time
	moveHold                // to the lane of its breaker
	movePark                // to the lane of letters that cannot be stored
	moveOver                // to the shard that is home to its breaker
	moveReport              // to the intake again: a request was answered with a failure
	moveDrop                // nowhere: it is discarded
)

// item is work on its way through a shard. It comes from a report of the intake stream or
// from an entry of a lane, and that source is settled last.
type item struct {
	work   schemas.Work
	policy *Policy // nil if no policy serves it: it can only become a letter
	step   schemas.Step
	due    time.Time
	key    string // of its breaker
	reason string // of a letter
	kind   string // of the outcome of a letter: dead or rejected

	attempt, number int // of the delivery to come
	next            int // index of the fallback to try, with step fallback
	skipped         []int
	truncated       []string
	faults          []string
	heldAt          time.Time
	source          uint64 // sequence of the report
	record          *schemas.Record

	book   *intakeBook // of a report; nil for an entry
	lane   *lane       // of an entry
	echoes []*item     // entries of the same step that were read meanwhile
	seq    uint64      // in its stream
	part   uint16      // of an entry, in its page
	ahead  bool        // of an entry: a command took it before its lane was read

	commanded *command // that made it what it is now

	into          *lane   // that it is being appended to
	era           uint8   // of the append, see following
	page          duePage // with move later
	stage         stage
	move          move
	target        string
	generation    int64
	probe         bool
	firstFailedAt string // as outcomes write it
	ramp          bool   // released while its breaker recovers
	tries         int    // of the publish that is due now
	wake          time.Time
	index         int // in the heap, -1 when not in it
	bytes         int64
	pinned        int              // bytes of the message it was read from that stay as long as it does
	untold        *schemas.Outcome // to be stored before the item goes on
	lateness      time.Duration
	deadSeq       uint64
	onlyTell      bool             // it carries an event and nothing else
	event         *schemas.Message // of an item that only tells; else the request that was sent
	report        *schemas.Message // of a request that failed
}

// leaving says whether the item goes on as an entry of the ledger, so that its settling is
// not the end of its work.
func (it *item) leaving() bool {
	if it.stage != stageMoving && it.stage != stageTelling {
		return false
	}
	switch it.move {
	case moveLater, moveHold, movePark, moveOver:
		return true
	}
	return false
}

// forget drops what is no longer needed, so that nothing large hangs on a settled item.
func (it *item) forget() {
	it.work.Header, it.work.Barred, it.work.Body, it.untold = nil, nil, nil, nil
	it.event, it.report, it.commanded = nil, nil, nil
}

// waiting is a heap of items by the time at which something must be done, then by their
// order in the stream they come from: what is released together stays in order. The times
// are kept beside the items, so that most comparisons need not look at those.
type waiting []waiter

type waiter struct {
	at int64 // wake of the item, unix nanoseconds
	it *item
}

func (w waiting) Len() int { return len(w) }
func (w waiting) Less(i, j int) bool {
	if w[i].at != w[j].at {
		return w[i].at < w[j].at
	}
	a, b := w[i].it, w[j].it
	return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.source, b.source)) < 0
}
func (w waiting) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].it.index, w[j].it.index = i, j
}
func (w *waiting) Push(x any) {
	it := x.(*item)
	it.index = len(*w)
	*w = append(*w, waiter{it.wake.UnixNano(), it})
}
func (w *waiting) Pop() any {
	old := *w
	it := old[len(old)-1].it
	old[len(old)-1] = waiter{}
	*w = old[:len(old)-1]
	it.index = -1
	return it
}

func (w waiting) fix(it *item) {
	w[it.index].at = it.wake.UnixNano()
	heap.Fix(&w, it.index)
}
func (w *waiting) add(it *item)    { heap.Push(w, it) }
func (w *waiting) remove(it *item) { heap.Remove(w, it.index) }
func (w waiting) first() *item {
	if len(w) == 0 {
		return nil
	}
	return w[0].it
}
