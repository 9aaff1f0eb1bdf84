package handlers

import (
	"bytes"
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

func benchFailure(at time.Time) schemas.Failure {
	h := schemas.Header{"traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, "X-Tenant": {"acme"}}
	return schemas.Failure{
		Work: schemas.Work{
			ID: "order-42", Subject: "orders.new", Attempt: 1, Delivery: 1, Fallback: schemas.NoFallback, FirstFailedAt: at, LastFailedAt: at,
			Error: "dial tcp 10.0.0.7:5432: connect: connection refused", Class: schemas.ClassTransient, Header: h, Body: bytes.Repeat([]byte("x"), 1024),
		},
		Intake: "orders.new", At: at, OccurredAt: at,
	}
}

func BenchmarkDecide(b *testing.B) {
	p := compile(schemas.PolicyDocument{Version: 1, Policies: []schemas.PolicySpec{{
		Name: "all", Subjects: []string{">"}, Classify: []schemas.ClassifySpec{{Code: []string{"429"}, Class: "throttled"}},
	}}}).Named("all")
	f := benchFailure(time.Unix(1772366400, 0))
	b.ReportAllocs()
	for b.Loop() {
		if v := decide(p, &f, classify(p, &f)); v.step != schemas.StepRetry {
			b.Fatal(v.step)
		}
	}
}

// BenchmarkRecovery is all that a shard does for one failure, without the bus: it takes the
// report, waits, releases, tells the outcome, and acknowledges.
func BenchmarkRecovery(b *testing.B) {
	now := time.Unix(1772366400, 0)
	s := newShard(shardConfig{
		shards: 1, subjects: simSubjects, sealer: schemas.NewSealer([]byte("key")), near: 5 * time.Second, memory: 96 << 20,
		maxNear: 50_000, inflight: 4096, sparse: sparse, view: newView(),
	}, compile(schemas.PolicyDocument{Version: 1, Policies: []schemas.PolicySpec{{Name: "all", Subjects: []string{">"}}}}))
	s.boot(now, checkpoint{books: books(simSubjects.IntakeParts(0), intakeRecord{})}, nil, 0, nil)
	sequence := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		sequence++
		f := benchFailure(now)
		f.Sequence = sequence
		s.failure(now, 0, &f)
		now = now.Add(2 * time.Second)
		s.tick(now)
		for effects := s.effects(); len(effects) > 0; effects = s.effects() {
			for i := range effects {
				switch e := &effects[i]; e.kind {
				case effPublish:
					s.published(now, e.item, schemas.Ack{Sequence: sequence}, nil)
				case effCheckpoint:
					s.saved(now, sequence, false, nil)
				case effTrim:
					s.trimmed(now, *e, nil)
				}
			}
			s.tick(now)
		}
	}
	if settled := s.intake.books[0].floor(); settled != sequence {
		b.Fatalf("%d of %d settled", settled, sequence)
	}
}
