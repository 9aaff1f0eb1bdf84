package clients

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

// What a Go worker does with its error is all it takes: some orders recover, some end as
// dead letters, and everything is told.
func TestGoWorker(t *testing.T) {
	t.Parallel()
	const n = 200
	r := newRig(t)
	consumer := r.orders(0)
	outcomes := r.outcomes(bus.ListenOptions{})
	reporter, err := bus.NewReporter(r.nc, bus.ReporterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	calls := map[string]int{}
	handler := func(_ context.Context, m jetstream.Msg) error {
		mu.Lock()
		calls[m.Subject()]++
		mu.Unlock()
		attempt := m.Headers().Get(schemas.HeaderAttempt)
		switch kind := strings.Split(m.Subject(), ".")[1]; {
		case kind == "fine":
			return nil
		case kind == "twice" && attempt == "3":
			return nil
		case kind == "malformed":
			return bus.Permanent(bus.WithCode(errors.New("no product"), "422"))
		case kind == "panics" && attempt != "":
			panic("always")
		}
		return errors.New("connection refused")
	}
	stopped := make(chan error, 1)
	go func() {
		stopped <- bus.Consume(ctx, consumer, reporter, handler, bus.ConsumeOptions{Concurrency: 16, ReportSuccess: true})
	}()
	kinds := []string{"fine", "twice", "malformed", "panics", "always"}
	for i := range n {
		r.publish(fmt.Sprintf("orders.%s.%d", kinds[i%5], i), "{}")
	}
	for subject, o := range r.terminal(outcomes, n*4/5) {
		want, wantCalls := "", 3
		switch strings.Split(subject, ".")[1] {
		case "twice":
			want = "recovered attempt 3 report"
		case "malformed":
			want, wantCalls = "dead attempt 1 permanent 422", 1
		case "panics":
			want = "dead attempt 3 exhausted panic"
		case "always":
			want = "dead attempt 3 exhausted"
		}
		if got := strings.TrimSpace(fmt.Sprintf("%s attempt %d %s %s", o.Kind, o.Attempt, o.Reason+o.Evidence, o.Code)); got != want {
			t.Errorf("%s ended as %q, want %q", subject, got, want)
		}
		mu.Lock()
		if calls[subject] != wantCalls {
			t.Errorf("%s was handled %d times, want %d", subject, calls[subject], wantCalls)
		}
		mu.Unlock()
	}
	cancel()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	nothingLeft(t, consumer)
}

// Reporting the same message twice makes one redelivery, whoever reports, with an id or
// without.
func TestReportingTwiceIsHarmless(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	consumer := r.orders(0)
	outcomes := r.outcomes(bus.ListenOptions{Kinds: []string{schemas.KindRedelivered}})
	ends := r.outcomes(bus.ListenOptions{Kinds: []string{schemas.KindDead}})
	reporter, err := bus.NewReporter(r.nc, bus.ReporterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.publish("orders.new", "{}")
	m, err := consumer.Next()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := reporter.Failed(t.Context(), m, errors.New("refused")); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Ack(); err != nil {
		t.Fatal(err)
	}
	again, err := consumer.Next()
	if err != nil || again.Headers().Get(schemas.HeaderAttempt) != "2" {
		t.Fatalf("redelivered %v, %v", again, err)
	}
	if o, err := outcomes.Next(t.Context()); err != nil || o.ID != again.Headers().Get(schemas.HeaderID) {
		t.Errorf("told %+v, %v", o, err)
	}
	if _, err := reporter.Failed(t.Context(), again, bus.Permanent(errors.New("end"))); err != nil {
		t.Fatal(err)
	}
	r.terminal(ends, 1)
	stream, err := r.js.Stream(t.Context(), "ORDERS")
	if err != nil {
		t.Fatal(err)
	}
	if held := stream.CachedInfo().State.Msgs; held != 2 {
		t.Errorf("ORDERS holds %d messages, want the order and one redelivery", held)
	}
}

// Who drops the headers starts a new life each time, as the documentation warns.
func TestDroppedHeadersBeginANewLife(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	consumer := r.orders(0)
	lives := map[string]bool{}
	for range 4 { // more than the policy's attempts
		if _, err := r.js.Publish(t.Context(), "recovery.failed.orders.new", []byte("{}")); err != nil {
			t.Fatal(err)
		}
		m, err := consumer.Next()
		if err != nil || m.Headers().Get(schemas.HeaderAttempt) != "2" {
			t.Fatalf("redelivered %v, %v", m, err)
		}
		lives[m.Headers().Get(schemas.HeaderID)] = true
		if err := m.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	if len(lives) != 4 {
		t.Errorf("lives %v, want four", lives)
	}
}
