package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

const (
	followEvery = 250 * time.Millisecond
	tellEvery   = 10 * time.Second // how often a job is told of where no bar can be drawn
	daemonAway  = time.Minute      // how long a daemon may be away while its job is followed
)

// errLeft: the operator does not want to look on any more.
var errLeft = errors.New("no longer followed")

// untilLeft is ctx until a signal comes, with errLeft as the cause, or the connection ends
// for good.
func (a *App) untilLeft(ctx context.Context, c *client) (_ context.Context, stop func()) {
	signals, stopSignals := a.Signals()
	ctx, leave := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-signals:
			leave(errLeft)
		case err := <-c.closed:
			leave(err)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		leave(nil)
		stopSignals()
	}
}

// followJob shows how far a job is until it rests. The job is the daemon's: it goes on when
// nobody follows it any more.
func (a *App) followJob(ctx context.Context, c *client, id string, total int64, asJSON bool) error {
	ctx, stop := a.untilLeft(ctx, c)
	defer stop()
	bar := a.newJobBar(total)
	defer bar.stop()
	raw, j, err := c.watch(ctx, id, bar.tell)
	bar.stop()
	switch {
	case err == nil:
		return a.verdict(raw, j, asJSON)
	case errors.Is(err, errLeft):
		fmt.Fprintf(a.Stderr, "the job goes on without being followed\n  follow it: recoveryd replay show %s --follow\n  end it:    recoveryd replay cancel %[1]s\n", id)
		return quiet(exitPartial)
	}
	return err
}

// watch tells how a job goes until it rests. A daemon that is away for a short time goes on
// with it when it is back.
func (c *client) watch(ctx context.Context, id string, tell func(*schemas.JobStatus)) (json.RawMessage, *schemas.JobStatus, error) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for heard := time.Now(); ; {
		var j schemas.JobStatus
		raw, err := c.ask(ctx, "replay", "show", schemas.JobNameRequest{ID: id}, &j)
		switch {
		case ctx.Err() != nil:
			return nil, nil, context.Cause(ctx)
		case err == nil:
			heard = time.Now()
			if tell(&j); resting(&j) {
				return raw, &j, nil
			}
		case codeOf(err) != exitConnect && !errors.Is(err, context.DeadlineExceeded), time.Since(heard) > daemonAway:
			return nil, nil, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

// resting says whether nothing more happens by itself.
func resting(j *schemas.JobStatus) bool {
	switch j.State {
	case deadletter.JobDone, deadletter.JobCancelled:
		return true
	case deadletter.JobPaused, deadletter.JobStopped:
		return j.Wanted != deadletter.WantRun && j.Wanted != deadletter.WantCancel
	}
	return false
}

// verdict prints a job that rests; the exit code says whether all letters came to a good
// end.
func (a *App) verdict(raw json.RawMessage, j *schemas.JobStatus, asJSON bool) error {
	var err error
	if asJSON {
		err = a.printReply(raw)
	} else {
		err = a.showJob(j)
	}
	f := j.Followed
	if err == nil && (j.State != deadletter.JobDone || len(j.Skipped) > 0 || f.Failed+f.Open+f.Pending > 0) {
		return quiet(exitPartial)
	}
	return err
}

// jobBar shows one job: a bar for a person at a terminal, else a line now and then.
type jobBar struct {
	w        io.Writer
	progress progress.Writer // nil when nobody looks
	ended    chan struct{}   // closed when nothing is drawn any more
	tracker  *progress.Tracker
	total    int64
	begun    int64 // what was done when it was first seen
	told     time.Time
	state    string
	stopped  bool
}

func (a *App) newJobBar(total int64) *jobBar {
	b := &jobBar{w: a.Stderr, total: total}
	if !terminal(a.Stderr) || a.getenv("TERM") == "dumb" {
		return b
	}
	const beside = 52 // columns that bar, numbers, rate and time left take
	b.progress, b.ended = a.newProgress(max(20, min(70, a.width(a.Stderr)-beside)), 10), make(chan struct{})
	s := b.progress.Style()
	s.Visibility.ETA, s.Visibility.Speed = true, true
	s.Options.ETAString, s.Options.Separator, s.Options.TimeInProgressPrecision = "left", " ", time.Second
	b.progress.SetNumTrackersExpected(1)
	go func() { defer close(b.ended); b.progress.Render() }()
	return b
}

func (b *jobBar) tell(j *schemas.JobStatus) {
	passed := handled(j)
	if b.state == "" {
		b.begun, b.total = passed, max(b.total, j.Matched)
		if most := int64(j.Request.MaxLetters); most > 0 {
			b.total = min(b.total, most)
		}
	}
	if b.progress == nil {
		if now := time.Now(); j.State != b.state || now.Sub(b.told) >= tellEvery {
			fmt.Fprintln(b.w, jobLine(j))
			b.told = now
		}
		b.state = j.State
		return
	}
	b.state = j.State
	if b.tracker == nil {
		b.tracker = &progress.Tracker{Total: max(0, b.total-b.begun), AutoStopDisabled: true, Units: progress.Units{Formatter: exactly}}
		b.progress.AppendTracker(b.tracker)
	}
	b.tracker.UpdateMessage(jobMessage(j, "ok", "failed"))
	b.tracker.SetValue(passed - b.begun)
	if resting(j) {
		if j.State == deadletter.JobDone {
			b.tracker.MarkAsDone()
		} else {
			b.tracker.MarkAsErrored()
		}
	}
}

func exactly(n int64) string { return fmt.Sprint(n) }

// stop draws the last state.
func (b *jobBar) stop() {
	if b.progress == nil || b.stopped {
		return
	}
	b.stopped = true
	time.Sleep(150 * time.Millisecond) // bars are only drawn now and then
	b.progress.Stop()
	<-b.ended
}

// handled is how many letters a job is through with.
func handled(j *schemas.JobStatus) int64 {
	n := j.Done
	for _, s := range j.Skipped {
		n += s.Count
	}
	return n
}

// jobMessage is what became of the letters. Beside a bar there is room for short words only.
func jobMessage(j *schemas.JobStatus, recovered, failed string) string {
	if j.Kind != deadletter.JobReplay {
		return j.Kind + " " + j.State
	}
	f := j.Followed
	text := fmt.Sprintf("%d %s", f.Recovered+f.Presumed, recovered)
	if f.Failed > 0 {
		text += fmt.Sprintf(", %d %s", f.Failed, failed)
	}
	if f.Pending > 0 {
		text += fmt.Sprintf(", %d awaited", f.Pending)
	}
	return text
}

// jobLine tells a job in one line.
func jobLine(j *schemas.JobStatus) string {
	text := fmt.Sprintf("job %s: %s, %s", j.ID, j.State, progressOf(j))
	if j.Kind == deadletter.JobReplay {
		text += ", " + jobMessage(j, "recovered", "failed again")
	}
	for _, why := range [...]string{named("waits for", j.Waiting), j.Stopped, j.Fault} {
		if why != "" {
			text += "; " + printable(why)
		}
	}
	return text
}
