package handlers

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

const (
	jobKeys       = "replay." // in the state store, before the id of a job
	maxJobsAtOnce = 4
	keptJobs      = 200 // that are over
	activeJobs    = 50  // that are not
)

func jobKey(id string) string { return jobKeys + id }

// runner runs the jobs, on the one replica whose turn it is. What it knows of them is in
// the state store: another one goes on where it stopped.
type runner struct {
	e       *Engine
	session string // tells the checkpoints of this turn from those of another
	claims  *claims
	places  chan struct{}

	mu     sync.Mutex
	runs   map[string]*run
	states map[string]string // of all stored jobs, by id
	wg     sync.WaitGroup
}

// runJobs runs jobs until ctx ends.
func (e *Engine) runJobs(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	r := &runner{e: e, session: rand.Text(), claims: newClaims(), places: make(chan struct{}, maxJobsAtOnce), runs: map[string]*run{}, states: map[string]string{}}
	defer r.wg.Wait()
	defer cancel()
	e.jobs.Store(r)
	defer e.jobs.Store(nil)
	if err := r.prune(ctx); err != nil {
		return err
	}
	stop, err := e.bus.FollowState(ctx, jobKeys+"*", func(key string, data []byte) { r.heard(ctx, strings.TrimPrefix(key, jobKeys), data) })
	if err != nil {
		return err
	}
	defer stop()
	return e.autoReplay(ctx)
}

// heard takes a stored job: a new one is started, a running one told what is wanted of it.
func (r *runner) heard(ctx context.Context, id string, data []byte) {
	var j deadletter.Job
	if len(data) == 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.states, id)
		return
	}
	if err := json.Unmarshal(data, &j); err != nil {
		r.e.observer.Observe(Event{Kind: EventAlarm, At: r.e.clock.Now(), Op: "read job", ID: id, Err: err})
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states[id] = j.State
	if x := r.runs[id]; x != nil {
		x.tell(j.Wanted)
		return
	}
	if !j.Runnable() || ctx.Err() != nil {
		return
	}
	x := newRun(r, id)
	r.runs[id] = x
	r.wg.Go(func() { r.run(ctx, x) })
}

// run runs one job until it rests. What was wished for at the very end is looked at once
// more, since nobody may have told the run.
func (r *runner) run(ctx context.Context, x *run) {
	what := "job " + x.id
	defer r.e.setFault(what, nil)
	for tries := 0; ctx.Err() == nil; {
		err := x.once(ctx)
		if err == nil && !r.runAgain(ctx, x) || errors.Is(err, errLost) || ctx.Err() != nil {
			break
		}
		r.e.setFault(what, err)
		if err == nil {
			tries = 0
			continue
		}
		r.e.observer.Observe(Event{Kind: EventFault, At: r.e.clock.Now(), Op: "run job", ID: x.id, Err: err})
		pause(ctx, min(10*time.Second, 200*time.Millisecond<<min(tries, 6)))
		tries++
	}
	r.mu.Lock()
	delete(r.runs, x.id)
	r.mu.Unlock()
}

// runAgain says whether a job that rests shall go on. If not, its run is forgotten in the
// same moment, so that a later wish starts another one.
func (r *runner) runAgain(ctx context.Context, x *run) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	j, _, err := r.e.readJob(ctx, x.id)
	if err == nil && j.Runnable() {
		return true
	}
	delete(r.runs, x.id)
	return false
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// JobStates counts the jobs over dead letters by their state, on the replica that runs them.
func (e *Engine) JobStates() map[string]int {
	counts := map[string]int{}
	if r := e.jobs.Load(); r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, state := range r.states {
			counts[state]++
		}
	}
	return counts
}

// prune deletes the oldest jobs that are over.
func (r *runner) prune(ctx context.Context) error {
	jobs, err := r.e.readJobs(ctx)
	if err != nil {
		return err
	}
	kept := 0
	for _, j := range jobs {
		if !j.Over() {
			continue
		}
		if kept++; kept > keptJobs {
			err = errors.Join(err, r.e.bus.StateDelete(ctx, jobKey(j.ID), j.revision))
		}
	}
	if errors.Is(err, schemas.ErrConflict) {
		return nil
	}
	return err
}

// storedJob is a job at a revision of its key.
type storedJob struct {
	*deadletter.Job
	revision uint64
}

// readJobs lists all jobs, the newest first.
func (e *Engine) readJobs(ctx context.Context) ([]storedJob, error) {
	var jobs []storedJob
	var faults []error
	err := e.bus.StateList(ctx, jobKeys+"*", func(key string, data []byte, revision uint64) {
		var j deadletter.Job
		if err := json.Unmarshal(data, &j); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", key, err))
			return
		}
		jobs = append(jobs, storedJob{&j, revision})
	})
	if err = errors.Join(append(faults, err)...); err != nil {
		return nil, fmt.Errorf("read jobs: %w", err)
	}
	slices.SortFunc(jobs, func(a, b storedJob) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return jobs, nil
}

func (e *Engine) readJob(ctx context.Context, id string) (*deadletter.Job, uint64, error) {
	data, revision, err := e.bus.StateGet(ctx, jobKey(id))
	if err != nil {
		return nil, 0, err
	}
	var j deadletter.Job
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, 0, fmt.Errorf("job %s: %w", id, err)
	}
	return &j, revision, nil
}

func (e *Engine) writeJob(ctx context.Context, j *deadletter.Job, revision uint64) (uint64, error) {
	data, err := json.Marshal(j)
	if err != nil {
		return 0, fmt.Errorf("job %s: %w", j.ID, err)
	}
	return e.bus.StatePut(ctx, jobKey(j.ID), data, revision)
}

// outcomeWait is how long the outcome of a replay is awaited under a policy, and whether
// none then counts as success. Acknowledgements are known of redeliveries only.
func (e *Engine) outcomeWait(follow time.Duration) func(policy string) (time.Duration, bool) {
	return func(policy string) (time.Duration, bool) {
		wait, presumes := 30*time.Second, true
		if p := e.Policies().Named(policy); p != nil {
			wait, presumes = p.Breaker.OutcomeTimeout, p.Breaker.Evidence != "report"
		}
		if follow > 0 {
			wait = follow
		}
		return wait, presumes
	}
}
