package deadletter

import (
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
	Edited     bool                 `json:"edited,omitempty"`
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
		j.Request.Body = nil // jobs are kept for long, and it may be large
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

// Status is the job as it is told; without details its failures are left out.
func (j *Job) Status(details bool) schemas.JobStatus {
	s := schemas.JobStatus{
		ID: j.ID, Kind: j.Kind, State: j.State, Wanted: j.Wanted, Request: j.Request, Matched: j.Matched,
		CreatedAt: absolute(j.CreatedAt), UpdatedAt: absolute(j.UpdatedAt), FinishedAt: absolute(j.FinishedAt),
		Position: j.Position, Done: j.Done, Repeated: j.Repeated, Skipped: j.Skipped, Followed: j.Followed,
		Waiting: j.Waiting, Stopped: j.Stopped, Fault: j.Fault, Actor: j.Actor, Reason: j.Reason, Edited: j.Edited,
	}
	if s.Skipped == nil {
		s.Skipped = []schemas.JobSkipped{}
	}
	if details {
		s.Failures, s.Causes = j.Failures, j.Causes
	} else {
		s.Request.Body = nil
	}
	return s
}
