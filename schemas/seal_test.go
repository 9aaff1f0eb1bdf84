package schemas

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// delivered is a sealed probe with everything set, as its reporter echoes it.
func delivered(t testing.TB, fallback int) Header {
	t.Helper()
	w := Work{
		ID: "order-42", Subject: "orders.new", Attempt: 3, Delivery: 5, Replay: 2, Fallback: NoFallback, FirstFailedAt: noon.Add(-time.Hour),
		Held: 90 * time.Second, History: `[{"n":1}]`, Header: headers("X-User", "u"), Error: "before",
	}
	m := NewSealer(testKey).Message(&w, Delivery{
		Target: "orders.new", Attempt: 4, MaxAttempts: 8, Number: 6, Generation: 77, Probe: true, Fallback: fallback, Step: StepRetry,
	})
	delete(m.Header, HeaderMsgID)
	return overWire(m.Header)
}

func TestSealedStateIsBelieved(t *testing.T) {
	t.Parallel()
	h := delivered(t, NoFallback)
	h.Set(HeaderError, "again")
	f := reader().Failure(report(h, "body"))
	if !f.Sealed || len(f.Faults) > 0 {
		t.Fatalf("not believed: %q", f.Faults)
	}
	if f.ID != "order-42" || f.Subject != "orders.new" || f.Attempt != 4 || f.Delivery != 6 || f.Replay != 2 || f.Generation != 77 || !f.Probe || f.Fallback != NoFallback {
		t.Errorf("read %+v", f)
	}
	if f.Held != 90*time.Second || f.History != `[{"n":1}]` || !f.FirstFailedAt.Equal(noon.Add(-time.Hour)) || !f.LastFailedAt.Equal(noon) || f.Error != "again" {
		t.Errorf("read %+v", f)
	}
	low := Header{}
	for name, values := range h {
		low[strings.ToLower(name)] = values
	}
	if f := reader().Failure(report(low, "body")); !f.Sealed || f.Attempt != 4 {
		t.Errorf("in lower case: %+v", f)
	}
}

// Each header under the seal, changed, removed or added, makes the state nobody's.
func TestEveryHeaderIsUnderTheSeal(t *testing.T) {
	t.Parallel()
	for _, name := range append(sealed[:], HeaderSeal) {
		for what, change := range map[string]func(h Header){
			"changed":   func(h Header) { h.Set(name, h.Get(name)+"1") },
			"replaced":  func(h Header) { h.Set(name, "7") },
			"removed":   func(h Header) { delete(h, name) },
			"emptied":   func(h Header) { h.Set(name, "") },
			"broken up": func(h Header) { h.Set(name, h.Get(name)+"\n") },
		} {
			h := delivered(t, 1)
			if !reader().Sealer.Valid(h) {
				t.Fatal("the seal does not fit to begin with")
			}
			change(h)
			f := reader().Failure(report(h, "body"))
			if f.Sealed {
				t.Errorf("%s %s: still sealed", name, what)
			}
			if f.Subject != "orders.new" || f.Fallback != NoFallback || f.Probe || f.Generation != 0 || f.Replay != 0 || f.Held != 0 || f.History != "" || !f.FirstFailedAt.Equal(noon) {
				t.Errorf("%s %s: believed %+v", name, what, f)
			}
			if f.Delivery != f.Attempt && f.Attempt != LastAttempt {
				t.Errorf("%s %s: delivery %d of attempt %d", name, what, f.Delivery, f.Attempt)
			}
			if f.Attempt < 4 && name != HeaderAttempt {
				t.Errorf("%s %s: attempt fell to %d", name, what, f.Attempt)
			}
			if h.Get(HeaderSeal) != "" && len(f.Faults) == 0 {
				t.Errorf("%s %s: nobody is told", name, what)
			}
		}
	}
}

func TestSealOfAnotherSubjectOrKey(t *testing.T) {
	t.Parallel()
	m := report(delivered(t, NoFallback), "")
	m.Subject = subjects.Intake(3, "payments.new")
	f := reader().Failure(m)
	if !f.Sealed || f.Subject != "orders.new" || f.Intake != "payments.new" {
		t.Errorf("a seal that fits is not recognised: %+v", f)
	}
	f.Unseal()
	if f.Sealed || f.Subject != "payments.new" || f.Attempt != 4 || f.Generation != 0 || len(f.Faults) != 1 {
		t.Errorf("a seal for orders.new is believed on payments.new: %+v", f)
	}
	for _, key := range [][]byte{nil, {}, []byte("another key of thirty-two bytes!")} {
		r := reader()
		r.Sealer = NewSealer(key)
		if f := r.Failure(report(delivered(t, NoFallback), "")); f.Sealed {
			t.Errorf("believed with the key %q", key)
		}
	}
	r := reader()
	r.Sealer = NewSealer(nil)
	h := delivered(t, NoFallback)
	h.Set(HeaderSeal, r.Sealer.Seal(h))
	if f := r.Failure(report(h, "")); f.Sealed {
		t.Error("a seal made without a key is believed")
	}
	r.Sealer = nil
	if f := r.Failure(report(h, "")); f.Sealed {
		t.Error("believed without a sealer")
	}
}

// Without a seal an attempt can only raise the count.
func TestRaisedAttempt(t *testing.T) {
	t.Parallel()
	f := reader().Failure(report(headers(HeaderID, "order-42", HeaderAttempt, "7"), ""))
	if f.Sealed || f.ID != "order-42" || f.Attempt != 7 || f.Delivery != 7 || len(f.Faults) > 0 {
		t.Errorf("read %+v", f)
	}
}

func TestFallbackReportAndUnseal(t *testing.T) {
	t.Parallel()
	m := report(delivered(t, 1), "")
	m.Subject = subjects.Intake(0, "orders.slow")
	f := reader().Failure(m)
	if !f.Sealed || f.Subject != "orders.new" || f.Intake != "orders.slow" || f.Fallback != 1 || f.Error != "before" {
		t.Fatalf("read %+v", f)
	}
	f.Unseal()
	if f.Sealed || f.Subject != "orders.slow" || f.Fallback != NoFallback || f.Delivery != f.Attempt || f.Attempt != 4 || f.ID != "order-42" {
		t.Errorf("unsealed: %+v", f)
	}
	if f.Replay != 0 || f.Held != 0 || f.Generation != 0 || f.Probe || f.History != "" || !f.FirstFailedAt.Equal(f.OccurredAt) || len(f.Faults) != 1 {
		t.Errorf("unsealed: %+v", f)
	}
}

func TestSuccessReports(t *testing.T) {
	t.Parallel()
	success := func(subject string, h Header) (Success, error) {
		return reader().Success(&Stored{Message: Message{Subject: subject, Header: h}, Sequence: 9, Time: noon})
	}
	s, err := success("recovery.succeeded.orders.new", delivered(t, NoFallback))
	want := Success{
		Subject: "orders.new", Intake: "orders.new", ID: "order-42", Attempt: 4, Delivery: 6, Replay: 2, Generation: 77, Fallback: NoFallback, Probe: true,
		At: noon, FirstFailedAt: noon.Add(-time.Hour), Sealed: true,
	}
	if err != nil || mustOneLine(s) != mustOneLine(want) {
		t.Errorf("read %+v, %v", s, err)
	}
	if s, err = success("recovery.succeeded.orders.slow", delivered(t, 1)); err != nil || s.Subject != "orders.new" || s.Intake != "orders.slow" || s.Fallback != 1 {
		t.Errorf("read %+v, %v", s, err)
	}
	s, err = success("recovery.succeeded.payments.new", delivered(t, NoFallback))
	s.Unseal()
	if err != nil || s.Sealed || s.Subject != "payments.new" || s.Generation != 0 || len(s.Faults) != 1 {
		t.Errorf("read %+v, %v", s, err)
	}
	if s, err = success("recovery.succeeded.orders.new", nil); err != nil || s.Sealed || s.Subject != "orders.new" || len(s.Faults) > 0 {
		t.Errorf("read %+v, %v", s, err)
	}
	if _, err = success("recovery.failed.orders.new", nil); err == nil {
		t.Error("a failure was read as success")
	}
}

// What is sealed on one delivery is what the report of its failure says.
func TestSealedRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, d := aWork().Draw(t, "work"), aDelivery().Draw(t, "delivery")
		m := NewSealer(testKey).Message(&w, d)
		if m.Subject != d.Target || string(m.Body) != string(w.Body) {
			t.Fatalf("to %q with %q", m.Subject, m.Body)
		}
		echo := stored(m, 9)
		delete(echo.Header, HeaderMsgID)
		echo.Subject = subjects.Intake(1, w.Subject)
		f := reader().Failure(echo)
		if !f.Sealed || len(f.Faults) > 0 {
			t.Fatalf("not believed: %q", f.Faults)
		}
		if f.ID != w.ID || f.Subject != w.Subject || f.Attempt != d.Attempt || f.Delivery != d.Number || f.Replay != w.Replay || f.Fallback != d.Fallback ||
			f.Generation != d.Generation || f.Probe != d.Probe || f.Held != w.Held || f.History != w.History || !f.FirstFailedAt.Equal(w.FirstFailedAt) {
			t.Fatalf("%+v\n%+v\nbecame %+v", w, d, f)
		}
		if mustOneLine(f.Header) != mustOneLine(w.Header) || len(f.Barred) > 0 {
			t.Fatalf("headers %v became %v", w.Header, f.Header)
		}
	})
}
