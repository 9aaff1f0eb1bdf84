package deadletter

import (
	"strconv"
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// told makes outcomes and lets the tracker hear them in any order.
type told struct {
	*Tracker
	at time.Time
}

func tracking(presumes bool) *told {
	return &told{NewTracker("job", func(string) (time.Duration, bool) { return 30 * time.Second, presumes }), midday}
}

func (t *told) hear(kind string, change ...func(*schemas.Outcome)) {
	o := schemas.Outcome{Kind: kind, ID: "id", Subject: "orders", Replay: 1, Policy: "p", Job: "job", Cause: "0000000a", Error: "broken"}
	if kind != schemas.KindReplayed {
		o.Job = ""
	}
	for _, f := range change {
		f(&o)
	}
	t.Outcome(&o, t.at)
}

func (t *told) after(d time.Duration) {
	t.at = t.at.Add(d)
	t.Tick(t.at)
}

func (t *told) want(tb testing.TB, what string, want schemas.Followed, seen int64) {
	tb.Helper()
	if got, n := t.Followed(); got != want || n != seen {
		tb.Errorf("%s: %+v of %d, want %+v of %d", what, got, n, want, seen)
	}
}

func TestTrackerFollowsOutcomes(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{schemas.KindDead, schemas.KindRejected, schemas.KindFallback, schemas.KindDiscarded} {
		tr := tracking(false)
		tr.hear(schemas.KindReplayed)
		tr.want(t, "replayed", schemas.Followed{Pending: 1}, 1)
		tr.hear(kind)
		tr.hear(kind)
		tr.hear(schemas.KindRecovered)
		tr.want(t, kind, schemas.Followed{Failed: 1}, 1)
		failures, causes := tr.Failures()
		if len(failures) != 1 || failures[0].Kind != kind || len(causes) != 1 || causes[0].Count != 1 {
			t.Errorf("%s: %+v %+v", kind, failures, causes)
		}
	}
	tr := tracking(false)
	tr.hear(schemas.KindReplayed)
	tr.hear(schemas.KindReplayed) // told again after a crash
	tr.hear(schemas.KindReplayed, func(o *schemas.Outcome) { o.Job, o.ID = "other", "x" })
	tr.hear(schemas.KindDead, func(o *schemas.Outcome) { o.Replay = 0 })
	tr.hear(schemas.KindDead, func(o *schemas.Outcome) { o.Replay = 2 })
	tr.hear(schemas.KindDead, func(o *schemas.Outcome) { o.Subject = "payments" })
	tr.want(t, "what is others'", schemas.Followed{Pending: 1}, 1)
	tr.hear(schemas.KindRecovered)
	tr.want(t, "recovered", schemas.Followed{Recovered: 1}, 1)
}

// A handler may be faster than the outcome of the replay.
func TestTrackerHearsTheEndFirst(t *testing.T) {
	t.Parallel()
	tr := tracking(false)
	tr.hear(schemas.KindDead)
	tr.want(t, "dead first", schemas.Followed{}, 0)
	tr.hear(schemas.KindReplayed)
	tr.want(t, "then replayed", schemas.Followed{Failed: 1}, 1)
}

func TestTrackerGivesUp(t *testing.T) {
	t.Parallel()
	silent, reported := tracking(true), tracking(false)
	for _, tr := range []*told{silent, reported} {
		tr.hear(schemas.KindReplayed)
		tr.after(29 * time.Second)
		tr.want(t, "in time", schemas.Followed{Pending: 1}, 1)
		tr.after(time.Second)
	}
	silent.want(t, "silence", schemas.Followed{Presumed: 1}, 1)
	reported.want(t, "no report", schemas.Followed{Open: 1}, 1)
	for _, tr := range []*told{silent, reported} {
		tr.hear(schemas.KindDead)
		tr.want(t, "failed late", schemas.Followed{Failed: 1}, 1)
	}
}

// What is retried is awaited again, but not for ever.
func TestTrackerAwaitsRetries(t *testing.T) {
	t.Parallel()
	tr := tracking(true)
	tr.hear(schemas.KindReplayed)
	tr.after(25 * time.Second)
	tr.hear(schemas.KindRedelivered)
	tr.after(29 * time.Second)
	tr.want(t, "retried", schemas.Followed{Pending: 1}, 1)
	tr.after(2 * time.Second)
	tr.want(t, "silent after the retry", schemas.Followed{Presumed: 1}, 1)
	tr.hear(schemas.KindHeld, func(o *schemas.Outcome) { o.DueAt = tr.at.Add(24 * time.Hour).Format(time.RFC3339Nano) })
	tr.want(t, "held", schemas.Followed{Pending: 1}, 1)
	tr.after(longestFollow)
	tr.want(t, "held for long", schemas.Followed{Open: 1}, 1)
}

func TestTrackerIsBounded(t *testing.T) {
	t.Parallel()
	tr := tracking(true)
	for i := range maxTracked + 1000 {
		tr.hear(schemas.KindReplayed, func(o *schemas.Outcome) { o.ID = strconv.Itoa(i) })
	}
	for i := range 3 * maxEarly {
		tr.hear(schemas.KindDead, func(o *schemas.Outcome) { o.ID = "early" + strconv.Itoa(i) })
	}
	if n := len(tr.known); n > maxTracked {
		t.Errorf("%d letters are remembered", n)
	}
	if n := len(tr.early[0]) + len(tr.early[1]); n > maxEarly {
		t.Errorf("%d early outcomes are remembered", n)
	}
	tr.want(t, "more than are followed", schemas.Followed{Pending: maxTracked, Open: 1000}, maxTracked+1000)
	tr.after(time.Minute)
	tr.hear(schemas.KindReplayed, func(o *schemas.Outcome) { o.ID = "one more" })
	if f, _ := tr.Followed(); f.Pending != 1 {
		t.Errorf("settled letters leave no room: %+v", f)
	}
	for range 3 * maxFailures {
		tr.hear(schemas.KindReplayed, func(o *schemas.Outcome) { o.Replay++ })
		tr.hear(schemas.KindDead, func(o *schemas.Outcome) { o.Replay++ })
	}
	if failures, _ := tr.Failures(); len(failures) > maxFailures {
		t.Errorf("%d failures are kept", len(failures))
	}
}
