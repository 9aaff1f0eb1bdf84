package strategies

import "slices"

// tally counts outcomes for a breaker in rate mode.
type tally interface {
	add(m Mark, failed bool) counted
	totals() (total, failed int)
}

// permille returns the failures in 1,000 outcomes, rounded down; it is unknown below volume outcomes.
func permille(t tally, volume int) (rate int, known bool) {
	total, failed := t.totals()
	if total == 0 || total < volume {
		return 0, false
	}
	return failed * 1_000 / total, true
}

func (c *BreakerConfig) newTally() tally {
	if c.lastCalls > 0 {
		return newCallWindow(c.lastCalls)
	}
	return newTimeWindow(int64(c.Window))
}

func (c *BreakerConfig) rateTripped(t tally) bool {
	rate, known := permille(t, c.MinVolume)
	return known && rate >= c.RatePermille
}

const (
	windowParts = 10 // a time window moves on by a tenth
	mostRecent  = 64 // outcomes of which a key knows a duplicate
)

// timeWindow counts the outcomes of the latest ten parts of a window. An outcome belongs to the part in which it
// occurred, whenever it arrives, so the totals are the same for every order of the same records.
type timeWindow struct {
	part   int64 // length of a part in nanoseconds
	newest int64 // number of the latest part
	total  [windowParts]uint32
	failed [windowParts]uint32
	recent recent
}

func newTimeWindow(window int64) *timeWindow {
	return &timeWindow{part: max(1, window/windowParts)}
}

func (w *timeWindow) add(m Mark, failed bool) counted {
	if w.recent.seen(m.Hash) {
		return countedTwice
	}
	part := m.At / w.part
	w.advance(part)
	if part <= w.newest-windowParts {
		return countedNot
	}
	w.recent.remember(m.Hash)
	slot := part % windowParts
	w.total[slot]++
	if failed {
		w.failed[slot]++
	}
	return countedNow
}

// advance empties the parts between the newest so far and part.
func (w *timeWindow) advance(part int64) {
	if part <= w.newest {
		return
	}
	for p := max(w.newest+1, part-windowParts+1); p <= part; p++ {
		w.total[p%windowParts], w.failed[p%windowParts] = 0, 0
	}
	w.newest = part
}

func (w *timeWindow) totals() (total, failed int) {
	for i := range w.total {
		total += int(w.total[i])
		failed += int(w.failed[i])
	}
	return total, failed
}

// callWindow counts the latest outcomes, however far apart.
type callWindow struct {
	failed []bool
	next   int
	full   bool
}

func newCallWindow(size int) *callWindow { return &callWindow{failed: make([]bool, size)} }

func (w *callWindow) add(_ Mark, failed bool) counted {
	w.failed[w.next] = failed
	w.next = (w.next + 1) % len(w.failed)
	w.full = w.full || w.next == 0
	return countedNow
}

func (w *callWindow) totals() (total, failed int) {
	total = w.next
	if w.full {
		total = len(w.failed)
	}
	for _, f := range w.failed[:total] {
		if f {
			failed++
		}
	}
	return total, failed
}

// recent remembers the hashes of the latest outcomes.
type recent struct {
	hashes []Hash
	next   int
}

func (r *recent) seen(h Hash) bool { return slices.Contains(r.hashes, h) }

func (r *recent) remember(h Hash) {
	if len(r.hashes) < mostRecent {
		r.hashes = append(r.hashes, h)
		return
	}
	r.hashes[r.next] = h
	r.next = (r.next + 1) % mostRecent
}
