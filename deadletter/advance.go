package deadletter

import (
	"fmt"

	"github.com/recoveryd/recoveryd/schemas"
)

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
