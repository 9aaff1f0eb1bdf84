package handlers

import (
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
	ahead    chan page  // the next letters, being read; nil = none are
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

var (
	errLost = errors.New("another replica runs this job")
	errRest = errors.New("the job rests")
)

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
	err := errors.Join(x.work(ctx), x.removed())
	if x.ahead != nil {
		<-x.ahead
		x.ahead = nil
	}
	return err
}

// work is the life of a job on this replica.
func (x *run) work(ctx context.Context) error {
	if err := x.open(ctx); errors.Is(err, errRest) {
		return nil
	} else if err != nil {
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

// open reads the job, takes it over and removes the letters that were done already. What
// the runner heard may be old: a job that rests by now is left alone.
func (x *run) open(ctx context.Context) error {
	j, revision, err := x.e.readJob(ctx, x.id)
	if err != nil {
		return err
	}
	if !j.Runnable() {
		return errRest
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
	if x.edit, err = deadletter.EditOf(j.Kind, j.Request); err != nil {
		return err
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
