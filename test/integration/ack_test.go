package integration

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/schemas"
)

// The acknowledgements of a consumer are success evidence: a redelivery that was
// acknowledged and not reported as failed has recovered.
func TestAcknowledgementsAreEvidence(t *testing.T) {
	t.Parallel()
	p := policies(t, schemas.PolicySpec{
		Name: "acked", Subjects: []string{"work.>"}, Retry: schemas.RetrySpec{Preset: "fast", InitialDelay: duration(700 * time.Millisecond)},
		SuccessEvidence: "ack", Ack: &schemas.AckSpec{Stream: "WORK", Consumer: "worker"},
	})
	r := newRig(t, p, nil)
	stream := r.stream("WORK", "work.>")
	consumer, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy, SampleFrequency: "100%",
	})
	if err != nil {
		t.Fatal(err)
	}
	r.engine.SetPolicies(p) // the consumer is there now: look for it at once
	outcomes := r.outcomesOf()
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		if schemas.Header(m.Headers()).Get(schemas.HeaderAttempt) == "2" {
			r.failAgain(m, "still down") // a failed delivery is acknowledged too, after its report
		}
		if err := m.Ack(); err != nil {
			t.Errorf("ack: %v", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer consuming.Stop()
	r.fail("work.a", []byte("x"), schemas.HeaderError, "down")
	for _, want := range []struct {
		kind    string
		attempt int
	}{{"redelivered", 2}, {"redelivered", 3}, {"recovered", 3}} {
		o := wait(t, want.kind, outcomes, 60*time.Second)
		if o.Kind != want.kind || o.Attempt != want.attempt {
			t.Fatalf("outcome %+v, want %+v", o, want)
		}
		if o.Kind == schemas.KindRecovered && o.Evidence != "ack" {
			t.Errorf("evidence %q", o.Evidence)
		}
	}
}
