package schemas

import (
	"bytes"
	"testing"
)

func benchWork() Work {
	return Work{
		ID: "order-42", Subject: "orders.new", Attempt: 2, Delivery: 2, Fallback: NoFallback, FirstFailedAt: noon, LastFailedAt: noon,
		Error: "dial tcp 10.0.0.7:5432: connect: connection refused", Code: "ECONNREFUSED", Class: ClassTransient,
		History: `[{"t":"2026-03-01T12:00:00Z","n":1,"e":"dial tcp 10.0.0.7:5432: connect: connection refused","d":1000}]`,
		Origin:  Origin{Stream: "ORDERS", Consumer: "worker", Sequence: 42, Deliveries: 1},
		Header:  headers("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "Content-Type", "application/json", "X-Tenant", "acme"),
		Body:    bytes.Repeat([]byte("x"), 1024),
	}
}

var benchDelivery = Delivery{Target: "orders.new", Attempt: 3, MaxAttempts: 8, Number: 3, Generation: 1772366400000, Fallback: NoFallback, Step: StepRetry}

func BenchmarkReadFirstReport(b *testing.B) {
	w := benchWork()
	h := w.Header.Clone()
	h.Set(HeaderError, w.Error)
	h.Set(HeaderCode, w.Code)
	m, r := report(h, string(w.Body)), reader()
	b.ReportAllocs()
	for b.Loop() {
		if f := r.Failure(m); f.Attempt != 1 {
			b.Fatal("misread")
		}
	}
}

func BenchmarkReadSealedReport(b *testing.B) {
	w := benchWork()
	m, r := stored(NewSealer(testKey).Message(&w, benchDelivery), 42), reader()
	m.Subject = subjects.Intake(3, w.Subject)
	m.Header.Set(HeaderError, w.Error)
	delete(m.Header, HeaderMsgID)
	b.ReportAllocs()
	for b.Loop() {
		if f := r.Failure(m); !f.Sealed {
			b.Fatal("not believed")
		}
	}
}

func BenchmarkSealDelivery(b *testing.B) {
	w, s := benchWork(), NewSealer(testKey)
	b.ReportAllocs()
	for b.Loop() {
		if m := s.Message(&w, benchDelivery); m.Subject == "" {
			b.Fatal("no message")
		}
	}
}

func BenchmarkEntryThereAndBack(b *testing.B) {
	e := Entry{Work: benchWork(), Step: StepRetry, Due: noon, Attempt: 3, Number: 3, Key: "orders.new", Policy: "default", Source: 42}
	b.ReportAllocs()
	for b.Loop() {
		m := e.Message("recovery.ledger.3.due.1772366400")
		if _, err := ParseEntry(&Stored{Message: m, Sequence: 1, Time: noon}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPageThereAndBack is one entry of a page of twenty.
func BenchmarkPageThereAndBack(b *testing.B) {
	e := Entry{Work: benchWork(), Step: StepRetry, Due: noon, Attempt: 3, Number: 3, Key: "orders.new", Policy: "default", Source: 42}
	b.ReportAllocs()
	p := NewPage(20 * e.Stored())
	for b.Loop() {
		if p.Add(&e); p.entries < 20 {
			continue
		}
		if entries, err := ParseEntries(&Stored{Message: p.Message("recovery.ledger.3.due.1772366400"), Sequence: 1, Time: noon}); err != nil || len(entries) != 20 {
			b.Fatal(len(entries), err)
		}
		p = NewPage(20 * e.Stored())
	}
}

func BenchmarkTellOutcome(b *testing.B) {
	w := benchWork()
	o := Outcome{
		Kind: KindRedelivered, ID: w.ID, Subject: w.Subject, Attempt: 3, MaxAttempts: 8, Delivery: 3, Policy: "default", Error: w.Error, Code: w.Code,
		Class: w.Class, DelayMS: 1000, DueAt: formatTime(noon), Target: w.Subject, Key: w.Subject, FirstFailedAt: formatTime(noon),
	}
	b.ReportAllocs()
	for b.Loop() {
		subjects.OutcomeMessage(&o, &w, noon)
	}
}

func BenchmarkStoreDeadLetter(b *testing.B) {
	d := DeadLetter{Work: benchWork(), Reason: ReasonExhausted, Cause: "0badcafe", Policy: "default", DeadAt: noon}
	b.ReportAllocs()
	for b.Loop() {
		if m := subjects.DeadLetterMessage(&d); m.Subject == "" {
			b.Fatal("no message")
		}
	}
}
