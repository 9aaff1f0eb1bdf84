package handlers

import (
	"bytes"
	"context"
	"time"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

var replayMark = []byte(`"replay":`)

// follow hands the outcomes since the job began to its tracker.
func (x *run) follow(ctx context.Context) (stop func(), err error) {
	const before = time.Minute // the server's clock and this one differ
	return x.e.Dead.FollowOutcomes(ctx, x.e.Subjects.Prefix+".outcomes.>", x.job.CreatedAt.Add(-before), func(m schemas.Stored) {
		if !bytes.Contains(m.Body, replayMark) {
			return // of work that was never replayed
		}
		o, _, err := schemas.ParseOutcome(m.Body)
		if err != nil {
			return // nobody's of ours
		}
		x.mu.Lock()
		x.tracker.Outcome(&o, m.Time)
		x.mu.Unlock()
	})
}

func (x *run) followed() (schemas.Followed, int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.tracker.Followed()
}

// look takes over what the tracker knows.
func (x *run) look() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tracker.Tick(x.e.clock.Now())
	x.job.Followed, _ = x.tracker.Followed()
	x.job.Failures, x.job.Causes = x.tracker.Failures()
	f := x.job.Followed
	for _, part := range []struct {
		result string
		now    int64
		told   *int64
	}{
		{replayRecovered, f.Recovered, &x.told.Recovered}, {replayPresumed, f.Presumed, &x.told.Presumed},
		{replayFailed, f.Failed, &x.told.Failed}, {replayOpen, f.Open, &x.told.Open},
	} {
		x.count(part.result, part.now-*part.told)
		*part.told = max(*part.told, part.now)
	}
}

// count tells the observer what became of letters.
func (x *run) count(result string, n int64) {
	if n > 0 && x.job.Kind == deadletter.JobReplay {
		x.e.observer.Observe(Event{Kind: EventReplay, At: x.e.clock.Now(), ID: x.id, Result: result, Count: n})
	}
}
