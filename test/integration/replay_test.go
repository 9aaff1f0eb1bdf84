package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

// swift makes outcomes of replays come soon: one attempt, and silence for half a second is
// success.
func swift(t *testing.T, change ...func(*schemas.PolicySpec)) *handlers.Policies {
	spec := schemas.PolicySpec{
		Name: "default", Subjects: []string{">"}, Retry: schemas.RetrySpec{MaxAttempts: number(1)},
		Breaker: schemas.BreakerSpec{Disabled: true, OutcomeTimeout: duration(time.Second)},
	}
	for _, f := range change {
		f(&spec)
	}
	return policies(t, spec)
}

// reported awaits the outcome of each replay for long: none comes by silence.
func reported(s *schemas.PolicySpec) {
	s.SuccessEvidence, s.Breaker.OutcomeTimeout = "report", duration(patience)
}

// create makes a job that must be accepted.
func (r *rig) create(name string, q schemas.JobRequest) schemas.JobStatus {
	r.t.Helper()
	return *must[schemas.JobReply](r.t, r, name, q).Job
}

// until looks at a job until it is as wanted.
func (r *rig) until(id, what string, ok func(schemas.JobStatus) bool) schemas.JobStatus {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		j := must[schemas.JobStatus](r.t, r, "replay.show", schemas.JobNameRequest{ID: id})
		if ok(j) {
			return j
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("job %s is not %s in time: %+v", id, what, j)
		}
		time.Sleep(20 * time.Millisecond) // jobs are looked at, not announced
	}
}

func (r *rig) finished(id string) schemas.JobStatus {
	r.t.Helper()
	return r.until(id, "over", func(j schemas.JobStatus) bool { return j.State != "running" && j.State != "following" })
}

func messages(t *testing.T, s jetstream.Stream) uint64 {
	t.Helper()
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs
}

func TestReplayOfACause(t *testing.T) {
	t.Parallel()
	r := newRig(t, swift(t), nil)
	jobs := r.stream("JOBS", "jobs.>")
	const n = 2000
	r.bury(n, func(i int) schemas.DeadLetter { return aLetter(i, 4, 5) })
	cause := aLetter(1, 4, 5).Cause
	later := aLetter(n+1, 4, 5) // of the same cause

	q := schemas.JobRequest{Filter: schemas.DeadFilter{Causes: []string{cause}}, Reason: "the service is back", Actor: "alice"}
	q.DryRun = true
	plan := must[schemas.JobReply](t, r, "replay.create", q).Plan
	if plan.Matched != n/4 || plan.Eligible != n/4 || len(plan.Causes) != 1 || plan.Causes[0].Count != n/4 || len(plan.Targets) != 5 || plan.Seconds <= 0 {
		t.Fatalf("plan %+v", plan)
	}
	if r.deadLeft() != n || messages(t, jobs) != 0 {
		t.Fatal("a plan changed something")
	}
	q.DryRun = false
	j := r.create("replay.create", q)
	if j.Matched != n/4 || j.Request.Filter.LastSequence != n {
		t.Errorf("job %+v", j)
	}
	r.bury(1, func(int) schemas.DeadLetter { return later })
	j = r.finished(j.ID)
	if j.State != "done" || j.Done != n/4 || j.Repeated != 0 || len(j.Skipped) != 0 || j.Followed.Presumed != n/4 || j.Followed.Pending+j.Followed.Open+j.Followed.Failed != 0 {
		t.Errorf("job %+v", j)
	}
	if got := messages(t, jobs); got != n/4 {
		t.Errorf("the target holds %d, want %d", got, n/4)
	}
	if left := r.deadLeft(); left != n-n/4+1 {
		t.Errorf("%d letters are left, want %d: those of other causes and the one that came later", left, n-n/4+1)
	}
	m, err := jobs.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	h := schemas.Header(m.Header)
	if h.Get("Recovery-Replay") != "1" || h.Get("Recovery-Attempt") != "1" || h.Get("Recovery-Delivery") != "4" || h.Get("Tenant") != "t1" ||
		h.Get("Recovery-Id") != "id-1" || h.Get("Recovery-Seal") == "" || h.Get("Recovery-Error") != "" || string(m.Data) != `{"n":1}` {
		t.Errorf("replayed %q %v", m.Data, h)
	}
	if list := must[schemas.JobListReply](t, r, "replay.ls", schemas.JobListRequest{}); len(list.Jobs) != 1 || list.Jobs[0].ID != j.ID {
		t.Errorf("jobs %+v", list)
	}
}

// Two operators replay the same at once, by the same and by different filters: nothing goes
// twice, and the counts of both add up to the letters.
func TestReplaysAtTheSameTime(t *testing.T) {
	t.Parallel()
	r := newRig(t, swift(t), nil)
	jobs := r.stream("JOBS", "jobs.>")
	const n = 6000
	r.bury(n, func(i int) schemas.DeadLetter { return aLetter(i, 4, 5) })
	var wg sync.WaitGroup
	ids := make([]string, 4)
	for i, f := range []schemas.DeadFilter{{}, {Subject: "jobs.>"}, {Reasons: []string{"exhausted"}}, {Policies: []string{"default"}}} {
		wg.Go(func() { ids[i] = r.create("replay.create", schemas.JobRequest{Filter: f}).ID })
	}
	wg.Wait()
	done := int64(0)
	for _, id := range ids {
		j := r.finished(id)
		done += j.Done
		if j.Repeated > 0 {
			t.Errorf("job %s sent %d again", id, j.Repeated)
		}
	}
	if done != n || messages(t, jobs) != n || r.deadLeft() != 0 {
		t.Errorf("%d done, %d at the target, %d left, want %d, %d and 0", done, messages(t, jobs), r.deadLeft(), n, n)
	}
}

func TestTheSameReplayIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, swift(t), nil)
	r.stream("JOBS", "jobs.>")
	r.bury(100, func(i int) schemas.DeadLetter { return aLetter(i, 4, 5) })
	slow := 5.0
	first := r.create("replay.create", schemas.JobRequest{Rate: &slow})
	for _, f := range []schemas.DeadFilter{{}, {Sequences: []uint64{90}}} {
		fault := refusal(t, r, "replay.create", schemas.JobRequest{Filter: f})
		if fault.Code != 409 || !strings.Contains(fault.Message, first.ID) {
			t.Errorf("%d %s, want 409 naming %s", fault.Code, fault.Message, first.ID)
		}
	}
	must[schemas.JobStatus](t, r, "replay.cancel", schemas.JobNameRequest{ID: first.ID, Actor: "bob", Reason: "too slow"})
	j := r.finished(first.ID)
	if j.State != "cancelled" || j.Actor != "bob" || j.Done >= 100 || r.deadLeft() != uint64(100-j.Done) {
		t.Errorf("job %+v, %d letters left", j, r.deadLeft())
	}
	if j := r.finished(r.create("replay.create", schemas.JobRequest{Filter: schemas.DeadFilter{Sequences: []uint64{90, 91, 4711}}}).ID); j.State != "done" || j.Done != 2 {
		t.Errorf("job %+v", j)
	}
	if fault := refusal(t, r, "replay.pause", schemas.JobNameRequest{ID: first.ID}); fault.Code != 409 {
		t.Errorf("a job that is over can be paused: %+v", fault)
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	r := newRig(t, swift(t), nil)
	jobs := r.stream("JOBS", "jobs.>")
	r.bury(3000, func(i int) schemas.DeadLetter { return aLetter(i, 4, 5) })
	rate := 800.0 // it must still be on its way when it is asked to pause, also on a busy machine
	j := r.create("replay.create", schemas.JobRequest{Rate: &rate})
	r.until(j.ID, "on its way", func(j schemas.JobStatus) bool { return j.Done > 0 })
	must[schemas.JobStatus](t, r, "replay.pause", schemas.JobNameRequest{ID: j.ID})
	paused := r.finished(j.ID)
	if paused.State != "paused" || paused.Done == 0 || paused.Done >= 3000 || messages(t, jobs) != uint64(paused.Done) || r.deadLeft() != uint64(3000-paused.Done) {
		t.Fatalf("job %+v, %d at the target, %d left", paused, messages(t, jobs), r.deadLeft())
	}
	must[schemas.JobStatus](t, r, "replay.resume", schemas.JobNameRequest{ID: j.ID})
	r.until(j.ID, "resumed", func(j schemas.JobStatus) bool { return j.State != "paused" })
	if j = r.finished(j.ID); j.State != "done" || j.Done != 3000 || messages(t, jobs) != 3000 || r.deadLeft() != 0 {
		t.Errorf("job %+v", j)
	}
}

// work handles the messages of a stream; fails says which fail again.
func (r *rig) work(stream string, fails func(m jetstream.Msg) bool) {
	r.consume(stream, func(m jetstream.Msg) {
		if fails(m) {
			r.answer(m, "still broken")
		} else {
			r.answer(m, "")
		}
	})
}

// answer reports how a delivery went; a test that is over does not wait for it.
func (r *rig) answer(m jetstream.Msg, fault string) {
	report := schemas.Message{Subject: subjects.Succeeded(m.Subject()), Header: schemas.Header(m.Headers()).Clone()}
	delete(report.Header, "Nats-Msg-Id")
	if fault != "" {
		report.Subject, report.Body = subjects.Failed(m.Subject()), m.Data()
		report.Header.Set(schemas.HeaderError, fault)
	}
	r.bus.Publish(report, func(schemas.Ack, error) {})
}

func TestOutcomesOfReplays(t *testing.T) {
	t.Parallel()
	r := newRig(t, swift(t, reported), nil)
	r.stream("JOBS", "jobs.>")
	r.work("JOBS", func(m jetstream.Msg) bool { return m.Headers().Get("Tenant") == "t3" })
	const n = 300
	r.bury(n, func(i int) schemas.DeadLetter { return aLetter(i, 4, 5) })
	j := r.finished(r.create("replay.create", schemas.JobRequest{}).ID)
	if j.State != "done" || j.Done != n || j.Followed.Recovered != n*9/10 || j.Followed.Failed != n/10 || j.Followed.Open+j.Followed.Presumed != 0 {
		t.Errorf("job %+v", j)
	}
	if len(j.Failures) != n/10 || j.Failures[0].Error != "still broken" || j.Failures[0].Kind != "dead" || j.Failures[0].Sequence <= n || len(j.Causes) != 1 || j.Causes[0].Count != n/10 {
		t.Errorf("failures %+v, causes %+v", j.Failures, j.Causes)
	}
	l := must[schemas.DeadLetterItem](t, r, "dlq.show", schemas.DeadShowRequest{Sequence: j.Failures[0].Sequence})
	if l.Replay != 1 || l.Delivery != 4 || l.Error != "still broken" || !strings.Contains(l.History, "still broken") {
		t.Errorf("letter of a replay that failed again: %+v", l)
	}
}

// What was replayed too often is left alone, so that a loop comes to an end.
func TestReplaysAreLimited(t *testing.T) {
	t.Parallel()
	r := newRig(t, swift(t, reported), nil)
	r.stream("JOBS", "jobs.>")
	r.work("JOBS", func(jetstream.Msg) bool { return true })
	r.bury(5, func(i int) schemas.DeadLetter { return aLetter(i, 4, 5) })
	for range 3 {
		if j := r.finished(r.create("replay.create", schemas.JobRequest{}).ID); j.Done != 5 || j.Followed.Failed != 5 {
			t.Fatalf("job %+v", j)
		}
	}
	fault := refusal(t, r, "replay.create", schemas.JobRequest{})
	if fault.Code != 400 || !strings.Contains(fault.Message, "max_replays") {
		t.Errorf("%d %s, want 400 naming max_replays", fault.Code, fault.Message)
	}
}

func TestCanaryThatFailsStopsTheJob(t *testing.T) {
	t.Parallel()
	r := newRig(t, swift(t, reported), nil)
	jobs := r.stream("JOBS", "jobs.>")
	broken := true
	var mu sync.Mutex
	r.work("JOBS", func(jetstream.Msg) bool { mu.Lock(); defer mu.Unlock(); return broken })
	r.bury(200, func(i int) schemas.DeadLetter { return aLetter(i, 4, 5) })
	j := r.finished(r.create("replay.create", schemas.JobRequest{Canary: 5}).ID)
	if j.State != "stopped" || j.Done != 5 || j.Followed.Failed != 5 || !strings.Contains(j.Stopped, "5 failed again") || messages(t, jobs) != 5 {
		t.Fatalf("job %+v", j)
	}
	mu.Lock()
	broken = false
	mu.Unlock()
	must[schemas.JobStatus](t, r, "replay.resume", schemas.JobNameRequest{ID: j.ID})
	r.until(j.ID, "resumed", func(j schemas.JobStatus) bool { return j.State != "stopped" })
	if j = r.finished(j.ID); j.State != "done" || j.Done != 200 || j.Followed.Recovered != 195 {
		t.Errorf("job %+v", j)
	}
}

func TestCanaryThatRecoversLetsTheRestGo(t *testing.T) {
	t.Parallel()
	r := newRig(t, swift(t, reported), nil)
	r.stream("JOBS", "jobs.>")
	r.work("JOBS", func(jetstream.Msg) bool { return false })
	r.bury(200, func(i int) schemas.DeadLetter { return aLetter(i, 4, 5) })
	if j := r.finished(r.create("replay.create", schemas.JobRequest{Canary: 3, Ramp: true}).ID); j.State != "done" || j.Done != 200 || j.Followed.Recovered != 200 {
		t.Errorf("job %+v", j)
	}
}

// A handler that breaks under 30 messages at once breaks under a ramp, which then stops.
func TestRampStopsAtWhatTheHandlerCannotTake(t *testing.T) {
	t.Parallel()
	r := newRig(t, swift(t, reported), nil)
	jobs := r.stream("JOBS", "jobs.>")
	const capacity = 30
	var mu sync.Mutex
	inFlight := 0
	r.consume("JOBS", func(m jetstream.Msg) {
		mu.Lock()
		over := inFlight == capacity
		if !over {
			inFlight++
		}
		mu.Unlock()
		if over {
			r.answer(m, "overloaded")
			return
		}
		time.AfterFunc(300*time.Millisecond, func() { // the handler's own work takes this long
			mu.Lock()
			inFlight--
			mu.Unlock()
			r.answer(m, "")
		})
	})
	r.bury(2000, func(i int) schemas.DeadLetter { return aLetter(i, 4, 5) })
	j := r.finished(r.create("replay.create", schemas.JobRequest{Ramp: true, StopPermille: 100}).ID)
	// The round of 50 overloads it, or a later one if this machine was slow to send.
	if j.State != "stopped" || j.Done < 88 || j.Done >= 1000 || messages(t, jobs) != uint64(j.Done) || !strings.Contains(j.Stopped, "failed again") {
		t.Errorf("job %+v", j)
	}
}

// It runs alone, as it measures. Never faster than it should; on a busy machine once of three
// times not slower is enough.
func TestRateOfAReplay(t *testing.T) {
	r := newRig(t, swift(t), nil)
	jobs := r.stream("JOBS", "jobs.>")
	const n, rate = 1500, 500.0
	for try := range 3 {
		r.bury(n, func(i int) schemas.DeadLetter { return aLetter(try*n+i, 4, 5) })
		pace := rate
		if j := r.finished(r.create("replay.create", schemas.JobRequest{Rate: &pace}).ID); j.Done != n {
			t.Fatalf("job %+v", j)
		}
		got := float64(n-1) / storedAt(t, jobs, try*n+n).Sub(storedAt(t, jobs, try*n+1)).Seconds()
		t.Logf("%.1f letters per second", got)
		switch {
		case got > rate*1.05:
			t.Fatalf("%.1f letters per second, want %.0f", got, rate)
		case got >= rate*0.95:
			return
		}
	}
	t.Errorf("three times slower than %.0f letters per second", rate)
}

func storedAt(t *testing.T, s jetstream.Stream, sequence int) time.Time {
	t.Helper()
	m, err := s.GetMsg(t.Context(), uint64(sequence))
	if err != nil {
		t.Fatal(err)
	}
	return m.Time
}

func TestReplayElsewhere(t *testing.T) {
	t.Parallel()
	r := newRig(t, swift(t, func(s *schemas.PolicySpec) { s.DeadLetter = &schemas.DeadLetterSpec{ReplayTo: []string{"mend.>"}} }), nil)
	mend := r.stream("MEND", "mend.>")
	r.bury(3, func(i int) schemas.DeadLetter { return aLetter(i, 4, 5) })
	for _, to := range []string{"other.place", "$JS.API.x", "recovery.dead.x", "mend.*"} {
		want := 400
		if to == "other.place" {
			want = 403
		}
		if fault := refusal(t, r, "replay.create", schemas.JobRequest{To: to}); fault.Code != want || !strings.HasPrefix(fault.Message, "to: ") {
			t.Errorf("%s: %d %s", to, fault.Code, fault.Message)
		}
	}
	if j := r.finished(r.create("replay.create", schemas.JobRequest{To: "mend.jobs"}).ID); j.Done != 3 || messages(t, mend) != 3 {
		t.Errorf("job %+v", j)
	}
}

func TestBadJobs(t *testing.T) {
	t.Parallel()
	r := newRig(t, swift(t), nil)
	jobs := r.stream("JOBS", "jobs.>")
	r.bury(3, func(i int) schemas.DeadLetter { return aLetter(i, 4, 5) })
	big := `"` + strings.Repeat("x", 40<<10) + `"`
	for _, c := range []struct {
		name, request, field string
		code                 int
	}{
		{"replay.create", `{"rate":0}`, "rate", 400},
		{"replay.create", `{"rate":-1}`, "rate", 400},
		{"replay.create", `{"canary":-1}`, "canary", 400},
		{"replay.create", `{"stop_permille":1001}`, "stop_permille", 400},
		{"replay.create", `{"filter":{"causes":["00000000"]}}`, "00000000", 404},
		{"replay.create", `{"filter":{"causes":["nonsense"]}}`, "filter.causes[0]", 400},
		{"replay.create", `{"filter":{"subject":"a..b"},"rate":0}`, "filter.subject", 400},
		{"replay.create", `{"to":"somewhere.else"}`, "to: ", 403},
		{"replay.create", `{"patch":[]}`, "patch", 400},
		{"replay.create", `{"ramp":"yes"}`, "ramp", 400},
		{"dlq.discard", `{}`, "reason", 400},
		{"dlq.discard", `{"reason":"x","canary":1}`, "canary", 400},
		{"dlq.edit", `{}`, "patch", 400},
		{"dlq.edit", `{"set":{"Nats-Rollup":"all"}}`, "set", 400},
		{"dlq.edit", `{"set":{"Recovery-Id":"x"}}`, "set", 400},
		{"dlq.edit", `{"patch":[{"op":"replace","path":"/missing/x","value":1}]}`, "patch", 400},
		{"dlq.edit", `{"patch":[{"op":"chop","path":"/n"}]}`, "patch", 400},
		{"dlq.edit", `{"patch":{"n":1}}`, "patch", 400},
		{"dlq.edit", `{"patch":[{"op":"add","path":"/a","value":` + big + `},` + strings.Repeat(`{"op":"copy","from":"/a","path":"/b"},`, 1) +
			strings.TrimSuffix(copies(30), ",") + `]}`, "patch", 400},
		{"replay.show", `{"id":"nope"}`, "nope", 404},
		{"replay.show", `{"id":"a.b*"}`, "id", 400},
	} {
		fault := refusal(t, r, c.name, json.RawMessage(c.request))
		if fault.Code != c.code || !strings.Contains(fault.Message, c.field) {
			t.Errorf("%s %.80s: %d %s, want %d naming %s", c.name, c.request, fault.Code, fault.Message, c.code, c.field)
		}
	}
	if r.deadLeft() != 3 || messages(t, jobs) != 0 || len(must[schemas.JobListReply](t, r, "replay.ls", schemas.JobListRequest{}).Jobs) != 0 {
		t.Error("a refused request changed something")
	}
}

// copies makes a patch that grows a document beyond what can be sent.
func copies(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"op":"copy","from":"/a","path":"/c%d"},`, i)
	}
	return b.String()
}

// Discarding takes what is there, not what comes later, and tells before it deletes.
func TestDiscard(t *testing.T) {
	t.Parallel()
	r := newRig(t, swift(t), nil)
	outcomes := r.outcomesOf()
	r.bury(20, func(i int) schemas.DeadLetter { return aLetter(i, 2, 5) })
	cause := aLetter(0, 2, 5).Cause
	j := r.finished(r.create("dlq.discard", schemas.JobRequest{Filter: schemas.DeadFilter{Causes: []string{cause}}, Reason: "test data", Actor: "carol"}).ID)
	if j.State != "done" || j.Done != 10 || r.deadLeft() != 10 {
		t.Fatalf("job %+v, %d left", j, r.deadLeft())
	}
	for range 10 {
		o := wait(t, "discarded", outcomes, patience)
		if o.Kind != "discarded" || o.Note != "test data" || o.Actor != "carol" || o.Job != j.ID || o.Cause != cause || o.DeadLetterSequence == 0 {
			t.Errorf("outcome %+v", o)
		}
	}
	late := aLetter(100, 2, 5)
	r.bury(1, func(int) schemas.DeadLetter { return late })
	if g := must[schemas.DeadGroupsReply](t, r, "dlq.groups", schemas.DeadGroupsRequest{Filter: schemas.DeadFilter{Causes: []string{cause}}}); g.TotalLetters != 1 {
		t.Errorf("%d letters of the discarded cause, want the one that came later", g.TotalLetters)
	}
}

// An edit keeps the digits of large numbers, can be repeated, and the letter remembers what
// it was.
func TestEditTwiceThenReplay(t *testing.T) {
	t.Parallel()
	r := newRig(t, swift(t), nil)
	jobs := r.stream("JOBS", "jobs.>")
	r.bury(1, func(i int) schemas.DeadLetter {
		d := aLetter(i, 4, 5)
		d.Body = []byte(`{"big":12345678901234567890123,"f":1.10,"html":"<a&b>","old":1}`)
		return d
	})
	q := schemas.JobRequest{Set: map[string]string{"Tenant": "t99"}, Patch: json.RawMessage(`[{"op":"replace","path":"/old","value":2}]`), DryRun: true}
	plan := must[schemas.JobReply](t, r, "dlq.edit", q).Plan
	if len(plan.Samples) != 1 || plan.Samples[0].HeadersAfter.Get("Tenant") != "t99" || plan.Samples[0].HeadersBefore.Get("Tenant") != "t0" {
		t.Fatalf("plan %+v", plan)
	}
	q.DryRun = false
	if j := r.finished(r.create("dlq.edit", q).ID); j.State != "done" || j.Done != 1 {
		t.Fatalf("job %+v", j)
	}
	second := schemas.JobRequest{Set: map[string]string{"Tenant": "t100"}}
	if j := r.finished(r.create("dlq.edit", second).ID); j.State != "done" || j.Done != 1 || r.deadLeft() != 1 {
		t.Fatalf("job %+v", j)
	}
	l := must[schemas.DeadLetterItem](t, r, "dlq.show", schemas.DeadShowRequest{ID: "id-0"})
	if l.Headers.Get("Tenant") != "t100" || l.Aside.Get("Tenant") != "t0" || l.Aside.Get("Dead-Sequence") != "2" || len(l.Aside.Get("Body-Sha256")) != 64 {
		t.Errorf("letter %+v", l)
	}
	want := []byte(`{"big":12345678901234567890123,"f":1.10,"html":"<a&b>","old":2}`)
	if !bytes.Equal(l.Body, want) {
		t.Errorf("payload %s, want %s", l.Body, want)
	}
	if j := r.finished(r.create("replay.create", schemas.JobRequest{}).ID); j.Done != 1 {
		t.Fatalf("job %+v", j)
	}
	m, err := jobs.GetMsg(t.Context(), 1)
	if err != nil || !bytes.Equal(m.Data, want) || m.Header.Get("Tenant") != "t100" || m.Header.Get("Recovery-Original-Tenant") != "" {
		t.Errorf("replayed %s %v, %v", m.Data, m.Header, err)
	}
}

// A replay may change what it sends; the history leads to the original.
func TestReplayWithChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t, swift(t), nil)
	jobs := r.stream("JOBS", "jobs.>")
	r.bury(2, func(i int) schemas.DeadLetter {
		d := aLetter(i, 4, 5)
		d.Body = []byte(`{"old":1}`)
		return d
	})
	q := schemas.JobRequest{Set: map[string]string{"Tenant": "t99"}, Patch: json.RawMessage(`[{"op":"replace","path":"/old","value":2}]`)}
	j := r.finished(r.create("replay.create", q).ID)
	if j.Done != 2 || r.deadLeft() != 0 {
		t.Fatalf("job %+v", j)
	}
	m, err := jobs.GetMsg(t.Context(), 1)
	if err != nil || string(m.Data) != `{"old":2}` || m.Header.Get("Tenant") != "t99" {
		t.Fatalf("replayed %s %v, %v", m.Data, m.Header, err)
	}
	h, err := deadletter.ParseHistory(m.Header.Get(schemas.HeaderHistory))
	want := fmt.Sprintf("job %s: the original was dead letter 1 with a payload of sha256 %x", j.ID, sha256.Sum256([]byte(`{"old":1}`)))
	if err != nil || len(h) == 0 || !strings.Contains(h[len(h)-1].Error, want) {
		t.Errorf("history %v, %v, want %q at its end", h, err, want)
	}
}

// Empty payloads and headers with several values come back as they were.
func TestReplayKeepsEverything(t *testing.T) {
	t.Parallel()
	r := newRig(t, swift(t), nil)
	jobs := r.stream("JOBS", "jobs.>")
	r.bury(1, func(i int) schemas.DeadLetter {
		d := aLetter(i, 4, 5)
		d.Body, d.Header = nil, schemas.Header{"Many": {"b", "a", "b"}, "traceparent": {"00-1"}, "lower-CASE": {"x"}}
		return d
	})
	if j := r.finished(r.create("replay.create", schemas.JobRequest{}).ID); j.Done != 1 {
		t.Fatalf("job %+v", j)
	}
	m, err := jobs.GetMsg(t.Context(), 1)
	if err != nil || len(m.Data) != 0 || strings.Join(m.Header["Many"], "") != "bab" || m.Header["traceparent"] == nil || m.Header["lower-CASE"] == nil {
		t.Errorf("replayed %q %v, %v", m.Data, m.Header, err)
	}
}

// The letters of an outage go back by themselves when its breaker closes, once.
func TestAutoReplay(t *testing.T) {
	t.Parallel()
	p := swift(t, func(s *schemas.PolicySpec) {
		s.Breaker = schemas.BreakerSpec{FailureThreshold: number(3), ResetTimeout: duration(time.Second), HalfOpenTimeout: duration(100 * time.Millisecond), OutcomeTimeout: duration(300 * time.Millisecond)}
		s.DeadLetter = &schemas.DeadLetterSpec{AutoReplay: &schemas.AutoReplaySpec{Reasons: []string{"exhausted"}, Max: 4, Rate: 50}}
	})
	r := newRig(t, p, nil)
	jobs := r.stream("JOBS", "jobs.>")
	r.bury(1, func(i int) schemas.DeadLetter { d := aLetter(i, 4, 5); d.Subject = "jobs.other"; return d })
	r.bury(1, func(i int) schemas.DeadLetter { d := aLetter(1, 4, 5); d.Subject, d.Replay = "jobs.a", 1; return d })
	for i := range 6 { // each failure is a letter at once, and the third opens the breaker
		r.fail("jobs.a", fmt.Append(nil, i), "Recovery-Error", "down", "Recovery-Id", "w"+strconv.Itoa(i))
	}
	var j schemas.JobStatus
	deadline := time.Now().Add(patience)
	for ; ; time.Sleep(50 * time.Millisecond) { // jobs are looked at, not announced
		list := must[schemas.JobListReply](t, r, "replay.ls", schemas.JobListRequest{})
		if len(list.Jobs) > 0 {
			j = r.finished(list.Jobs[0].ID)
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no replay began by itself")
		}
	}
	if j.State != "done" || j.Done != 4 || j.Request.Actor != "auto_replay" || messages(t, jobs) != 4 || r.deadLeft() != 4 {
		t.Errorf("job %+v, %d at the target, %d left", j, messages(t, jobs), r.deadLeft())
	}
}

// It runs alone, as it measures.
func TestSpeedOfAReplay(t *testing.T) {
	r := newRig(t, swift(t), nil)
	r.stream("JOBS", "jobs.>")
	n := *manyLetters
	r.bury(n, func(i int) schemas.DeadLetter { return aLetter(i, 200, 50) })
	began := time.Now()
	j := r.create("replay.create", schemas.JobRequest{Filter: schemas.DeadFilter{Reasons: []string{schemas.ReasonExhausted}}})
	r.until(j.ID, "sent", func(j schemas.JobStatus) bool { return j.Done == int64(n) })
	took := time.Since(began)
	t.Logf("%d letters in %s: %.0f per second", n, took.Round(time.Millisecond), float64(n)/took.Seconds())
	j = r.finished(j.ID)
	if j.State != "done" || j.Followed.Presumed != int64(n) || r.deadLeft() != 0 {
		t.Errorf("job %+v", j)
	}
}
