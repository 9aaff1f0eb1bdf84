package handlers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

const (
	jobBatch = 1000                   // letters between two checkpoints
	jobBeat  = time.Second            // between two checkpoints of a paced job, roughly
	jobLook  = 100 * time.Millisecond // between two looks at what a job waits for
)

// run is a job while it is run.
type run struct {
	*runner
	id       string
	job      *deadletter.Job
	revision uint64
	edit     *deadletter.Edit
	filter   *deadletter.Filter
	pace     *deadletter.Pace
	removing chan error // answers when the letters of the last checkpoint are removed; nil = they are
	saved    time.Time

	mu      sync.Mutex
	wanted  string
	changed chan struct{} // holds one signal that wanted changed
	tracker *deadletter.Tracker
	told    schemas.Followed // to the observer
}

func newRun(r *runner, id string) *run {
	return &run{runner: r, id: id, changed: make(chan struct{}, 1)}
}

// tell notes what operators want.
func (x *run) tell(wanted string) {
	x.mu.Lock()
	x.wanted = wanted
	x.mu.Unlock()
	select {
	case x.changed <- struct{}{}:
	default:
	}
}

func (x *run) want() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.wanted
}

var errLost = errors.New("another replica runs this job")

// once runs the job until it rests; an error but errLost means that it should be tried again.
func (x *run) once(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	select {
	case x.places <- struct{}{}:
		defer func() { <-x.places }()
	case <-ctx.Done():
		return nil
	}
	defer x.claims.drop(x.id)
	return errors.Join(x.work(ctx), x.removed())
}

// work is the life of a job on this replica.
func (x *run) work(ctx context.Context) error {
	if err := x.open(ctx); err != nil {
		return err
	}
	if x.job.Kind == deadletter.JobReplay {
		stop, err := x.follow(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	s := x.e.scan(x.filter, x.job.Position)
	for over := false; ctx.Err() == nil; {
		x.look()
		if state := restOf(x.want()); state != "" {
			return x.rest(ctx, state, "")
		}
		f, seen := x.followed()
		a := x.job.Advance(f, seen)
		switch {
		case a.Stop != "":
			return x.rest(ctx, deadletter.JobStopped, a.Stop)
		case a.Over || over:
			if f.Pending == 0 && seen >= x.job.Done || x.job.Kind != deadletter.JobReplay {
				return x.rest(ctx, deadletter.JobDone, "")
			}
			x.job.State = deadletter.JobFollowing
			if err := x.wait(ctx, fmt.Sprintf("the outcomes of %d of %d", f.Pending+max(0, x.job.Done-seen), x.job.Done)); err != nil {
				return err
			}
		case a.Wait != "":
			if err := x.wait(ctx, a.Wait); err != nil {
				return err
			}
		default:
			var err error
			if over, err = x.batch(ctx, s, a.N); err != nil {
				return err
			}
		}
	}
	return nil
}

// restOf is the state in which a job rests when this is wanted of it, "" if none.
func restOf(wanted string) string {
	switch wanted {
	case deadletter.WantPause:
		return deadletter.JobPaused
	case deadletter.WantCancel:
		return deadletter.JobCancelled
	}
	return ""
}

// open reads the job, takes it over and removes the letters that were done already.
func (x *run) open(ctx context.Context) error {
	j, revision, err := x.e.readJob(ctx, x.id)
	if err != nil {
		return err
	}
	x.tell(j.Wanted)
	if restOf(j.Wanted) == "" {
		j.Begin()
	}
	j.Runner, j.Fault = x.session, ""
	if revision, err = x.e.writeJob(ctx, j, revision); err != nil {
		return err // also if its former runner still wrote
	}
	x.job, x.revision, x.saved, x.told = j, revision, x.e.Now(), j.Followed
	x.e.observer.Observe(Event{Kind: EventJob, At: j.UpdatedAt, ID: j.ID, Source: j.Kind, Result: j.State, Count: j.Done})
	if x.filter, err = deadletter.CompileFilter(j.Request.Filter, j.CreatedAt); err != nil {
		return err
	}
	if j.Kind == deadletter.JobEdit {
		if x.edit, err = deadletter.NewEdit(j.Request); err != nil {
			return err
		}
	}
	x.pace = deadletter.NewPace(0)
	if r := j.Request.Rate; r != nil {
		x.pace = deadletter.NewPace(*r)
	}
	x.mu.Lock()
	x.tracker = deadletter.NewTracker(x.id, x.e.outcomeWait(time.Duration(j.Request.FollowMS)*time.Millisecond))
	x.mu.Unlock()
	for _, s := range j.Removing {
		x.claims.take(s, x.id)
	}
	if err := x.e.Dead.DeleteDead(ctx, j.Removing...); err != nil {
		return err
	}
	x.claims.release(x.e.Now(), true, j.Removing...)
	j.Removing = nil
	return x.save(ctx)
}

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

// wait pauses shortly, and shows for what.
func (x *run) wait(ctx context.Context, what string) error {
	x.job.Waiting = what
	if err := x.beat(ctx); err != nil {
		return err
	}
	x.job.Waiting = ""
	timer := time.NewTimer(jobLook)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-x.changed:
	case <-ctx.Done():
	}
	return nil
}

// beat saves the job if that was not done for a while.
func (x *run) beat(ctx context.Context) error {
	if x.e.Now().Sub(x.saved) < jobBeat {
		return nil
	}
	return x.checkpoint(ctx, nil)
}

// rest ends the run with the job in a state.
func (x *run) rest(ctx context.Context, state, why string) error {
	if err := x.removed(); err != nil {
		return err
	}
	x.look()
	x.job.Removing = nil
	x.job.End(state, why, x.e.clock.Now())
	if err := x.save(ctx); err != nil {
		return err
	}
	x.e.observer.Observe(Event{Kind: EventJob, At: x.job.UpdatedAt, ID: x.id, Source: x.job.Kind, Result: state, Count: x.job.Done})
	return nil
}

// checkpoint notes everything done so far; the letters that it names are removed after it.
func (x *run) checkpoint(ctx context.Context, done []uint64) error {
	if err := x.removed(); err != nil {
		return err
	}
	x.job.Removing = done
	if err := x.save(ctx); err != nil {
		return err
	}
	if len(done) == 0 {
		return nil
	}
	answer := make(chan error, 1)
	x.removing = answer
	go func() {
		err := x.e.Dead.DeleteDead(context.WithoutCancel(ctx), done...)
		x.claims.release(x.e.Now(), err == nil, done...)
		answer <- err
	}()
	return nil
}

// removed waits until the letters of the last checkpoint are removed.
func (x *run) removed() error {
	if x.removing == nil {
		return nil
	}
	err := <-x.removing
	x.removing = nil
	return err
}

// save stores the job. A conflict is an operator's wish, or another replica that runs it.
func (x *run) save(ctx context.Context) error {
	x.job.UpdatedAt = x.e.clock.Now()
	for {
		next, err := x.e.writeJob(ctx, x.job, x.revision)
		if err == nil {
			x.revision, x.saved = next, x.e.Now()
			return nil
		}
		if !errors.Is(err, schemas.ErrConflict) {
			return err
		}
		found, revision, rereadErr := x.e.readJob(ctx, x.id)
		switch {
		case rereadErr != nil:
			return rereadErr
		case revision == x.revision:
			return err // a stale read
		case found.Runner != x.job.Runner:
			return errLost
		}
		x.job.Obey(found)
		x.tell(found.Wanted)
		x.revision = revision
	}
}
