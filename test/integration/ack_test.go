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
	t.Run("in the shard of the report", func(t *testing.T) {
		t.Parallel()
		acknowledgementsAreEvidence(t, "{subject}")
	})
	t.Run("in the shard of a key that groups", func(t *testing.T) {
		t.Parallel()
		acknowledgementsAreEvidence(t, "all-of-it")
	})
}

func acknowledgementsAreEvidence(t *testing.T, key string) {
	p := policies(t, schemas.PolicySpec{
		Name: "acked", Subjects: []string{"work.>"}, Retry: schemas.RetrySpec{Preset: "fast", InitialDelay: duration(700 * time.Millisecond)},
		Breaker:         schemas.BreakerSpec{Key: key, FailureThreshold: number(1000)},
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
	// Until the engine listens, acknowledgements go unheard: one of several works is seen.
	again := time.NewTicker(time.Second)
	defer again.Stop()
	deadline := time.After(time.Minute)
	for i := 0; ; {
		select {
		case <-again.C:
			if i++; i <= 20 {
				r.fail("work.a", text("%d", i), schemas.HeaderError, "down")
			}
		case o := <-outcomes:
			if o.Kind != schemas.KindRecovered {
				continue
			}
			if o.Attempt != 3 || o.Evidence != "ack" {
				t.Errorf("outcome %+v, want attempt 3 with evidence ack: attempt 2 was reported as failed", o)
			}
			return
		case <-deadline:
			t.Fatal("nothing recovered within a minute")
		}
	}
}
