package integration

import (
	"bytes"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

// A failure under the default policy comes back after about a second, twice, and ends as a
// dead letter that tells its whole history; every step is told.
func TestFailureLivesAndDies(t *testing.T) {
	t.Parallel()
	r := newRig(t, handlers.DefaultPolicies(), nil)
	r.stream("ORDERS", "orders.>")
	deliveries := make(chan jetstream.Msg, 10)
	r.consume("ORDERS", func(m jetstream.Msg) { deliveries <- m })
	outcomes := make(chan schemas.Outcome, 20)
	r.consume("RECOVERY_OUTCOMES", func(m jetstream.Msg) {
		o, _, err := schemas.ParseOutcome(m.Data())
		if err != nil {
			t.Errorf("outcome on %s: %v", m.Subject(), err)
		}
		outcomes <- o
	})
	body := []byte(`{"id":42}`)
	before := time.Now()
	r.fail("orders.new", body, "Recovery-Error", "connection refused", "Trace", "abc")

	first := wait(t, "first redelivery", deliveries, 5*time.Second)
	if waited := time.Since(before); waited < 500*time.Millisecond || waited > 1700*time.Millisecond {
		t.Errorf("the first redelivery came after %s, want 1 s ± 50 %%", waited)
	}
	h := schemas.Header(first.Headers())
	if first.Subject() != "orders.new" || !bytes.Equal(first.Data(), body) || h.Get("Recovery-Attempt") != "2" || h.Get("Recovery-Id") == "" || h.Get("Trace") != "abc" {
		t.Errorf("redelivery: %s %q %v", first.Subject(), first.Data(), h)
	}
	r.failAgain(first, "connection refused")
	second := wait(t, "second redelivery", deliveries, 5*time.Second)
	if got := schemas.Header(second.Headers()).Get("Recovery-Attempt"); got != "3" {
		t.Errorf("attempt %s, want 3", got)
	}
	r.failAgain(second, "connection reset")

	for i, want := range []struct {
		kind    string
		attempt int
	}{{"redelivered", 2}, {"redelivered", 3}, {"dead", 3}} {
		o := wait(t, want.kind, outcomes, 5*time.Second)
		if o.Kind != want.kind || o.Attempt != want.attempt || o.ID != h.Get("Recovery-Id") {
			t.Errorf("outcome %d is %+v, want %+v", i, o, want)
		}
	}
	dead, err := r.bus.ReadDead(t.Context(), 1, 10, ">")
	if err != nil || len(dead) != 1 {
		t.Fatalf("%d dead letters, %v", len(dead), err)
	}
	letter, err := schemas.ParseDeadLetter(&dead[0])
	if err != nil {
		t.Fatal(err)
	}
	history, err := deadletter.ParseHistory(letter.History)
	if err != nil || len(history) != 3 {
		t.Errorf("history %s: %v", letter.History, err)
	}
	if letter.Reason != schemas.ReasonExhausted || !bytes.Equal(letter.Body, body) || letter.Error != "connection reset" || letter.Header.Get("Trace") != "abc" {
		t.Errorf("dead letter %+v", letter)
	}
}
