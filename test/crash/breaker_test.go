package crash

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/schemas"
)

// guarded is a policy whose breaker stays open for longer than it takes to replace a
// daemon that was killed.
func guarded() schemas.PolicySpec {
	threshold, reset, delay := 3, schemas.Duration(20*time.Second), schemas.Duration(100*time.Millisecond)
	return schemas.PolicySpec{
		Name: "guarded", Subjects: []string{"guarded.>"}, Retry: schemas.RetrySpec{InitialDelay: &delay},
		Breaker: schemas.BreakerSpec{FailureThreshold: &threshold, ResetTimeout: &reset},
	}
}

// TestBreakerStaysOpen kills the daemon while a breaker is open: the next one holds what is
// due, and the breaker turns half open when the first one said it would, not later.
func TestBreakerStaysOpen(t *testing.T) {
	t.Parallel()
	_, url := start(t, "server", t.TempDir(), "127.0.0.1:0")
	daemon, _ := start(t, "daemon", url)
	_, js := client(t, url)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "GUARDED", Subjects: []string{"guarded.>"}}); err != nil {
		t.Fatal(err)
	}
	consumer, err := js.OrderedConsumer(t.Context(), "RECOVERY_OUTCOMES", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan jetstream.Msg, 100)
	consuming, err := consumer.Consume(func(m jetstream.Msg) { events <- m })
	if err != nil {
		t.Fatal(err)
	}
	defer consuming.Stop()
	next := func(subject string) jetstream.Msg {
		t.Helper()
		late := time.After(90 * time.Second)
		for {
			select {
			case m := <-events:
				if strings.HasPrefix(m.Subject(), subject) {
					return m
				}
				if strings.HasPrefix(m.Subject(), "recovery.breakers.") {
					t.Fatalf("%s, before %s: %s", m.Subject(), subject, m.Data())
				}
			case <-late:
				t.Fatalf("no %s", subject)
			}
		}
	}
	fail := func(id string) {
		t.Helper()
		m := nats.NewMsg(subjects.Failed("guarded.a"))
		m.Header.Set(schemas.HeaderID, id)
		m.Header.Set(schemas.HeaderError, "connection refused")
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"a", "b", "c"} {
		fail(id)
	}
	opened, _, err := schemas.ParseBreakerEvent(next("recovery.breakers.opened.guarded.a").Data())
	if err != nil {
		t.Fatal(err)
	}
	until, err := time.Parse(time.RFC3339Nano, opened.OpenUntil)
	if err != nil {
		t.Fatal(err)
	}
	stateStored(t, js)
	daemon.kill()
	daemon.start()
	fail("later")
	for {
		o, _, err := schemas.ParseOutcome(next("recovery.outcomes.held.guarded.a").Data())
		if err != nil {
			t.Fatal(err)
		}
		if o.ID == "later" {
			break
		}
	}
	half := next("recovery.breakers.half_open.guarded.a")
	meta, err := half.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	after := meta.Timestamp.Sub(until)
	t.Logf("half open %s after the time it was to stay open until", after.Round(time.Millisecond))
	if after < 0 || after > 2*time.Second {
		t.Errorf("half open %s after %s, want at that time", after, opened.OpenUntil)
	}
}

// stateStored waits until the state of a breaker is stored: the event that tells of it is
// published at the same time, and may be seen first.
func stateStored(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	bucket, err := js.KeyValue(t.Context(), "RECOVERY_STATE")
	if err != nil {
		t.Fatal(err)
	}
	w, err := bucket.Watch(t.Context(), "breaker.>")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	late := time.After(90 * time.Second)
	for {
		select {
		case entry := <-w.Updates():
			if entry != nil {
				return
			}
		case <-late:
			t.Fatal("the state of the breaker was not stored")
		}
	}
}
