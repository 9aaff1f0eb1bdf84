package strategies

import "slices"

// Mark is one point of evidence: when, and the hash of what (a delivery, or a message).
type Mark struct {
	At   int64 `json:"at"`
	Hash Hash  `json:"hash"`
}

func (m Mark) before(o Mark) bool { return m.At < o.At || m.At == o.At && m.Hash < o.Hash }

// run is the failures at or after the last success. It keeps the latest deliveries up to the threshold and the
// latest failure of each of the latest messages up to min_distinct. That much decides exactly as the whole history
// would, and being "the latest n of a set" it is the same for every order of the same records.
type run struct {
	success    int64 // latest success
	deliveries []Mark
	messages   []Mark
}

// counted says what a record did to a window.
type counted uint8

const (
	countedNot   counted = iota // too old to matter
	countedTwice                // known already
	countedNow
)

// fail adds a failure. window is how far apart failures may lie; 0 = as far as they like.
func (r *run) fail(m Mark, message Hash, c *BreakerConfig) counted {
	if slices.ContainsFunc(r.deliveries, func(d Mark) bool { return d.Hash == m.Hash }) {
		return countedTwice
	}
	if m.At < r.success {
		return countedNot
	}
	r.messages = keepMessage(r.messages, Mark{m.At, message}, c.MinDistinct)
	r.deliveries = keepLatest(r.deliveries, m, c.FailureThreshold)
	r.forget(r.horizon(c))
	if !slices.Contains(r.deliveries, m) {
		return countedNot
	}
	return countedNow
}

func (r *run) succeed(at int64) {
	if at > r.success {
		r.success = at
		r.forget(at)
	}
}

func (r *run) tripped(c *BreakerConfig) bool {
	return len(r.deliveries) >= c.FailureThreshold && len(r.messages) >= c.MinDistinct
}

// horizon is the earliest time that still counts.
func (r *run) horizon(c *BreakerConfig) int64 {
	if c.Evidence.Reported() || len(r.deliveries) == 0 {
		return r.success
	}
	newest := r.deliveries[len(r.deliveries)-1].At
	return max(r.success, newest-int64(c.Window))
}

func (r *run) forget(before int64) {
	old := func(m Mark) bool { return m.At < before }
	r.deliveries = slices.DeleteFunc(r.deliveries, old)
	r.messages = slices.DeleteFunc(r.messages, old)
}

// keepLatest inserts m into marks, which are in order, and keeps the latest limit of them.
func keepLatest(marks []Mark, m Mark, limit int) []Mark {
	at := len(marks)
	for at > 0 && m.before(marks[at-1]) {
		at--
	}
	if len(marks) < limit {
		return slices.Insert(marks, at, m)
	}
	if surplus := len(marks) - limit; surplus > 0 { // the limit was lowered
		marks, at = slices.Delete(marks, 0, surplus), at-surplus
	}
	if at <= 0 {
		return marks
	}
	copy(marks, marks[1:at])
	marks[at-1] = m
	return marks
}

// keepMessage is keepLatest with one mark for each message, its latest.
func keepMessage(marks []Mark, m Mark, limit int) []Mark {
	i := slices.IndexFunc(marks, func(o Mark) bool { return o.Hash == m.Hash })
	if i >= 0 {
		if !marks[i].before(m) {
			return marks
		}
		marks = slices.Delete(marks, i, i+1)
	}
	return keepLatest(marks, m, limit)
}
