package deadletter

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

func TestRoundsOfARamp(t *testing.T) {
	t.Parallel()
	want := []int{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}
	for n, size := range want {
		if got := round(n); got != size {
			t.Errorf("round %d has %d letters, want %d", n, got, size)
		}
	}
	if got := round(1000); got > 5_000_000 || got < 1_000_000 {
		t.Errorf("a very late round has %d letters", got)
	}
}

// allow is Advance as text.
func allow(j *Job, f schemas.Followed, seen int64) string {
	switch a := j.Advance(f, seen); {
	case a.Stop != "":
		return "stop: " + a.Stop
	case a.Wait != "":
		return "wait"
	case a.Over:
		return "over"
	default:
		return fmt.Sprint(a.N)
	}
}

func TestAdvance(t *testing.T) {
	t.Parallel()
	followed := func(recovered, failed, pending, open int64) schemas.Followed {
		return schemas.Followed{Recovered: recovered, Failed: failed, Pending: pending, Open: open}
	}
	for name, c := range map[string]struct {
		job  Job
		f    schemas.Followed
		seen int64
		want string
	}{
		"without limits":                {Job{Done: 9}, followed(0, 9, 0, 0), 9, "-1"},
		"canary begins":                 {Job{Request: schemas.JobRequest{Canary: 5}}, followed(0, 0, 0, 0), 0, "5"},
		"canary goes on after a crash":  {Job{Done: 2, Request: schemas.JobRequest{Canary: 5}}, followed(0, 0, 2, 0), 2, "3"},
		"canary is awaited":             {Job{Done: 5, Request: schemas.JobRequest{Canary: 5}}, followed(4, 0, 1, 0), 5, "wait"},
		"canary is not seen yet":        {Job{Done: 5, Request: schemas.JobRequest{Canary: 5}}, followed(4, 0, 0, 0), 4, "wait"},
		"canary recovers":               {Job{Done: 5, Request: schemas.JobRequest{Canary: 5}}, followed(5, 0, 0, 0), 5, "-1"},
		"canary fails":                  {Job{Done: 5, Request: schemas.JobRequest{Canary: 5}}, followed(4, 1, 0, 0), 5, "stop"},
		"nothing is known of a canary":  {Job{Done: 5, Request: schemas.JobRequest{Canary: 5}}, followed(4, 0, 0, 1), 5, "stop"},
		"ramp begins":                   {Job{Request: schemas.JobRequest{Ramp: true}}, followed(0, 0, 0, 0), 0, "1"},
		"ramp waits":                    {Job{Done: 1, Request: schemas.JobRequest{Ramp: true}}, followed(0, 0, 1, 0), 1, "wait"},
		"ramp goes on":                  {Job{Done: 1, Request: schemas.JobRequest{Ramp: true}}, followed(1, 0, 0, 0), 1, "2"},
		"ramp in the middle of a round": {Job{Done: 2, Passed: 1, Round: 1, Request: schemas.JobRequest{Ramp: true}}, followed(1, 0, 1, 0), 2, "1"},
		"ramp after the canary":         {Job{Done: 5, Request: schemas.JobRequest{Canary: 5, Ramp: true}}, followed(5, 0, 0, 0), 5, "1"},
		"too many failed":               {Job{Done: 50, Request: schemas.JobRequest{StopFailures: 3}}, followed(0, 3, 47, 0), 50, "stop"},
		"not too many":                  {Job{Done: 50, Request: schemas.JobRequest{StopFailures: 3}}, followed(0, 2, 48, 0), 50, "-1"},
		"share reached":                 {Job{Done: 50, Request: schemas.JobRequest{StopPermille: 100}}, followed(9, 1, 40, 0), 50, "stop"},
		"share of too few":              {Job{Done: 50, Request: schemas.JobRequest{StopPermille: 100}}, followed(1, 1, 48, 0), 50, "-1"},
		"share of all there are":        {Job{Done: 2, Request: schemas.JobRequest{StopPermille: 500}}, followed(1, 1, 0, 0), 2, "stop"},
		"share not reached":             {Job{Done: 50, Request: schemas.JobRequest{StopPermille: 100}}, followed(19, 1, 30, 0), 50, "-1"},
		"resumed after failures":        {Job{Done: 50, Base: followed(0, 3, 0, 0), Request: schemas.JobRequest{StopFailures: 3}}, followed(40, 5, 5, 0), 50, "-1"},
		"only some were asked for":      {Job{Done: 8, Request: schemas.JobRequest{MaxLetters: 10}}, followed(0, 0, 8, 0), 8, "2"},
		"as many as were asked for":     {Job{Done: 10, Request: schemas.JobRequest{MaxLetters: 10}}, followed(0, 0, 10, 0), 10, "over"},
	} {
		if got := allow(&c.job, c.f, c.seen); got != c.want && !(c.want == "stop" && strings.HasPrefix(got, "stop: ")) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Whatever happens, a ramp never has more letters out than a round, and a stop rule is
// never passed over.
func TestAdvanceKeepsItsPromises(t *testing.T) {
	t.Parallel()
	check := func(results []bool, limit uint8) bool {
		j := Job{Request: schemas.JobRequest{Ramp: true, StopFailures: int(limit%20) + 1}}
		var f schemas.Followed
		for i := 0; i < len(results); {
			a := j.Advance(f, j.Done)
			if a.Stop != "" {
				return f.Failed >= int64(j.Request.StopFailures)
			}
			if a.N <= 0 || a.N > round(j.Round) || f.Failed >= int64(j.Request.StopFailures) {
				return false
			}
			j.Done += int64(a.N)
			for range a.N { // every outcome comes before the next round
				if i < len(results) && !results[i] {
					f.Failed++
				} else {
					f.Recovered++
				}
				i++
			}
		}
		return true
	}
	if err := quick.Check(check, nil); err != nil {
		t.Error(err)
	}
}

func TestSteering(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state, had, want string
		ok, runnable     bool
	}{
		{JobRunning, "", WantPause, true, true},
		{JobRunning, "", WantRun, false, true},
		{JobRunning, WantPause, WantRun, true, true},
		{JobPaused, "", WantRun, true, true},
		{JobPaused, "", WantPause, false, false},
		{JobPaused, "", WantCancel, true, true},
		{JobStopped, "", WantRun, true, true},
		{JobStopped, "", WantPause, false, false},
		{JobDone, "", WantCancel, false, false},
		{JobCancelled, "", WantRun, false, false},
	} {
		j := Job{ID: "j", State: c.state, Wanted: c.had}
		if err := j.Steer(c.want, "a", "r"); (err == nil) != c.ok || j.Runnable() != c.runnable {
			t.Errorf("%s of a job that is %s: %v, runnable %v", c.want, c.state, err, j.Runnable())
		}
	}
}

// A wish is fulfilled once, also if it was written while the job was being stored.
func TestWishesAreFulfilledOnce(t *testing.T) {
	t.Parallel()
	j := Job{State: JobRunning}
	j.End(JobPaused, "", midday)
	j.Obey(&Job{Wanted: WantPause, Actor: "alice"})
	if j.Runnable() || j.Actor != "alice" {
		t.Errorf("paused job %+v", j)
	}
	j.Obey(&Job{Wanted: WantRun})
	if !j.Runnable() {
		t.Error("a wish to resume that came while the job was paused is lost")
	}
	if j.Begin(); j.State != JobRunning || j.Wanted != "" {
		t.Errorf("resumed job %+v", j)
	}
	j.Obey(&Job{Wanted: WantRun})
	j.End(JobStopped, "3 failed again", midday)
	if j.Runnable() {
		t.Error("a job that stopped goes on by itself")
	}
	j.Followed, j.Done = schemas.Followed{Failed: 3}, 3
	if j.Begin(); j.Base.Failed != 3 || j.Passed != 3 {
		t.Errorf("after a stop it counts from %+v", j.Base)
	}
}

func TestRequestsAreChecked(t *testing.T) {
	t.Parallel()
	zero, fast := 0.0, 1e9
	one := schemas.DeadFilter{Sequences: []uint64{7}}
	for _, c := range []struct {
		kind  string
		q     schemas.JobRequest
		field string
	}{
		{JobReplay, schemas.JobRequest{Rate: &zero}, "rate"},
		{JobReplay, schemas.JobRequest{Rate: &fast}, "rate"},
		{JobReplay, schemas.JobRequest{Canary: -1}, "canary"},
		{JobReplay, schemas.JobRequest{StopPermille: 1001}, "stop_permille"},
		{JobReplay, schemas.JobRequest{Patch: json.RawMessage(`[]`)}, "patch"},
		{JobReplay, schemas.JobRequest{Body: []byte("x")}, "body"},
		{JobReplay, schemas.JobRequest{Body: make([]byte, MaxEdited+1), Filter: one}, "body"},
		{JobReplay, schemas.JobRequest{Body: []byte("x"), Patch: json.RawMessage(`[{"op":"remove","path":"/a"}]`), Filter: one}, "body"},
		{JobDiscard, schemas.JobRequest{Reason: "x", Set: map[string]string{"a": "b"}}, "patch"},
		{JobDiscard, schemas.JobRequest{}, "reason"},
		{JobDiscard, schemas.JobRequest{Reason: "x", To: "y"}, "to"},
		{JobEdit, schemas.JobRequest{}, "patch"},
		{JobEdit, schemas.JobRequest{Set: map[string]string{"Nats-TTL": "1"}}, "set"},
		{JobEdit, schemas.JobRequest{Set: map[string]string{"a": "b\nc"}}, "set"},
		{JobEdit, schemas.JobRequest{Unset: []string{"Recovery-Id"}}, "unset"},
		{JobEdit, schemas.JobRequest{Patch: json.RawMessage(`[{"op":"add","path":"x","value":1}]`)}, "patch"},
		{JobEdit, schemas.JobRequest{Patch: json.RawMessage(`[{"op":"add","path":"/x"}]`)}, "patch"},
		{JobEdit, schemas.JobRequest{Patch: json.RawMessage(`[{"op":"move","path":"/x"}]`)}, "patch"},
		{JobEdit, schemas.JobRequest{Patch: json.RawMessage(`[{}]`)}, "patch"},
		{JobEdit, schemas.JobRequest{Patch: json.RawMessage(`[null]`)}, "patch"},
	} {
		_, err := CheckRequest(c.kind, c.q)
		found := false
		for _, fault := range schemas.FieldErrors(err) {
			found = found || fault.Path == c.field
		}
		if !found {
			t.Errorf("%s %+v: %v, want a fault of %s", c.kind, c.q, err, c.field)
		}
	}
	q, err := CheckRequest(JobReplay, schemas.JobRequest{Ramp: true})
	if err != nil || q.MaxReplays != defaultMaxReplays || q.StopPermille != defaultRampStop {
		t.Errorf("defaults %+v, %v", q, err)
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	p, now := NewPace(100), midday
	for i := range 1000 { // taken as soon as they may go
		wait := p.Take(now)
		now = now.Add(wait)
		if want := midday.Add(time.Duration(i) * 10 * time.Millisecond); !now.Equal(want) {
			t.Fatalf("letter %d goes at %s, want %s", i, now.Sub(midday), want.Sub(midday))
		}
	}
	now = now.Add(time.Minute) // nothing went for a minute: at most a second is made up for
	burst := 0
	for p.Take(now) == 0 {
		burst++
	}
	if burst < 90 || burst > 102 {
		t.Errorf("%d letters at once after a pause", burst)
	}
	if NewPace(0).Take(midday) != 0 || NewPace(0).Batch(time.Second, 1000) != 1000 || NewPace(100).Batch(time.Second/2, 1000) != 50 || NewPace(0.01).Batch(time.Second, 1000) != 1 {
		t.Error("batches")
	}
}
