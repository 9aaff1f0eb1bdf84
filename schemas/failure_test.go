package schemas

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestReportHeaders(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 2000)
	for _, c := range []struct {
		name, value string
		fault       bool
		ok          func(f *Failure) bool
	}{
		{HeaderError, "connection refused", false, func(f *Failure) bool { return f.Error == "connection refused" }},
		{HeaderError, " a\tb\x00c\u0085d ", false, func(f *Failure) bool { return f.Error == "a b c d" }},
		{HeaderError, "bad \xff byte", false, func(f *Failure) bool { return f.Error == "bad \uFFFD byte" }},
		{HeaderError, long, false, func(f *Failure) bool { return f.Error == long[:2*MaxErrorRunes] }},
		{HeaderError, "", false, func(f *Failure) bool { return f.Error == "" }},
		{HeaderCode, "ECONNREFUSED", false, func(f *Failure) bool { return f.Code == "ECONNREFUSED" }},
		{HeaderCode, strings.Repeat("9", 99), false, func(f *Failure) bool { return len(f.Code) == MaxCode }},
		{HeaderClass, "", false, func(f *Failure) bool { return f.Class == ClassTransient }},
		{HeaderClass, "permanent", false, func(f *Failure) bool { return f.Class == ClassPermanent }},
		{HeaderClass, " Throttled ", false, func(f *Failure) bool { return f.Class == ClassThrottled }},
		{HeaderClass, "fatal", true, func(f *Failure) bool { return f.Class == ClassTransient }},
		{HeaderOccurredAt, "2026-03-01T11:59:30.25Z", false, func(f *Failure) bool { return f.OccurredAt.Equal(time.Date(2026, 3, 1, 11, 59, 30, 25e7, time.UTC)) }},
		{HeaderOccurredAt, "2026-03-01T12:59:30+01:00", false, func(f *Failure) bool { return f.OccurredAt.Equal(time.Date(2026, 3, 1, 11, 59, 30, 0, time.UTC)) }},
		{HeaderOccurredAt, "1970-01-01T00:00:00Z", false, func(f *Failure) bool { return f.OccurredAt.Equal(noon.Add(-time.Minute)) }},
		{HeaderOccurredAt, "2126-01-01T00:00:00Z", false, func(f *Failure) bool { return f.OccurredAt.Equal(noon) }},
		{HeaderOccurredAt, "yesterday", true, func(f *Failure) bool { return f.OccurredAt.Equal(noon) }},
		{HeaderStream, "ORDERS", false, func(f *Failure) bool { return f.Origin.Stream == "ORDERS" }},
		{HeaderConsumer, "worker", false, func(f *Failure) bool { return f.Origin.Consumer == "worker" }},
		{HeaderSequence, "7", false, func(f *Failure) bool { return f.Origin.Sequence == 7 }},
		{HeaderSequence, "-7", true, func(f *Failure) bool { return f.Origin.Sequence == 0 }},
		{HeaderSequence, "99999999999999999999", true, func(f *Failure) bool { return f.Origin.Sequence == 0 }},
		{HeaderDeliveries, "5", false, func(f *Failure) bool { return f.Origin.Deliveries == 5 }},
		{HeaderDeliveries, "many", true, func(f *Failure) bool { return f.Origin.Deliveries == 0 }},
		{HeaderID, "order-42", false, func(f *Failure) bool { return f.ID == "order-42" }},
		{HeaderID, strings.Repeat("x", 128), false, func(f *Failure) bool { return len(f.ID) == 128 }},
		{HeaderID, strings.Repeat("x", 129), true, func(f *Failure) bool { return len(f.ID) == 26 }},
		{HeaderID, "a b", true, func(f *Failure) bool { return len(f.ID) == 26 }},
		{HeaderID, "ü", true, func(f *Failure) bool { return len(f.ID) == 26 }},
		{HeaderAttempt, "1", false, func(f *Failure) bool { return f.Attempt == 1 && f.Delivery == 1 }},
		{HeaderAttempt, "3", false, func(f *Failure) bool { return f.Attempt == 3 && f.Delivery == 3 }},
		{HeaderAttempt, "3 ", false, func(f *Failure) bool { return f.Attempt == 3 }},
		{HeaderAttempt, "", true, func(f *Failure) bool { return f.Attempt == LastAttempt && f.Delivery == 1 }},
		{HeaderAttempt, "0", true, func(f *Failure) bool { return f.Attempt == LastAttempt }},
		{HeaderAttempt, "-1", true, func(f *Failure) bool { return f.Attempt == LastAttempt }},
		{HeaderAttempt, "two", true, func(f *Failure) bool { return f.Attempt == LastAttempt }},
		{HeaderAttempt, "1.5", true, func(f *Failure) bool { return f.Attempt == LastAttempt }},
		{HeaderAttempt, "2147483648", true, func(f *Failure) bool { return f.Attempt == LastAttempt }},
		{HeaderAttempt, "99999999999999999999", true, func(f *Failure) bool { return f.Attempt == LastAttempt }},
		// State without a seal is nobody's.
		{HeaderSubject, "payments.new", false, func(f *Failure) bool { return f.Subject == "orders.new" }},
		{HeaderFallback, "0", false, func(f *Failure) bool { return f.Fallback == NoFallback }},
		{HeaderProbe, "1", false, func(f *Failure) bool { return !f.Probe }},
		{HeaderRamp, "1", false, func(f *Failure) bool { return !f.Ramp }},
		{HeaderGeneration, "9", false, func(f *Failure) bool { return f.Generation == 0 }},
		{HeaderReplay, "9", false, func(f *Failure) bool { return f.Replay == 0 }},
		{HeaderDelivery, "9", false, func(f *Failure) bool { return f.Delivery == 1 }},
		{HeaderHeld, "9", false, func(f *Failure) bool { return f.Held == 0 }},
		{HeaderHistory, "[]", false, func(f *Failure) bool { return f.History == "" }},
		{HeaderFirstFailedAt, "2020-01-01T00:00:00Z", false, func(f *Failure) bool { return f.FirstFailedAt.Equal(noon) }},
		{HeaderMaxAttempts, "999", false, func(f *Failure) bool { return f.Attempt == 1 }},
		{HeaderSeal, "AAAAAAAAAAAAAAAAAAAAAA", true, func(f *Failure) bool { return !f.Sealed }},
	} {
		for _, name := range []string{c.name, strings.ToLower(c.name), strings.ToUpper(c.name), strings.Replace(c.name, "-Id", "-ID", 1)} {
			f := reader().Failure(report(headers(name, c.value), "body"))
			if !c.ok(&f) || (len(f.Faults) > 0) != c.fault || f.Malformed != "" {
				t.Errorf("%s: %.40q was read as %+v", name, c.value, f)
			}
			if c.fault && !strings.HasPrefix(f.Faults[0], c.name+": ") {
				t.Errorf("%s: the fault %q does not name the header", name, f.Faults[0])
			}
			if string(f.Body) != "body" || len(f.Header) != 0 || !CheckID(f.ID) {
				t.Errorf("%s: body %q, headers %v, id %q", name, f.Body, f.Header, f.ID)
			}
		}
	}
}

func TestBareReport(t *testing.T) {
	t.Parallel()
	f := reader().Failure(report(nil, ""))
	if f.Intake != "orders.new" || f.Subject != "orders.new" || f.Attempt != 1 || f.Delivery != 1 || f.Fallback != NoFallback || f.Class != ClassTransient {
		t.Errorf("read %+v", f)
	}
	if !f.At.Equal(noon) || !f.OccurredAt.Equal(noon) || !f.FirstFailedAt.Equal(noon) || !f.LastFailedAt.Equal(noon) || f.Sequence != 42 || f.HasHint {
		t.Errorf("read %+v", f)
	}
	stray := report(nil, "")
	stray.Subject = "elsewhere"
	if f := reader().Failure(stray); f.Malformed == "" || f.Intake != "elsewhere" || !CheckID(f.ID) {
		t.Errorf("read %+v", f)
	}
}

// A header sent twice, or in two cases, must not be read differently by two replicas.
func TestSameHeaderInSeveralCases(t *testing.T) {
	t.Parallel()
	for range 50 {
		f := reader().Failure(report(headers("recovery-id", "low", "Recovery-Id", "exact", "RECOVERY-ID", "high"), ""))
		if f.ID != "exact" {
			t.Fatalf("took %q", f.ID)
		}
		f = reader().Failure(report(headers("recovery-id", "low", "RECOVERY-ID", "high", "recoverY-id", "mixed"), ""))
		if f.ID != "high" {
			t.Fatalf("took %q", f.ID)
		}
	}
	f := reader().Failure(report(Header{"Recovery-Attempt": {"2", "9"}, "Recovery-Code": {}, "recovery-code": {"x"}}, ""))
	if f.Attempt != 2 {
		t.Errorf("attempt %d", f.Attempt)
	}
}

func TestHints(t *testing.T) {
	t.Parallel()
	year := 366 * 24 * time.Hour
	for v, want := range map[string]time.Duration{
		"0": 0, "7": 7 * time.Second, "0.25": 250 * time.Millisecond, " 7 ": 7 * time.Second, "+7": 7 * time.Second, "1e3": 1000 * time.Second,
		"1m30s": 90 * time.Second, "250ms": 250 * time.Millisecond, "0s": 0,
		"Sun, 01 Mar 2026 12:00:10 GMT": 10*time.Second - 123456789, "Sunday, 01-Mar-26 12:00:10 GMT": 10*time.Second - 123456789,
		"Sun Mar  1 12:00:10 2026": 10*time.Second - 123456789, "2026-03-01T12:01:00.123456789Z": time.Minute, "2026-03-01T13:01:00.123456789+01:00": time.Minute,
		"Sun, 01 Mar 2026 11:00:00 GMT": 0, "2020-01-01T00:00:00Z": 0,
		"-1": -1, "-0.0000000001": -1, "-1e999": -1, "-5s": -1, "-1h": -1,
		"1e15": year, "1e308": year, "1e999": year, strings.Repeat("9", 400): year, "9000h": year, "9999-12-31T23:59:59Z": year,
	} {
		f := reader().Failure(report(headers(HeaderRetryAfter, v), ""))
		if !f.HasHint || f.Hint != want || len(f.Faults) > 0 {
			t.Errorf("%.40q: %v %v %q, want %v", v, f.HasHint, f.Hint, f.Faults, want)
		}
	}
	for _, v := range []string{"soon", "NaN", "-nan", "Inf", "+Inf", "-infinity", "5 minutes", "1d", " ", "9999999999h", "0x", "2026-03-01", "☃"} {
		f := reader().Failure(report(headers(HeaderRetryAfter, v), ""))
		if f.HasHint || f.Hint != 0 || len(f.Faults) != 1 {
			t.Errorf("%q: %v %v %q", v, f.HasHint, f.Hint, f.Faults)
		}
	}
	if f := reader().Failure(report(headers(HeaderRetryAfter, ""), "")); f.HasHint || len(f.Faults) > 0 {
		t.Errorf("an empty hint is %+v", f)
	}
}

func TestWhatTravels(t *testing.T) {
	t.Parallel()
	user := Header{
		"traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, "tracestate": {"a=1,b=2"}, "baggage": {"user=ü%20x"},
		"X-Many": {"one", "two", "one"}, "x-many": {"low"}, "Content-Type": {"application/json"}, "X-Empty": {""}, "X-Bytes": {"\xff\x01"},
		"Natsy": {"1"}, "Statuses": {"1"}, "recovery": {"mine"},
	}
	barred := Header{
		"Nats-Msg-Id": {"42"}, "nats-rollup": {"all"}, "NATS-TTL": {"1s"}, "Nats-Expected-Last-Sequence": {"1"}, "nAtS-": {"x"},
		"KV-Operation": {"DEL"}, "kv-operation": {"PURGE"}, "Status": {"503"}, "STATUS": {"408"}, "description": {"gone", "again"},
		"bad name": {"1"}, "a/b": {"1"}, "ü": {"1"},
	}
	all := headers(HeaderError, "e")
	for _, h := range []Header{user, barred} {
		for name, values := range h {
			all[name] = values
		}
	}
	f := reader().Failure(report(all, "b"))
	if mustOneLine(f.Header) != mustOneLine(user) {
		t.Errorf("travel: %v", f.Header)
	}
	if mustOneLine(f.Barred) != mustOneLine(barred) {
		t.Errorf("barred: %v", f.Barred)
	}
	m := NewSealer(testKey).Message(&f.Work, Delivery{Target: "orders.new", Attempt: 2, MaxAttempts: 3, Number: 2, Fallback: NoFallback, Step: StepRetry})
	for name := range m.Header {
		if !validName(name) || !travels(name) && name != HeaderMsgID {
			t.Errorf("%q is on a delivery", name)
		}
	}
	for name, values := range user {
		if !slices.Equal(m.Header[name], values) {
			t.Errorf("%s is delivered as %q", name, m.Header[name])
		}
	}
	for _, name := range []string{HeaderError, HeaderCode, HeaderClass, HeaderRetryAfter, HeaderOccurredAt, HeaderStream, HeaderConsumer, HeaderSequence, HeaderDeliveries} {
		if m.Header[name] != nil {
			t.Errorf("%s would go stale on a delivery", name)
		}
	}
}

func TestTooManyHeaders(t *testing.T) {
	t.Parallel()
	h := headers("X-Big", strings.Repeat("b", 30<<10), "X-Bigger", strings.Repeat("b", 31<<10), "X-Small", "s", "traceparent", "00-1", "Nats-Note", strings.Repeat("n", 1<<10))
	f := reader().Failure(report(h, "body"))
	if !slices.Equal(f.Truncated, []string{"X-Bigger"}) || f.Header.Get(HeaderTruncated) != "X-Bigger" {
		t.Errorf("truncated %q, header %q", f.Truncated, f.Header.Get(HeaderTruncated))
	}
	if f.Header.Get("X-Small") != "s" || len(f.Header.Get("X-Big")) != 30<<10 || f.Barred.Get("Nats-Note") == "" || string(f.Body) != "body" {
		t.Errorf("kept %d bytes, barred %d", f.Header.Size(), f.Barred.Size())
	}
	// What must not travel never costs the user a header that does.
	f = reader().Failure(report(headers("X-Big", strings.Repeat("b", 55<<10), "Nats-Big", strings.Repeat("n", 8<<10)), ""))
	if !slices.Equal(f.Truncated, []string{"Nats-Big"}) || len(f.Header.Get("X-Big")) != 55<<10 {
		t.Errorf("truncated %q", f.Truncated)
	}
	// The note stays with the work and grows.
	next := report(headers("Recovery-Truncated", "X-Bigger,odd%2Cname", "X-Huge", strings.Repeat("h", 57<<10)), "")
	f = reader().Failure(next)
	if f.Header.Get(HeaderTruncated) != "X-Bigger,X-Huge,odd%2Cname" || !slices.Equal(f.Truncated, []string{"X-Huge"}) {
		t.Errorf("noted %q", f.Header.Get(HeaderTruncated))
	}
	many := Header{}
	for i := range 6000 {
		many["H"+strings.Repeat("x", i%7)+time.Duration(i).String()] = []string{"v"}
	}
	if f = reader().Failure(report(many, "")); f.Header.Size() > MaxUserHeaders || len(f.Header.Get(HeaderTruncated)) > maxTruncated {
		t.Errorf("%d bytes kept, %d noted", f.Header.Size(), len(f.Header.Get(HeaderTruncated)))
	}
}

func TestDerivedIDs(t *testing.T) {
	t.Parallel()
	id := func(sequence uint64, created time.Time, pairs ...string) string {
		m, r := report(headers(pairs...), ""), reader()
		m.Sequence, r.Created = sequence, created
		f := r.Failure(m)
		if !CheckID(f.ID) {
			t.Errorf("%q is no id", f.ID)
		}
		return f.ID
	}
	origin := func(stream, sequence, consumer string) string {
		return id(1, noon, HeaderStream, stream, HeaderSequence, sequence, HeaderConsumer, consumer)
	}
	if origin("A", "1", "c") != id(99, noon.Add(1), HeaderStream, "A", HeaderSequence, "1", HeaderConsumer, "c", HeaderError, "x", HeaderDeliveries, "7") {
		t.Error("the same message of the same consumer has two ids")
	}
	if id(1, noon) != id(1, noon.In(time.FixedZone("", 3600)), HeaderStream, "A") {
		t.Error("the same report has two ids")
	}
	seen := map[string]bool{}
	for _, each := range []string{
		origin("A", "1", "c"), origin("A", "2", "c"), origin("B", "1", "c"), origin("A", "1", "d"), origin("A", "1", ""), origin("A1", "1", ""), origin("A", "11", ""),
		id(1, noon), id(2, noon), id(1, noon.Add(1)), id(3, noon, HeaderStream, "A", HeaderSequence, "0"),
	} {
		if seen[each] {
			t.Errorf("%s is the id of two works", each)
		}
		seen[each] = true
	}
}

func TestLineBreaksNeverMakeAHeader(t *testing.T) {
	t.Parallel()
	const evil = "x\r\nNats-Rollup: all\r\n\r\nPUB a 0\nNats-TTL: 1s\rNats-Msg-Id: 1"
	h := headers("X-User", evil, "Nats-Note", evil)
	for _, name := range []string{
		HeaderError, HeaderCode, HeaderClass, HeaderRetryAfter, HeaderOccurredAt, HeaderStream, HeaderConsumer, HeaderSequence, HeaderDeliveries, HeaderID,
		HeaderAttempt, HeaderSubject, HeaderHistory, HeaderSeal, HeaderTruncated,
	} {
		h.Set(name, evil)
	}
	f := reader().Failure(report(h, ""))
	f.Error, f.Code, f.History, f.Origin.Stream = evil, evil, evil, evil // a handler's own text may hold them too
	entry := Entry{Work: f.Work, Step: StepRetry, Key: evil, Policy: evil, Reason: evil}
	stay := entry.Message(subjects.Signal(0))
	o := Outcome{Kind: KindDead, ID: "1", Subject: evil, Error: evil}
	told := subjects.OutcomeMessage(&o, nil, noon)
	for _, m := range []Message{
		NewSealer(testKey).Message(&f.Work, Delivery{Target: "orders.new", Attempt: 2, Number: 2, Fallback: 0, Step: StepFallback}),
		subjects.DeadLetterMessage(&DeadLetter{Work: f.Work, Reason: evil, Cause: "00000000", Policy: evil, Truncated: []string{evil}}),
		stay, told,
	} {
		if got, want := mustOneLine(overWire(m.Header).names()), mustOneLine(m.Header.names()); got != want {
			t.Errorf("%s: sent %s, came as %s", m.Subject, want, got)
		}
		for name, values := range m.Header {
			for _, v := range values {
				if strings.ContainsAny(v, "\r\n") || strings.ContainsAny(name, "\r\n: ") {
					t.Errorf("%s: %q = %q", m.Subject, name, v)
				}
			}
		}
		if strings.ContainsAny(m.Subject, "\r\n ") {
			t.Errorf("subject %q", m.Subject)
		}
	}
}

func (h Header) names() map[string]int {
	n := map[string]int{}
	for name, values := range h {
		n[name] = len(values)
	}
	return n
}

func TestFaultsAreShort(t *testing.T) {
	t.Parallel()
	h := Header{}
	for _, name := range append(sealed[:], HeaderSeal, HeaderClass, HeaderRetryAfter, HeaderOccurredAt, HeaderSequence, HeaderDeliveries) {
		h.Set(name, strings.Repeat("\u2028\x01", 10_000))
	}
	f := reader().Failure(report(h, ""))
	if len(f.Faults) < 7 || len(f.Faults) > 20 || len(strings.Join(f.Faults, "")) > 16<<10 {
		t.Errorf("%d faults, %d bytes", len(f.Faults), len(strings.Join(f.Faults, "")))
	}
}

func TestLastAttemptIsTheLastUnderAnyPolicy(t *testing.T) {
	t.Parallel()
	if LastAttempt != math.MaxInt32 {
		t.Errorf("LastAttempt = %d", LastAttempt)
	}
}
