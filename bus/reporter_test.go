package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

func newReporter(t testing.TB, nc *nats.Conn, o bus.ReporterOptions) *bus.Reporter {
	t.Helper()
	r, err := bus.NewReporter(nc, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// storedReport reads a report as the daemon does.
func storedReport(t testing.TB, nc *nats.Conn, seq uint64) (schemas.Failure, nats.Header) {
	t.Helper()
	s, err := jetStream(t, nc).Stream(t.Context(), "RECOVERY_FAILED")
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetMsg(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	withoutPlace(m.Header)
	reader := schemas.Reader{Subjects: names}
	return reader.Failure(&schemas.Stored{Message: schemas.Message{Subject: m.Subject, Header: schemas.Header(m.Header), Body: m.Data}, Sequence: m.Sequence, Time: m.Time}), m.Header
}

// withoutPlace removes what a direct get adds.
func withoutPlace(h nats.Header) {
	for _, name := range []string{"Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp"} {
		delete(h, name)
	}
}

func TestErrorsTellWhatTheyAre(t *testing.T) {
	t.Parallel()
	_, nc := start(t)
	r := newReporter(t, nc, bus.ReporterOptions{})
	plain := errors.New("connection refused")
	long := strings.Repeat("ü", 2000)
	for i, c := range []struct {
		err               error
		text, class, code string
		hint              time.Duration
	}{
		{err: nil, class: "transient"},
		{err: plain, text: "connection refused", class: "transient"},
		{err: errors.New("two\r\nlines"), text: "two  lines", class: "transient"},
		{err: errors.New(long), text: long[:2*1000], class: "transient"},
		{err: bus.Permanent(plain), text: "connection refused", class: "permanent"},
		{err: bus.Ignored(plain), text: "connection refused", class: "ignored"},
		{err: bus.Throttled(plain, 2500*time.Millisecond), text: "connection refused", class: "throttled", hint: 2500 * time.Millisecond},
		{err: bus.Throttled(plain, 0), text: "connection refused", class: "throttled"},
		{err: bus.Throttled(plain, -1), text: "connection refused", class: "throttled", hint: -1},
		{err: bus.WithCode(plain, "ECONNREFUSED"), text: "connection refused", class: "transient", code: "ECONNREFUSED"},
		{err: fmt.Errorf("charge: %w", bus.WithCode(bus.Throttled(plain, time.Second), "429")), text: "charge: connection refused", class: "throttled", code: "429", hint: time.Second},
		{err: bus.Permanent(bus.Throttled(plain, time.Second)), text: "connection refused", class: "permanent"},
		{err: errors.Join(plain, bus.Permanent(bus.WithCode(errors.New("bad"), "422"))), text: "connection refused bad", class: "permanent", code: "422"},
		{err: fmt.Errorf("query: %w", context.DeadlineExceeded), text: "query: context deadline exceeded", class: "timeout"},
		{err: &net.DNSError{Err: "slow", Name: "db", IsTimeout: true}, text: "lookup db: slow", class: "timeout"},
		{err: nats.ErrTimeout, text: "nats: timeout", class: "timeout"},
		{err: bus.Permanent(context.DeadlineExceeded), text: "context deadline exceeded", class: "permanent"},
	} {
		if _, err := r.FailedMsg(t.Context(), &nats.Msg{Subject: "orders.new"}, c.err); err != nil {
			t.Fatal(err)
		}
		f, _ := storedReport(t, nc, uint64(i+1))
		if f.Error != c.text || f.Class != c.class || f.Code != c.code || f.Hint != c.hint || len(f.Faults) > 0 {
			t.Errorf("%v: read as %q, class %q, code %q, hint %v, faults %q", c.err, f.Error, f.Class, f.Code, f.Hint, f.Faults)
		}
		if c.err != nil && (bus.Permanent(c.err).Error() != c.err.Error() || !errors.Is(bus.WithCode(c.err, "x"), c.err)) {
			t.Errorf("a mark changes the error %v", c.err)
		}
	}
	if bus.Permanent(nil) != nil || bus.Ignored(nil) != nil || bus.Throttled(nil, 1) != nil || bus.WithCode(nil, "x") != nil {
		t.Error("a mark makes an error of nil")
	}
}

func TestReportsEchoWhatMustTravel(t *testing.T) {
	t.Parallel()
	_, nc := start(t)
	r := newReporter(t, nc, bus.ReporterOptions{})
	body := []byte{0, 1, 255, '\n'}
	given := nats.Header{
		"Nats-Msg-Id": {"42"}, "nats-rollup": {"all"}, "Nats-Expected-Stream": {"X"}, "KV-Operation": {"DEL"}, "status": {"503"}, "Description": {"x"},
		"traceparent": {"00-1"}, "X-Many": {"a", "b"}, "x(y)": {"lost"},
		"Recovery-Id": {"work-1"}, "recovery-attempt": {"3"}, "Recovery-Seal": {"s"}, "Recovery-Error": {"of the fallback before"}, "recovery-code": {"old"},
	}
	before := time.Now()
	id, err := r.FailedMsg(t.Context(), &nats.Msg{Subject: "orders.new", Header: given, Data: body}, errors.New("now"))
	if err != nil || id != "work-1" {
		t.Fatal(id, err)
	}
	f, h := storedReport(t, nc, 1)
	if f.Subject != "orders.new" || !bytes.Equal(f.Body, body) || f.ID != "work-1" || f.Attempt != 3 || f.Error != "now" || f.Code != "" {
		t.Errorf("read as %+v", f)
	}
	if at := f.OccurredAt; at.Before(before.Truncate(0)) || at.After(time.Now()) {
		t.Errorf("occurred at %v, reported after %v", at, before)
	}
	for name := range h {
		switch name {
		case "traceparent", "X-Many", "Recovery-Id", "Recovery-Attempt", "Recovery-Seal", "Recovery-Error", "Recovery-Occurred-At", "Recovery-Truncated":
		default:
			t.Errorf("%s: %q is in the report", name, h[name])
		}
	}
	if len(h["X-Many"]) != 2 || h.Get("Recovery-Truncated") != "x%28y%29" {
		t.Errorf("headers %v", h)
	}
	if len(given) != 14 || given.Get("Recovery-Error") != "of the fallback before" {
		t.Error("the reporter changed the message")
	}
}

func TestReportsOfStreamsSayWhereFrom(t *testing.T) {
	t.Parallel()
	_, nc := start(t)
	js := jetStream(t, nc)
	c := workConsumer(t, js, "ORDERS", "orders.>", jetstream.ConsumerConfig{})
	if _, err := js.Publish(t.Context(), "orders.new", []byte("x"), jetstream.WithMsgID("application's own")); err != nil {
		t.Fatal(err)
	}
	m, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	r := newReporter(t, nc, bus.ReporterOptions{})
	first, err := r.Failed(t.Context(), m, errors.New("x"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.Failed(t.Context(), m, errors.New("x"))
	if err != nil {
		t.Fatal(err)
	}
	f, h := storedReport(t, nc, 1)
	if want := (schemas.Origin{Stream: "ORDERS", Consumer: "worker", Sequence: 1, Deliveries: 1}); f.Origin != want {
		t.Errorf("from %+v, want %+v", f.Origin, want)
	}
	// Who reports without an id gets the one that the daemon derives: it is the same.
	delete(h, schemas.HeaderID)
	reader := schemas.Reader{Subjects: names}
	derived := reader.Failure(&schemas.Stored{Message: schemas.Message{Subject: names.Intake(1, "orders.new"), Header: schemas.Header(h)}, Sequence: 99})
	if first != again || first != f.ID || first != derived.ID {
		t.Errorf("ids %q, %q, stored %q, derived %q", first, again, f.ID, derived.ID)
	}
}

func TestReportsOfNothingKnownHaveNewIDs(t *testing.T) {
	t.Parallel()
	_, nc := start(t)
	r := newReporter(t, nc, bus.ReporterOptions{})
	seen := map[string]bool{}
	for _, given := range []string{"", "", "not usable", strings.Repeat("x", 129)} {
		m := nats.NewMsg("orders.new")
		m.Header.Set(schemas.HeaderID, given)
		id, err := r.FailedMsg(t.Context(), m, nil)
		if err != nil || seen[id] || !schemas.CheckID(id) {
			t.Errorf("id %q, %v", id, err)
		}
		seen[id] = true
		if f, _ := storedReport(t, nc, uint64(len(seen))); f.ID != id || len(f.Faults) > 0 {
			t.Errorf("stored as %q, faults %q, want %q", f.ID, f.Faults, id)
		}
	}
}

func TestSuccessReports(t *testing.T) {
	t.Parallel()
	_, nc := start(t)
	r := newReporter(t, nc, bus.ReporterOptions{})
	m := nats.NewMsg("orders.new")
	m.Data = []byte("payload")
	m.Header = nats.Header{"Recovery-Id": {"work-1"}, "Recovery-Attempt": {"2"}, "Recovery-Seal": {"s"}, "Nats-Msg-Id": {"1"}, "Big": {strings.Repeat("x", 60<<10)}}
	if err := r.SucceededMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	s, err := jetStream(t, nc).Stream(t.Context(), "RECOVERY_SUCCEEDED")
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	withoutPlace(got.Header)
	if got.Subject != "recovery.succeeded.orders.new" || len(got.Data) > 0 || len(got.Header) != 3 || got.Header.Get("Recovery-Seal") != "s" {
		t.Errorf("stored %s %q %v", got.Subject, got.Data, got.Header)
	}
}

func TestReportsAreRepeatedUnchanged(t *testing.T) {
	t.Parallel()
	nc := dial(t, startServer(t).URL())
	requests := make(chan *nats.Msg, 10)
	sub, err := nc.Subscribe("recovery.failed.>", func(m *nats.Msg) {
		requests <- m
		if len(requests) >= 2 {
			_ = m.Respond([]byte(`{"stream":"S","seq":1}`))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	r := newReporter(t, nc, bus.ReporterOptions{Timeout: 50 * time.Millisecond})
	id, err := r.FailedMsg(t.Context(), nats.NewMsg("orders.new"), errors.New("x"))
	if err != nil {
		t.Fatal(err)
	}
	a, b := receive(t, requests), receive(t, requests)
	if a.Header.Get("Recovery-Id") != id || fmt.Sprint(a.Header) != fmt.Sprint(b.Header) {
		t.Errorf("repeated %v as %v", a.Header, b.Header)
	}
	if err := sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
}

func TestReportsThatCannotBeStored(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	r := newReporter(t, nc, bus.ReporterOptions{})
	quick := newReporter(t, nc, bus.ReporterOptions{Prefix: "nobody", Tries: 2})
	if r.MaxBody() != b.MaxBody() {
		t.Errorf("largest body %d, want %d", r.MaxBody(), b.MaxBody())
	}
	big := &nats.Msg{Subject: "orders.new", Data: make([]byte, r.MaxBody()-400)}
	if _, err := r.FailedMsg(t.Context(), big, errors.New("x")); err != nil {
		t.Errorf("body of %d bytes: %v", len(big.Data), err)
	}
	big.Data = make([]byte, r.MaxBody())
	_, err := r.FailedMsg(t.Context(), big, errors.New("x"))
	wantError(t, err, schemas.ErrTooLarge, "orders.new", "max_payload", "reference")
	_, err = quick.FailedMsg(t.Context(), nats.NewMsg("orders.new"), nil)
	wantError(t, err, schemas.ErrNoStream, "orders.new", "2 tries", "start recoveryd", "nobody")
	wantError(t, quick.SucceededMsg(t.Context(), nats.NewMsg("orders.new")), schemas.ErrNoStream, "success of orders.new")
	for _, subject := range []string{"", "a.*", "$JS.API.INFO", "_INBOX.x", "recovery.failed.x", strings.Repeat("x", 600)} {
		if _, err := r.FailedMsg(t.Context(), nats.NewMsg(subject), nil); err == nil || !strings.Contains(err.Error(), "never be redelivered") {
			t.Errorf("%.20q: %v", subject, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.FailedMsg(ctx, nats.NewMsg("orders.new"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	nc.Close()
	_, err = r.FailedMsg(t.Context(), nats.NewMsg("orders.new"), nil)
	wantError(t, err, schemas.ErrClosed, "orders.new")
}

func TestReporterOptionsNameAllFaults(t *testing.T) {
	t.Parallel()
	_, err := bus.NewReporter(nil, bus.ReporterOptions{Prefix: "a.*", Timeout: -1, Tries: 101})
	for _, field := range []string{"Prefix", "Timeout", "Tries"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v does not name %s", err, field)
		}
	}
}
