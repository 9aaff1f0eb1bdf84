package deadletter

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

const (
	maxTracked   = 500_000 // letters whose outcome is remembered, about 50 bytes each
	maxEarly     = 10_000  // outcomes kept that came before that of their replay
	maxFailures  = 50
	maxJobCauses = 50
	maxTell      = 200 // characters of an error that is kept

	// longestFollow bounds how long a letter is followed that keeps failing and being
	// retried or held.
	longestFollow = 10 * time.Minute
)

// Tracker follows the letters that a job replayed through their outcomes. What it knows is
// a fold of the outcomes since the job began, so that it is the same after a crash.
//
//	replayed ──▶ pending ──recovered──▶ recovered
//	               │ ▲ └──dead, rejected, fallback, discarded──▶ failed
//	    in time    │ │ retried, held
//	    nothing    ▼ │
//	             presumed (success is not reported) or open
type Tracker struct {
	job    string
	wait   func(policy string) (time.Duration, bool)
	known  map[trackKey]track
	early  [2]map[trackKey]schemas.Outcome // the newer and the older half
	counts schemas.Followed
	seen   int64

	failures []schemas.JobFailure
	causes   map[string]*schemas.CauseCount
}

// trackKey hashes subject, id and number of the replay.
type trackKey [16]byte

type track struct {
	state    trackState
	presumes bool
	wait     time.Duration
	deadline int64 // unix nanoseconds
	giveUp   int64
}

type trackState uint8

const (
	trackPending trackState = iota
	trackRecovered
	trackPresumed
	trackFailed
	trackOpen
)

// NewTracker follows a job. wait says for a policy how long an outcome is awaited, and
// whether none then means success.
func NewTracker(job string, wait func(policy string) (time.Duration, bool)) *Tracker {
	return &Tracker{
		job: job, wait: wait, known: map[trackKey]track{}, causes: map[string]*schemas.CauseCount{},
		early: [2]map[trackKey]schemas.Outcome{{}, {}},
	}
}

func trackKeyOf(o *schemas.Outcome) (k trackKey) {
	h := fnv.New128a()
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(o.Subject)))
	h.Write(size[:]) // a hash never fails
	h.Write([]byte(o.Subject))
	h.Write([]byte(o.ID))
	h.Write([]byte{0})
	h.Write([]byte(strconv.Itoa(o.Replay)))
	h.Sum(k[:0])
	return k
}

// Outcome takes an outcome that was stored at a time.
func (t *Tracker) Outcome(o *schemas.Outcome, at time.Time) {
	if o.Replay == 0 {
		return
	}
	k := trackKeyOf(o)
	if o.Kind == schemas.KindReplayed {
		if o.Job == t.job {
			t.replayed(k, o, at)
		}
		return
	}
	entry, ok := t.known[k]
	if !ok {
		t.keepEarly(k, o)
		return
	}
	t.happened(k, entry, o, at)
}

func (t *Tracker) replayed(k trackKey, o *schemas.Outcome, at time.Time) {
	if _, ok := t.known[k]; ok {
		return // told again after a crash
	}
	t.seen++
	if len(t.known) >= maxTracked && int64(len(t.known))-t.counts.Pending >= maxTracked/10 {
		t.forget()
	}
	if len(t.known) >= maxTracked {
		t.counts.Open++ // what becomes of it is not followed
		return
	}
	wait, presumes := t.wait(o.Policy)
	entry := track{presumes: presumes, wait: wait, deadline: at.Add(wait).UnixNano(), giveUp: at.Add(max(wait, longestFollow)).UnixNano()}
	t.counts.Pending++
	t.known[k] = entry
	for _, half := range t.early {
		if first, ok := half[k]; ok {
			delete(half, k)
			t.happened(k, entry, &first, at)
		}
	}
}

// forget makes room: what is settled can only be told again.
func (t *Tracker) forget() {
	for k, entry := range t.known {
		if entry.state != trackPending {
			delete(t.known, k)
		}
	}
}

// keepEarly remembers the end of a letter whose replay was not told yet: whoever handles it
// may be faster.
func (t *Tracker) keepEarly(k trackKey, o *schemas.Outcome) {
	if !schemas.Terminal(o.Kind) {
		return
	}
	if len(t.early[0]) >= maxEarly/2 {
		t.early[0], t.early[1] = map[trackKey]schemas.Outcome{}, t.early[0]
	}
	t.early[0][k] = *o
}

func (t *Tracker) happened(k trackKey, entry track, o *schemas.Outcome, at time.Time) {
	if entry.state == trackFailed || entry.state == trackRecovered {
		return
	}
	switch o.Kind {
	case schemas.KindRecovered:
		t.move(k, entry, trackRecovered)
	case schemas.KindDead, schemas.KindRejected, schemas.KindFallback, schemas.KindDiscarded:
		t.move(k, entry, trackFailed)
		t.failed(o, at)
	case schemas.KindScheduled, schemas.KindRedelivered, schemas.KindHeld:
		if due, err := time.Parse(time.RFC3339Nano, o.DueAt); err == nil && due.After(at) {
			at = due
		}
		entry.deadline = max(entry.deadline, at.Add(entry.wait).UnixNano())
		t.move(k, entry, trackPending)
	}
}

func (t *Tracker) move(k trackKey, entry track, to trackState) {
	*t.counter(entry.state)--
	*t.counter(to)++
	entry.state = to
	t.known[k] = entry
}

func (t *Tracker) counter(s trackState) *int64 {
	return [...]*int64{&t.counts.Pending, &t.counts.Recovered, &t.counts.Presumed, &t.counts.Failed, &t.counts.Open}[s]
}

func (t *Tracker) failed(o *schemas.Outcome, at time.Time) {
	text := firstRunes(o.Error, maxTell)
	if len(t.failures) == maxFailures {
		t.failures = slices.Delete(t.failures, 0, 1)
	}
	t.failures = append(t.failures, schemas.JobFailure{
		ID: o.ID, Subject: o.Subject, Kind: o.Kind, Reason: o.Reason, Cause: o.Cause, Error: text, Sequence: o.DeadLetterSequence, At: absolute(at),
	})
	cause := o.Cause
	if cause == "" {
		cause = Cause(o.Reason, o.Error)
	}
	if c := t.causes[cause]; c != nil {
		c.Count++
	} else if len(t.causes) < maxJobCauses {
		t.causes[cause] = &schemas.CauseCount{Cause: cause, Error: text, Count: 1}
	}
}

// Tick gives up what was awaited for long enough.
func (t *Tracker) Tick(now time.Time) {
	if t.counts.Pending == 0 {
		return
	}
	n := now.UnixNano()
	for k, entry := range t.known {
		switch {
		case entry.state != trackPending:
		case n >= entry.giveUp && entry.deadline > entry.giveUp:
			t.move(k, entry, trackOpen)
		case n >= entry.deadline && entry.presumes:
			t.move(k, entry, trackPresumed)
		case n >= entry.deadline:
			t.move(k, entry, trackOpen)
		}
	}
}

// Followed is what became of the letters so far, and how many replays were seen.
func (t *Tracker) Followed() (schemas.Followed, int64) { return t.counts, t.seen }

// Failures lists the newest letters that failed again, and the most frequent causes.
func (t *Tracker) Failures() ([]schemas.JobFailure, []schemas.CauseCount) {
	causes := make([]schemas.CauseCount, 0, len(t.causes))
	for _, c := range t.causes {
		causes = append(causes, *c)
	}
	slices.SortFunc(causes, func(a, b schemas.CauseCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Cause, b.Cause))
	})
	return slices.Clone(t.failures), causes
}
