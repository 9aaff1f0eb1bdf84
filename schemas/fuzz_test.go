package schemas

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// lines makes a header of a fuzzer's text, one "name: value" per line.
func lines(text string) Header {
	h := Header{}
	for l := range strings.SplitSeq(text, "\n") {
		if name, value, ok := strings.Cut(l, ":"); ok {
			h[name] = append(h[name], strings.TrimSpace(value))
		}
	}
	return h
}

func asLines(h Header) string {
	var b strings.Builder
	for name, values := range h {
		for _, v := range values {
			b.WriteString(name + ": " + v + "\n")
		}
	}
	return b.String()
}

// sane is what must hold of everything that was read of a report.
func sane(t *testing.T, f *Failure) {
	t.Helper()
	switch {
	case !CheckID(f.ID):
		t.Fatalf("id %q", f.ID)
	case f.Attempt < 1 || f.Attempt > LastAttempt || f.Delivery < 1 || f.Replay < 0 || f.Fallback < NoFallback:
		t.Fatalf("attempt %d, delivery %d, replay %d, fallback %d", f.Attempt, f.Delivery, f.Replay, f.Fallback)
	case !f.Sealed && (f.Generation != 0 || f.Probe || f.Replay != 0 || f.Held != 0 || f.History != "" || f.Fallback != NoFallback || f.Subject != f.Intake):
		t.Fatalf("state without a seal: %+v", f)
	case !knownClass(f.Class):
		t.Fatalf("class %q", f.Class)
	case f.OccurredAt.After(f.At) || f.OccurredAt.Before(f.At.Add(-time.Minute)):
		t.Fatalf("occurred at %v, reported at %v", f.OccurredAt, f.At)
	case f.Hint < -1 || f.Hint > maxHint || !f.HasHint && f.Hint != 0:
		t.Fatalf("hint %v", f.Hint)
	case utf8.RuneCountInString(f.Error) > MaxErrorRunes || !utf8.ValidString(f.Error) || strings.ContainsAny(f.Error+f.Code+f.Origin.Stream, "\r\n\x00"):
		t.Fatalf("error %q, code %q", f.Error, f.Code)
	case f.Header.Size() > MaxUserHeaders || f.Header.Size()+f.Barred.Size() > MaxUserHeaders:
		t.Fatalf("%d bytes of headers", f.Header.Size()+f.Barred.Size())
	}
	for name, values := range f.Header {
		if !validName(name) || !travels(name) || hasPrefixFold(name, HeaderPrefix) && name != HeaderTruncated {
			t.Fatalf("%q travels", name)
		}
		for _, v := range values {
			if strings.ContainsAny(v, "\r\n") {
				t.Fatalf("%s = %q", name, v)
			}
		}
	}
	for kind, m := range map[string]Message{
		"delivery": NewSealer(testKey).Message(&f.Work, Delivery{Target: "a", Attempt: 2, Number: 2, Fallback: 0, Step: StepFallback}),
		"letter":   subjects.DeadLetterMessage(&DeadLetter{Work: f.Work, Reason: ReasonExhausted, Cause: "01234567"}),
	} {
		if wireSize(m.Header) > serverHeaderLimit || !bytes.Equal(m.Body, f.Body) {
			t.Fatalf("%s of %d bytes", kind, wireSize(m.Header))
		}
	}
}

func FuzzFailure(f *testing.F) {
	f.Add("recovery.intake.0.orders.new", asLines(delivered(f, NoFallback)), []byte("body"))
	f.Add("recovery.intake.0.orders.slow", asLines(delivered(f, 1)), []byte(""))
	f.Add("recovery.intake.0.a", "recovery-attempt: x\nRECOVERY-ID: \nRecovery-Retry-After: 1e999\nNats-Rollup: all\nX: \xff\n☃: 1", []byte{0xff})
	f.Add("$JS.API.STREAM.DELETE.X", "Content-Type: application/cloudevents+json", []byte(failureEvent(`{"id":"1","body_json":[]}`)))
	f.Add("", "", []byte(nil))
	f.Fuzz(func(t *testing.T, subject, header string, body []byte) {
		m := &Stored{Message: Message{Subject: subject, Header: lines(header), Body: body}, Sequence: 1, Time: noon}
		got := reader().Failure(m)
		sane(t, &got)
		if again := reader().Failure(m); mustOneLine(again) != mustOneLine(got) {
			t.Fatalf("read twice: %+v and %+v", got, again)
		}
		if got.Sealed {
			got.Unseal()
			sane(t, &got)
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	for _, data := range []string{
		`{}`, `{"id":"1","attempt":2,"error":"e\r\n","body":"x","headers":{"a":"b","Nats-TTL":"1s"}}`, `{"body_base64":"/w=="}`, `{"body_json":{"a":1e999}}`,
		`{"attempt":-9223372036854775808,"retry_after":"-1","occurred_at":"0000-01-01T00:00:00Z"}`, `null`,
	} {
		f.Add([]byte(failureEvent(data)))
	}
	f.Add([]byte(`{"type":"io.recoveryd.v1.failure"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got := reader().Failure(report(headers("Content-Type", ContentTypeEvent), string(body)))
		sane(t, &got)
		if len(got.Body) > len(body) {
			t.Fatalf("a body of %d bytes out of %d", len(got.Body), len(body))
		}
		if got.Malformed != "" && !bytes.Equal(got.Body, body) {
			t.Fatal("a malformed envelope was changed")
		}
	})
}

func FuzzParseOutcome(f *testing.F) {
	o := Outcome{Kind: KindDead, ID: "1", Subject: "a", Reason: ReasonExhausted, Cause: "01234567"}
	m := subjects.OutcomeMessage(&o, nil, noon)
	f.Add(m.Body)
	f.Add([]byte(`{"specversion":"1.0","type":"io.recoveryd.v1.outcome.","data":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		o, e, err := ParseOutcome(body)
		if err == nil && (o.ID == "" || o.Kind == "" || e.Type != TypeOutcomePrefix+o.Kind) {
			t.Fatalf("read %+v of %+v", o, e)
		}
		if err == nil {
			sameAsMarshal(t, &o)
		}
	})
}

func FuzzParseBreakerEvent(f *testing.F) {
	m, err := subjects.BreakerMessage(&BreakerEvent{Policy: "p", Key: "a", From: "closed", To: "open", Generation: 1}, noon)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Body)
	f.Add([]byte(`{"specversion":"1.0","type":"io.recoveryd.v1.breaker.","data":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		b, e, err := ParseBreakerEvent(body)
		if err == nil && (b.Key == "" || b.To == "" || e.Type != TypeBreakerPrefix+b.name()) {
			t.Fatalf("read %+v of %+v", b, e)
		}
	})
}

func FuzzParseEntry(f *testing.F) {
	e := Entry{Work: benchWork(), Step: StepRetry, Due: noon, Key: "a", Record: &Record{Class: ClassTimeout}}
	e.Barred = headers("Nats-Msg-Id", "1")
	m := e.Message("recovery.ledger.0.signal")
	f.Add(asLines(m.Header), []byte("body"))
	f.Add(`Recovery-Entry: {"id":"1","s":"a","st":"retry"}`, []byte(nil))
	f.Add("Recovery-Entry: {", []byte(nil))
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		e, err := ParseEntry(&Stored{Message: Message{Subject: "recovery.ledger.0.signal", Header: lines(header), Body: body}, Sequence: 1})
		if err != nil {
			return
		}
		if e.ID == "" || e.Subject == "" || e.Step == "" || !bytes.Equal(e.Body, body) {
			t.Fatalf("read %+v", e)
		}
		m := e.Message("recovery.ledger.0.signal")
		if _, err := ParseEntry(&Stored{Message: m}); err != nil {
			t.Fatalf("cannot be read again: %v", err)
		}
	})
}

func FuzzParseDeadLetter(f *testing.F) {
	d := DeadLetter{Work: benchWork(), Reason: ReasonExhausted, Cause: "01234567", DeadAt: noon, Truncated: []string{"X"}}
	d.Barred = headers("Nats-Msg-Id", "1", "a b", "2")
	f.Add(asLines(subjects.DeadLetterMessage(&d).Header), []byte("body"))
	f.Add("Recovery-Id: 1\nRecovery-Original-%zz: 1\nRecovery-Truncated: ,,%", []byte(nil))
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		d, err := ParseDeadLetter(&Stored{Message: Message{Header: lines(header), Body: body}, Sequence: 1})
		if err != nil {
			return
		}
		if d.ID == "" || d.Subject == "" || d.Reason == "" || d.Cause == "" || d.Attempt < 0 || d.Delivery < 0 || d.Fallback < NoFallback {
			t.Fatalf("read %+v", d)
		}
		if m := subjects.DeadLetterMessage(&d); !bytes.Equal(m.Body, body) || wireSize(m.Header) > serverHeaderLimit {
			t.Fatalf("stored again with %d bytes of headers", wireSize(m.Header))
		}
	})
}

func FuzzSuccess(f *testing.F) {
	f.Add("recovery.succeeded.orders.new", asLines(delivered(f, NoFallback)))
	f.Add("recovery.succeeded.", "Recovery-Attempt: -1\nrecovery-id: \x01")
	f.Fuzz(func(t *testing.T, subject, header string) {
		s, err := reader().Success(&Stored{Message: Message{Subject: subject, Header: lines(header)}, Sequence: 1, Time: noon})
		if err != nil {
			return
		}
		if s.Subject == "" || !CheckID(s.ID) || s.Attempt < 1 || s.Delivery < 1 || s.Fallback < NoFallback || !s.Sealed && (s.Generation != 0 || s.Probe) {
			t.Fatalf("read %+v", s)
		}
	})
}

func FuzzUnescape(f *testing.F) {
	for _, s := range []string{"", "=", "a=2Eb", "=.=", "=Z", "a="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		plain, err := Unescape(s)
		if err != nil {
			return
		}
		if back, err := Unescape(Escape(plain)); err != nil || back != plain {
			t.Fatalf("%q became %q, %v", plain, back, err)
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"0", "2d12h", "36500d2562047h47m16s", "-5s", "1.5h", "d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		if d < 0 && strings.Contains(s, "d") {
			t.Fatalf("%q overflows to %v", s, d)
		}
		if back, err := ParseDuration(d.String()); err != nil || back != d {
			t.Fatalf("%q became %v, %v", s, back, err)
		}
	})
}

func FuzzParseLedger(f *testing.F) {
	for _, s := range []string{subjects.Due(1, 1772366400), subjects.Held(0, "a"), subjects.Signal(7), subjects.DeadLane(1), "recovery.ledger.01.due.+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		lane, err := subjects.ParseLedger(subject)
		if err != nil {
			return
		}
		again := map[string]string{
			LaneDue: subjects.Due(lane.Shard, lane.Second), LaneHeld: subjects.ledger(lane.Shard) + "held." + lane.Hash,
			LaneSignal: subjects.Signal(lane.Shard), LaneDead: subjects.DeadLane(lane.Shard),
		}[lane.Kind]
		if again != subject || CheckLiteral(subject) != nil {
			t.Fatalf("%q is read as %+v", subject, lane)
		}
	})
}

// FuzzPlainEntry holds the fast reading of an entry against encoding/json.
func FuzzPlainEntry(f *testing.F) {
	h := entryHeader{ID: "1", Subject: "a", Step: StepRetry, Code: "é", Source: 1, Record: &Record{}}
	for _, text := range []string{
		string(h.appendJSON(nil)), `{"id":"1","s":"a","st":"retry","due":-5,"src":18446744073709551615}`, `{"a":01}`, `{"a":+1}`, `{"src":01}`, `{"src":}`,
		`{"ID":"1"}`, `{"id":"1" }`, `{"id":"\u0031"}`, `{"id":1}`, `{"a":"1"}`, `{}`, `{"a":1,}`, `{"a":1}}`, `{"a":9223372036854775808}`, `{"a":-0}`, `{"a":1_0}`,
		`{"o":{"stream":"A","consumer":"b","sequence":7,"deliveries":2}}`, `{"o":{}}`, `{"o":{"o":{"stream":"A"}}}`, `{"o":{"sequence":-1}}`, `{"o":{"stream":"A"},"o":{"consumer":"b"}}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var fast, slow entryHeader
		if !fast.readPlain(text) {
			return
		}
		if err := json.Unmarshal([]byte(text), &slow); err != nil || fast != slow {
			t.Fatalf("%q was read as %+v, want %+v, %v", text, fast, slow, err)
		}
	})
}
