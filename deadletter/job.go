package deadletter

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// Kinds of jobs.
const (
	JobReplay  = "replay"
	JobDiscard = "discard"
	JobEdit    = "edit"
)

// States of a job. It comes to an end as done or cancelled; what is paused or stopped can
// be resumed.
const (
	JobRunning   = "running"
	JobFollowing = "following" // everything is replayed, outcomes are awaited
	JobPaused    = "paused"    // by an operator
	JobStopped   = "stopped"   // by itself
	JobCancelled = "cancelled"
	JobDone      = "done"
)

// JobStates lists all states of a job.
var JobStates = [...]string{JobRunning, JobFollowing, JobPaused, JobStopped, JobCancelled, JobDone}

// What operators want of a job.
const (
	WantRun    = "run"
	WantPause  = "pause"
	WantCancel = "cancel"
)

// Job is something done to all letters that a filter selects, as it is stored between its
// steps. Who runs it writes everything but Wanted, Actor and Reason, which are the
// operators'.
//
// A letter is counted as done in the same write that notes it as being removed: after a
// crash it is neither done twice nor missing in the counts.
type Job struct {
	ID         string               `json:"id"`
	Kind       string               `json:"kind"`
	State      string               `json:"state"`
	Wanted     string               `json:"wanted,omitempty"`
	Actor      string               `json:"actor,omitempty"`
	Reason     string               `json:"reason,omitempty"`
	Request    schemas.JobRequest   `json:"request"` // its filter frozen
	Policy     string               `json:"policy,omitempty"`
	Key        string               `json:"key,omitempty"` // of the breaker of Policy, of a replay that began by itself
	Matched    int64                `json:"matched"`
	CreatedAt  time.Time            `json:"created_at"`
	UpdatedAt  time.Time            `json:"updated_at"`
	FinishedAt time.Time            `json:"finished_at,omitzero"`
	Position   uint64               `json:"position"`           // letters before it were looked at
	Removing   []uint64             `json:"removing,omitempty"` // done and counted, perhaps still in the store
	Done       int64                `json:"done"`
	Repeated   int64                `json:"repeated"`
	Skipped    []schemas.JobSkipped `json:"skipped,omitempty"`
	Passed     int64                `json:"passed"`        // Done when the outcomes were found good last
	Round      int                  `json:"round"`         // of the ramp
	Base       schemas.Followed     `json:"base,omitzero"` // what had happened when it was resumed
	Followed   schemas.Followed     `json:"followed,omitzero"`
	Failures   []schemas.JobFailure `json:"failures,omitempty"`
	Causes     []schemas.CauseCount `json:"causes,omitempty"`
	Waiting    string               `json:"waiting,omitempty"`
	Stopped    string               `json:"stopped,omitempty"`
	Fault      string               `json:"fault,omitempty"`
	Runner     string               `json:"runner,omitempty"` // who runs it
}

// Over says whether the job has come to its end.
func (j *Job) Over() bool { return j.State == JobDone || j.State == JobCancelled }

// Runnable says whether there is something to do for it.
func (j *Job) Runnable() bool {
	switch j.State {
	case JobRunning, JobFollowing:
		return true
	case JobPaused, JobStopped:
		return j.Wanted == WantRun || j.Wanted == WantCancel
	}
	return false
}

// Steer takes an operator's wish: WantRun, WantPause or WantCancel.
func (j *Job) Steer(wanted, actor, reason string) error {
	switch {
	case j.Over():
		return fmt.Errorf("job %s is %s", j.ID, j.State)
	case wanted == WantPause && (j.State == JobStopped || j.State == JobPaused && j.Wanted != WantRun):
		return fmt.Errorf("job %s is %s already", j.ID, j.State)
	case wanted == WantRun && j.Wanted != WantPause && (j.State == JobRunning || j.State == JobFollowing):
		return fmt.Errorf("job %s is %s already", j.ID, j.State)
	}
	j.Wanted, j.Actor, j.Reason = wanted, actor, reason
	return nil
}

// Obey takes over what operators wrote meanwhile. A wish that is fulfilled already is
// forgotten, so that it does not come true a second time.
func (j *Job) Obey(found *Job) {
	j.Actor, j.Reason, j.Wanted = found.Actor, found.Reason, found.Wanted
	resting := j.State == JobPaused || j.State == JobStopped
	if j.Over() || resting && found.Wanted == WantPause || !resting && found.Wanted == WantRun {
		j.Wanted = ""
	}
}

// Begin makes a job that is paused or stopped run again: what failed before does not stop
// it a second time, and it does not wait for its canary again.
func (j *Job) Begin() {
	if j.State == JobStopped || j.State == JobPaused {
		if j.State == JobStopped {
			j.Base, j.Passed = j.Followed, j.Done
		}
		j.State = JobRunning
	}
	j.Stopped, j.Waiting = "", ""
	if j.Wanted == WantRun {
		j.Wanted = ""
	}
}

// End gives the job a state in which nobody runs it.
func (j *Job) End(state, stopped string, now time.Time) {
	j.State, j.Stopped, j.Waiting, j.Fault, j.Wanted = state, stopped, "", "", ""
	if j.Over() {
		j.FinishedAt = now
	}
}

// maxSkipDetail bounds the example that is kept for each reason to leave letters alone.
const maxSkipDetail = 200

// Skip counts a letter that is left alone.
func (j *Job) Skip(why string, sequence uint64, detail string) {
	j.Skipped = CountSkip(j.Skipped, why, sequence, detail)
}

// CountSkip counts a letter that is left alone in a list of reasons.
func CountSkip(list []schemas.JobSkipped, why string, sequence uint64, detail string) []schemas.JobSkipped {
	i := slices.IndexFunc(list, func(s schemas.JobSkipped) bool { return s.Why == why })
	if i < 0 {
		i = len(list)
		list = append(list, schemas.JobSkipped{Why: why, Sequence: sequence, Detail: firstRunes(detail, maxSkipDetail)})
	}
	list[i].Count++
	return list
}

// Allowance is how a replay may go on: with N more letters (less than 0 = any number), not
// before something it waits for, or not at all.
type Allowance struct {
	N    int
	Wait string
	Stop string
	Over bool // the number of letters that was asked for is reached
}

// rounds of a ramp repeat 1, 2, 5 with a zero more each time.
func round(n int) int {
	size := [...]int{1, 2, 5}[n%3]
	for range min(n/3, 6) {
		size *= 10
	}
	return size
}

// fewResolved is how many outcomes a share is judged by at least, unless all are known.
const fewResolved = 10

// Advance decides how the job may go on after what became of its letters so far. seen is
// how many of its replays the tracker knows.
func (j *Job) Advance(f schemas.Followed, seen int64) Allowance {
	pending := f.Pending + max(0, j.Done-seen)
	failed := f.Failed - j.Base.Failed
	open := f.Open - j.Base.Open
	known := failed + f.Recovered - j.Base.Recovered + f.Presumed - j.Base.Presumed
	if why := j.stopRule(failed, known, pending); why != "" {
		return Allowance{Stop: why}
	}
	r := &j.Request
	if r.MaxLetters > 0 && j.Done >= int64(r.MaxLetters) {
		return Allowance{Over: true}
	}
	a := Allowance{N: -1}
	switch canary := int64(r.Canary); {
	case j.Passed < canary && j.Done < canary:
		a.N = int(canary - j.Done)
	case j.Passed < canary && pending > 0:
		return Allowance{Wait: fmt.Sprintf("the outcomes of %d of the %d replayed first", pending, j.Done)}
	case j.Passed < canary && failed+open > 0:
		return Allowance{Stop: fmt.Sprintf("of the %d replayed first %d failed again and of %d nothing is known", j.Done, failed, open)}
	case j.Passed < canary:
		j.Passed = j.Done
		return j.Advance(f, seen)
	case r.Ramp:
		end := j.Passed + int64(round(j.Round))
		if j.Done >= end {
			if pending > 0 {
				return Allowance{Wait: fmt.Sprintf("the outcomes of %d of %d", pending, j.Done)}
			}
			j.Passed, j.Round = j.Done, j.Round+1
			return j.Advance(f, seen)
		}
		a.N = int(end - j.Done)
	}
	if left := r.MaxLetters - int(j.Done); r.MaxLetters > 0 && (a.N < 0 || left < a.N) {
		a.N = left
	}
	return a
}

func (j *Job) stopRule(failed, known, pending int64) string {
	r := &j.Request
	switch {
	case r.StopFailures > 0 && failed >= int64(r.StopFailures):
		return fmt.Sprintf("%d failed again, it stops at %d", failed, r.StopFailures)
	case r.StopPermille > 0 && failed > 0 && (known >= fewResolved || pending == 0) && failed*1000 >= int64(r.StopPermille)*known:
		return fmt.Sprintf("%d of %d failed again, it stops at %g %%", failed, known, float64(r.StopPermille)/10)
	}
	return ""
}

// Status is the job as it is told; without details its failures are left out.
func (j *Job) Status(details bool) schemas.JobStatus {
	s := schemas.JobStatus{
		ID: j.ID, Kind: j.Kind, State: j.State, Wanted: j.Wanted, Request: j.Request, Matched: j.Matched,
		CreatedAt: absolute(j.CreatedAt), UpdatedAt: absolute(j.UpdatedAt), FinishedAt: absolute(j.FinishedAt),
		Position: j.Position, Done: j.Done, Repeated: j.Repeated, Skipped: j.Skipped, Followed: j.Followed,
		Waiting: j.Waiting, Stopped: j.Stopped, Fault: j.Fault, Actor: j.Actor, Reason: j.Reason,
	}
	if s.Skipped == nil {
		s.Skipped = []schemas.JobSkipped{}
	}
	if details {
		s.Failures, s.Causes = j.Failures, j.Causes
	}
	return s
}

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
	if kind == JobEdit {
		if _, err := NewEdit(q); err != nil {
			faults = append(faults, err)
		}
	} else if len(q.Set)+len(q.Unset)+len(q.Patch)+q.Sample > 0 {
		bad("patch", "this, set, unset and sample are options of edits")
	}
	if kind == JobDiscard && q.Reason == "" {
		bad("reason", "is missing: say why the letters are discarded")
	}
	return q, errors.Join(faults...)
}
