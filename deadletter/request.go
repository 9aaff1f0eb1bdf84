package deadletter

import (
	"errors"
	"fmt"

	"github.com/recoveryd/recoveryd/schemas"
)

// defaultMaxReplays protects against loops: what was replayed so often is left alone.
const defaultMaxReplays = 3

// defaultRampStop is the share, in thousandths, of failures at which a ramp stops.
const defaultRampStop = 100

// CheckRequest names every option of a request that cannot be used for a kind of job, and
// fills in the defaults.
func CheckRequest(kind string, q schemas.JobRequest) (schemas.JobRequest, error) {
	var faults []error
	bad := func(path, format string, args ...any) {
		faults = append(faults, &schemas.FieldError{Path: path, Err: fmt.Errorf(format, args...)})
	}
	if q.Rate != nil && !(*q.Rate >= 0.01 && *q.Rate <= 1e6) {
		bad("rate", "%g letters per second is not between 0.01 and 1,000,000; leave it out for as fast as it goes", *q.Rate)
	}
	if len(q.Reason) > 1000 || len(q.Actor) > 200 {
		bad("reason", "is longer than 1,000 bytes, or actor than 200")
	}
	for _, n := range []struct {
		path  string
		value int64
		most  int64
	}{
		{"canary", int64(q.Canary), 10_000}, {"stop_failures", int64(q.StopFailures), 1e9}, {"stop_permille", int64(q.StopPermille), 1000},
		{"max_replays", int64(q.MaxReplays), 1000}, {"max_letters", int64(q.MaxLetters), 1e9}, {"sample", int64(q.Sample), 20},
		{"follow_ms", q.FollowMS, 3600_000},
	} {
		if n.value < 0 || n.value > n.most {
			bad(n.path, "%d is not between 0 and %d", n.value, n.most)
		}
	}
	if kind != JobReplay {
		for path, given := range map[string]bool{
			"to": q.To != "", "canary": q.Canary != 0, "ramp": q.Ramp, "stop_failures": q.StopFailures != 0,
			"stop_permille": q.StopPermille != 0, "max_replays": q.MaxReplays != 0, "follow_ms": q.FollowMS != 0,
		} {
			if given {
				bad(path, "is an option of replays")
			}
		}
	} else {
		if q.MaxReplays == 0 {
			q.MaxReplays = defaultMaxReplays
		}
		if q.Ramp && q.StopFailures == 0 && q.StopPermille == 0 {
			q.StopPermille = defaultRampStop
		}
	}
	switch edit, err := EditOf(kind, q); {
	case err != nil:
		faults = append(faults, err)
	case kind == JobDiscard && edit != nil:
		bad("patch", "this, body, set and unset are options of edits and replays")
	}
	if kind == JobDiscard && q.Reason == "" {
		bad("reason", "is missing: say why the letters are discarded")
	}
	return q, errors.Join(faults...)
}
