package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

var manyLetters = flag.Int("letters", 20_000, "dead letters in the tests of browsing; what the limits are promised for is 1000000")

// ask sends a request to the control API of the rig's engine, as its JSON would come.
func ask[R any](t testing.TB, r *rig, name string, request any) (reply R, err error) {
	t.Helper()
	data, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := r.engine.API()[name](t.Context(), data)
	if err != nil {
		return reply, err
	}
	if data, err = json.Marshal(answer); err != nil {
		t.Fatal(err)
	}
	if len(data) > 1<<20 {
		t.Fatalf("the reply to %s has %d bytes, more than a message can hold", name, len(data))
	}
	if err := json.Unmarshal(data, &reply); err != nil {
		t.Fatal(err)
	}
	return reply, nil
}

// must is ask for what has to succeed.
func must[R any](t testing.TB, r *rig, name string, request any) R {
	t.Helper()
	reply, err := ask[R](t, r, name, request)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return reply
}

// refusal is the error that a request gets.
func refusal(t testing.TB, r *rig, name string, request any) *schemas.APIError {
	t.Helper()
	_, err := ask[json.RawMessage](t, r, name, request)
	var fault *schemas.APIError
	if !errors.As(err, &fault) {
		t.Fatalf("%s answers %v, want a refusal", name, err)
	}
	return fault
}

// aLetter is the n-th of a series over some causes and subjects.
func aLetter(n, causes, subjectCount int) schemas.DeadLetter {
	failed := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Millisecond)
	class := []string{schemas.ClassTransient, schemas.ClassTimeout}[n%2]
	text := fmt.Sprintf("cannot reach the service q%cq%cq of order %d", 'a'+n%causes/26, 'a'+n%causes%26, n)
	return schemas.DeadLetter{
		Work: schemas.Work{
			ID: "id-" + strconv.Itoa(n), Subject: fmt.Sprintf("jobs.s%d", n/causes%subjectCount), Attempt: 3, Delivery: 3, Fallback: schemas.NoFallback,
			FirstFailedAt: failed, LastFailedAt: failed, Error: text, Code: strconv.Itoa(500 + n%4), Class: class,
			Header: schemas.Header{"Tenant": {"t" + strconv.Itoa(n%10)}}, Body: fmt.Appendf(nil, `{"n":%d}`, n),
		},
		Reason: schemas.ReasonExhausted, Cause: deadletter.Cause(schemas.ReasonExhausted, text), Policy: "default", DeadAt: failed,
	}
}

// bury stores letters, many at a time.
func (r *rig) bury(n int, letter func(i int) schemas.DeadLetter) {
	r.t.Helper()
	var wg sync.WaitGroup
	places := make(chan struct{}, 4096)
	for i := range n {
		d := letter(i)
		m := subjects.DeadLetterMessage(&d)
		places <- struct{}{}
		wg.Add(1)
		r.bus.Publish(m, func(_ schemas.Ack, err error) {
			if err != nil {
				r.t.Errorf("store letter %d: %v", i, err)
			}
			<-places
			wg.Done()
		})
	}
	wg.Wait()
}

func (r *rig) deadLeft() uint64 {
	r.t.Helper()
	state, err := r.bus.DeadState(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return state.Messages
}

// within does what is promised to take at most a time. On a busy machine one of three times
// is enough.
func within(t *testing.T, what string, most time.Duration, do func()) {
	t.Helper()
	var took time.Duration
	for range 3 {
		began := time.Now()
		do()
		took = time.Since(began)
		t.Logf("%s took %s", what, took.Round(time.Millisecond))
		if took <= most {
			return
		}
	}
	t.Errorf("%s took %s, at most %s is promised", what, took, most)
}

// It runs alone, as it measures.
func TestBrowseManyLetters(t *testing.T) {
	const causes, subjectCount = 200, 50
	r := newRig(t, handlers.DefaultPolicies(), nil)
	n := *manyLetters
	r.bury(n, func(i int) schemas.DeadLetter { return aLetter(i, causes, subjectCount) })

	within(t, "groups by cause", 2*time.Second, func() {
		g := must[schemas.DeadGroupsReply](t, r, "dlq.groups", schemas.DeadGroupsRequest{Limit: 500})
		if len(g.Groups) != causes || g.TotalLetters != uint64(n) || g.Partial || g.LastSequence != uint64(n) {
			t.Fatalf("%d groups of %d letters, partial %v", len(g.Groups), g.TotalLetters, g.Partial)
		}
		first := g.Groups[0]
		if first.Count != uint64(n/causes) || !strings.HasPrefix(first.Error, "cannot reach") || first.Reason != schemas.ReasonExhausted || len(first.Subjects) != 10 ||
			first.More != min(subjectCount, n/causes)-10 || first.Policies[0] != "default" || first.FirstAt >= first.LastAt {
			t.Errorf("group %+v", first)
		}
	})
	within(t, "groups by cause and subject", 2*time.Second, func() {
		g := must[schemas.DeadGroupsReply](t, r, "dlq.groups", schemas.DeadGroupsRequest{By: "both", Limit: 100})
		if g.TotalGroups != causes*subjectCount || len(g.Groups) != 100 || g.Groups[99].FirstAt == "" {
			t.Errorf("%d groups, %d shown, the last %+v", g.TotalGroups, len(g.Groups), g.Groups[len(g.Groups)-1])
		}
	})
	cause := aLetter(7, causes, subjectCount).Cause
	within(t, "a page by cause and subject", time.Second, func() {
		page := must[schemas.DeadListReply](t, r, "dlq.ls", schemas.DeadListRequest{
			Filter: schemas.DeadFilter{Causes: []string{cause}, Subject: "jobs.s2"}, Limit: 10})
		if len(page.Letters) == 0 {
			t.Error("no letters")
		}
		for _, l := range page.Letters {
			if l.Cause != cause || l.Subject != "jobs.s2" {
				t.Errorf("letter %+v", l)
			}
		}
	})
	within(t, "a page by class and code", time.Second, func() {
		page := must[schemas.DeadListReply](t, r, "dlq.ls", schemas.DeadListRequest{
			Filter: schemas.DeadFilter{Classes: []string{schemas.ClassTimeout}, Codes: []string{"503"}, Headers: map[string]string{"Tenant": "t7"}}, Limit: 20, Details: true})
		if len(page.Letters) != 20 || page.Next == 0 {
			t.Fatalf("%d letters, next %d", len(page.Letters), page.Next)
		}
		for _, l := range page.Letters {
			if l.Class != schemas.ClassTimeout || l.Code != "503" || l.Headers.Get("Tenant") != "t7" || l.Body != nil || !l.Hidden {
				t.Errorf("letter %+v", l)
			}
		}
	})
	within(t, "a page that finds nothing", time.Second, func() {
		page := must[schemas.DeadListReply](t, r, "dlq.ls", schemas.DeadListRequest{Filter: schemas.DeadFilter{Error: "no such text"}})
		if len(page.Letters) != 0 || page.Scanned < n && page.Next == 0 {
			t.Errorf("%d letters, %d scanned of %d, next %d", len(page.Letters), page.Scanned, n, page.Next)
		}
	})
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		for line := range strings.Lines(string(status)) {
			if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "VmHWM") {
				t.Log(strings.TrimSpace(line), "(of the embedded server and the test, too)")
			}
		}
	}
}

func TestPagesReachEveryLetter(t *testing.T) {
	t.Parallel()
	r := newRig(t, handlers.DefaultPolicies(), nil)
	const n = 2_500
	r.bury(n, func(i int) schemas.DeadLetter { return aLetter(i, 5, 3) })
	seen := map[string]bool{}
	for from := uint64(0); ; {
		page := must[schemas.DeadListReply](t, r, "dlq.ls", schemas.DeadListRequest{Filter: schemas.DeadFilter{Classes: []string{schemas.ClassTimeout}}, From: from, Limit: 300})
		for _, l := range page.Letters {
			if seen[l.ID] {
				t.Fatalf("%s is on two pages", l.ID)
			}
			seen[l.ID] = true
		}
		if from = page.Next; from == 0 {
			break
		}
	}
	if len(seen) != n/2 {
		t.Errorf("%d letters on all pages, want %d", len(seen), n/2)
	}
}

// A payload is shown byte for byte, whatever it holds and however large it is.
func TestShowKeepsPayloads(t *testing.T) {
	t.Parallel()
	r := newRig(t, handlers.DefaultPolicies(), nil)
	bodies := [][]byte{{}, []byte(`{"id":12345678901234567890}`), {0, 255, 254, '\n', '"'}, bytes.Repeat([]byte("0123456789abcdef"), 60<<10)}
	r.bury(len(bodies), func(i int) schemas.DeadLetter {
		d := aLetter(i, 5, 3)
		d.Body = bodies[i]
		return d
	})
	for i, want := range bodies {
		var got []byte
		for {
			l := must[schemas.DeadLetterItem](t, r, "dlq.show", schemas.DeadShowRequest{ID: "id-" + strconv.Itoa(i), Offset: len(got)})
			if got = append(got, l.Body...); len(got) == l.Size {
				break
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("payload %d: %d bytes differ from the %d stored", i, len(got), len(want))
		}
	}
	page := must[schemas.DeadListReply](t, r, "dlq.ls", schemas.DeadListRequest{Payload: true})
	if len(page.Letters) != len(bodies) || !bytes.Equal(page.Letters[1].Body, bodies[1]) || !page.Letters[3].Partial || page.Letters[3].Body != nil {
		t.Errorf("a page with payloads: %d letters", len(page.Letters))
	}
	if l := must[schemas.DeadLetterItem](t, r, "dlq.show", schemas.DeadShowRequest{Sequence: 2, Hide: true}); l.Body != nil || !l.Hidden || l.Size != len(bodies[1]) {
		t.Errorf("hidden payload: %+v", l)
	}
}

func TestBadRequestsAboutLetters(t *testing.T) {
	t.Parallel()
	r := newRig(t, handlers.DefaultPolicies(), nil)
	for _, c := range []struct {
		name, request, field string
		code                 int
	}{
		{"dlq.ls", `{"limit":1001}`, "limit", 400},
		{"dlq.ls", `{"filter":{"subject":"a..b"}}`, "filter.subject", 400},
		{"dlq.ls", `{"filter":{"causes":["xyz"]}}`, "filter.causes[0]", 400},
		{"dlq.ls", `{"filter":{"reasons":["because"]}}`, "filter.reasons[0]", 400},
		{"dlq.ls", `{"filter":{"since":"yesterday"}}`, "filter.since", 400},
		{"dlq.ls", `{"filter":{"since":"1h","until":"2h"}}`, "filter.until", 400},
		{"dlq.ls", `{"filter":{"couse":["x"]}}`, "couse", 400},
		{"dlq.groups", `{"by":"colour"}`, "by", 400},
		{"dlq.show", `{}`, "sequence", 400},
		{"dlq.show", `{"sequence":99}`, "99", 404},
		{"dlq.show", `{"id":"nobody"}`, "nobody", 404},
	} {
		fault := refusal(t, r, c.name, json.RawMessage(c.request))
		if fault.Code != c.code || !strings.Contains(fault.Message, c.field) {
			t.Errorf("%s %s: %d %s, want %d naming %s", c.name, c.request, fault.Code, fault.Message, c.code, c.field)
		}
	}
}

// What is exported and imported again is the same in every byte, also right after it was
// discarded, when the store still remembers its message id.
func TestExportAndImport(t *testing.T) {
	t.Parallel()
	r := newRig(t, swift(t), nil)
	r.bury(5, func(i int) schemas.DeadLetter {
		d := aLetter(i, 4, 5)
		d.Body = [][]byte{nil, {0, 1, 255}, []byte(`{"n":12345678901234567890}`), []byte("é"), bytes.Repeat([]byte{7}, 100<<10)}[i]
		d.Header = schemas.Header{"Many": {"b", "a", "b"}, "x-low": {"1"}, "Empty": {""}}
		d.Barred = schemas.Header{"Nats-TTL": {"5"}}
		return d
	})
	before, err := r.bus.ReadDead(t.Context(), 1, 10, "")
	if err != nil {
		t.Fatal(err)
	}
	page := must[schemas.DeadExportReply](t, r, "dlq.export", schemas.DeadExportRequest{})
	if len(page.Letters) != 5 || page.Next != 0 {
		t.Fatalf("%d letters, next %d", len(page.Letters), page.Next)
	}
	if again := must[schemas.DeadImportReply](t, r, "dlq.import", schemas.DeadImportRequest{Letters: page.Letters}); again.Present != 5 || again.Stored != 0 {
		t.Errorf("import of what is there: %+v", again)
	}
	if j := r.finished(r.create("dlq.discard", schemas.JobRequest{Reason: "test"}).ID); j.Done != 5 || r.deadLeft() != 0 {
		t.Fatalf("job %+v", j)
	}
	if again := must[schemas.DeadImportReply](t, r, "dlq.import", schemas.DeadImportRequest{Letters: page.Letters}); again.Stored != 5 || len(again.Faults) != 0 {
		t.Fatalf("import: %+v", again)
	}
	for _, want := range before {
		l, err := r.bus.LastDead(t.Context(), want.Subject)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(l.Body, want.Body) {
			t.Errorf("payload of %s is %q, was %q", want.Header.Get("Recovery-Id"), l.Body, want.Body)
		}
		for name, values := range want.Header {
			if name != "Nats-Msg-Id" && !slices.Equal(l.Header[name], values) {
				t.Errorf("%s: %q, was %q", name, l.Header[name], values)
			}
		}
	}
	for name, spoil := range map[string]func(*schemas.DeadExport){
		"subject":     func(x *schemas.DeadExport) { x.Subject = "orders.new" },
		"acted":       func(x *schemas.DeadExport) { x.Headers = append(x.Headers, []string{"Nats-Rollup", "all"}) },
		"headers[0]":  func(x *schemas.DeadExport) { x.Headers = [][]string{{"alone"}} },
		"line break":  func(x *schemas.DeadExport) { x.Headers = append(x.Headers, []string{"A", "b\r\nNats-Rollup: all"}) },
		"Recovery-Id": func(x *schemas.DeadExport) { x.Headers = [][]string{{"A", "b"}} },
	} {
		bad := page.Letters[1]
		bad.Headers = slices.Clone(bad.Headers)
		spoil(&bad)
		fault := refusal(t, r, "dlq.import", schemas.DeadImportRequest{Letters: []schemas.DeadExport{page.Letters[0], bad}})
		if fault.Code != 400 || !strings.Contains(fault.Message, "letters[1]") || name != "acted" && !strings.Contains(fault.Message, name) {
			t.Errorf("%s: %d %s", name, fault.Code, fault.Message)
		}
	}
	if r.deadLeft() != 5 {
		t.Error("a refused import changed something")
	}
}
