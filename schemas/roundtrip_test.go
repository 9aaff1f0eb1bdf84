package schemas

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestEntriesComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := anEntry().Draw(t, "entry")
		m := e.Message(subjects.Held(3, e.Key))
		if m.Header.Get(HeaderMsgID) != "" {
			t.Fatal("an entry with a message id can vanish after a purge")
		}
		back, err := ParseEntry(stored(m, 9))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back, e) {
			t.Fatalf("%+v\nbecame %+v", e, back)
		}
	})
}

func TestBrokenEntriesAreRefused(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]string{
		"": "missing", "{": "unexpected end", "[]": "is a array", `{"id":"1","s":"a","st":"later"}`: "no step",
		`{"s":"a","st":"retry"}`: "missing", `{"id":"1","st":"retry"}`: "missing", `{"id":"1","s":"a","st":"retry"}{}`: "follows", `{"id":1}`: "id: is a number",
	} {
		_, err := ParseEntry(&Stored{Message: Message{Subject: "recovery.ledger.0.signal", Header: headers(HeaderEntry, state)}, Sequence: 7})
		says(t, state, err, want)
		says(t, state, err, "recovery.ledger.0.signal sequence 7")
	}
}

func TestDeadLettersComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := aDeadLetter().Draw(t, "letter")
		m := subjects.DeadLetterMessage(&d)
		if want := "recovery.dead." + d.Cause + "." + d.Subject; m.Subject != want {
			t.Fatalf("stored on %q, want %q", m.Subject, want)
		}
		back, err := ParseDeadLetter(stored(m, 9))
		if err != nil {
			t.Fatal(err)
		}
		d.Sequence = 9
		if !reflect.DeepEqual(back, d) {
			t.Fatalf("%+v\nbecame %+v", d, back)
		}
		// Storing it again after a lost PubAck must be the same message.
		if again := subjects.DeadLetterMessage(&back); !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v\nbecame %+v", m, again)
		}
	})
}

func TestLettersOfSubjectsThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	for _, subject := range []string{
		"$JS.API.STREAM.DELETE.X", "_INBOX.x", "recovery.failed.x", "a.*", "a..b", "a b\r\nNats-Rollup: all", "a\xff", "a\x00", strings.Repeat("ü", 2000), strings.Repeat("a.", 2000) + "b",
	} {
		f := reader().Failure(&Stored{Message: Message{Subject: "recovery.intake.0." + subject, Header: headers(HeaderError, "e"), Body: []byte("b")}, Sequence: 1, Time: noon})
		m := subjects.DeadLetterMessage(&DeadLetter{Work: f.Work, Reason: ReasonRefused, Cause: "01234567"})
		if want := "recovery.dead.01234567._refused." + KeyHash(subject); m.Subject != want {
			t.Errorf("%.20q is stored on %q", subject, m.Subject)
		}
		d, err := ParseDeadLetter(stored(m, 1))
		if err != nil || d.Subject == "" || string(d.Body) != "b" || d.ID != f.ID {
			t.Errorf("%.20q: %+v, %v", subject, d, err)
		}
		if CheckLiteral(subject) == nil && d.Subject != subject {
			t.Errorf("%.20q is remembered as %q", subject, d.Subject)
		}
	}
}

func TestBrokenLettersNameTheHeader(t *testing.T) {
	t.Parallel()
	whole := headers(HeaderID, "1", HeaderSubject, "a", HeaderReason, ReasonExhausted, HeaderCause, "01234567", HeaderAttempt, "3")
	if _, err := ParseDeadLetter(&Stored{Message: Message{Header: whole}, Sequence: 5}); err != nil {
		t.Fatal(err)
	}
	for name := range whole {
		h := whole.Clone()
		delete(h, name)
		_, err := ParseDeadLetter(&Stored{Message: Message{Header: h}, Sequence: 5})
		says(t, "without "+name, err, "dead letter 5: "+name+": missing")
	}
	for _, name := range []string{
		HeaderAttempt, HeaderDelivery, HeaderReplay, HeaderHeld, HeaderSequence, HeaderDeliveries, HeaderFallback, HeaderFirstFailedAt, HeaderLastFailedAt, HeaderDeadAt,
	} {
		h := whole.Clone()
		h.Set(name, "x")
		_, err := ParseDeadLetter(&Stored{Message: Message{Header: h}, Sequence: 5})
		says(t, name, err, "dead letter 5: "+name+": ")
	}
}

// During a rolling upgrade an older replica reads entries with fields it does not know.
func TestEntryOfNewerVersionIsRead(t *testing.T) {
	t.Parallel()
	h := Header{HeaderEntry: {`{"id":"a","s":"orders.new","st":"retry","na":2,"nd":2,"f":-1,"later":{"x":1}}`}}
	e, err := ParseEntry(&Stored{Message: Message{Subject: "recovery.ledger.0.signal", Header: h}})
	if err != nil || e.ID != "a" || e.Subject != "orders.new" || e.Attempt != 2 {
		t.Errorf("read %+v, %v", e, err)
	}
}
