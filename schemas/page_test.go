package schemas

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPageHoldsItsEntries(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "entries")
		entries := make([]Message, n)
		for i := range entries {
			entries[i].Header = Header{HeaderEntry: {rapid.String().Draw(t, "state")}}
			for range rapid.IntRange(0, 3).Draw(t, "headers") {
				entries[i].Header[rapid.String().Draw(t, "name")] = rapid.SliceOfN(rapid.String(), 1, 3).Draw(t, "values")
			}
			entries[i].Body = rapid.SliceOf(rapid.Byte()).Draw(t, "body")
		}
		m := Stored{Message: PageMessage("recovery.ledger.1.due.7", entries), Sequence: 9, Time: time.Unix(5, 0)}
		if got := PageEntries(m.Header); got != n {
			t.Fatalf("says it holds %d entries, want %d", got, n)
		}
		back, err := ReadPage(m)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range back {
			if e.Sequence != 9 || !e.Time.Equal(m.Time) || e.Subject != m.Subject ||
				string(e.Body) != string(entries[i].Body) || !reflect.DeepEqual(e.Header, entries[i].Header) {
				t.Fatalf("entry %d came back as %+v, was %+v", i, e, entries[i])
			}
		}
		if len(back) != n {
			t.Fatalf("%d entries came back, want %d", len(back), n)
		}
	})
}

func TestPageOfOne(t *testing.T) {
	t.Parallel()
	m := Stored{Message: Message{Subject: "recovery.ledger.0.signal", Header: Header{HeaderEntry: {"{}"}}, Body: []byte("x")}, Sequence: 3}
	if back, err := ReadPage(m); err != nil || len(back) != 1 || !reflect.DeepEqual(back[0], m) || PageEntries(m.Header) != 1 {
		t.Errorf("an entry by itself came back as %+v, %v", back, err)
	}
}

func TestPageThatIsBroken(t *testing.T) {
	t.Parallel()
	good := PageMessage("lane", []Message{{Header: Header{"a": {"b"}}, Body: []byte("one")}, {Body: []byte("two")}})
	for name, change := range map[string]func(*Message){
		"cut off":          func(m *Message) { m.Body = m.Body[:len(m.Body)-1] },
		"one more":         func(m *Message) { m.Body = append(m.Body, 0, 0) },
		"a count of words": func(m *Message) { m.Header = Header{HeaderPage: {"many"}} },
		"a wrong count":    func(m *Message) { m.Header = Header{HeaderPage: {"3"}} },
		"a huge length":    func(m *Message) { m.Body = append([]byte{1}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1) },
		"too many values":  func(m *Message) { m.Body = []byte{0xff, 0xff, 0xff, 0xff, 0x0f} },
		"nothing":          func(m *Message) { m.Body = nil },
	} {
		m := Stored{Message: Message{Subject: "lane", Header: good.Header, Body: append([]byte(nil), good.Body...)}, Sequence: 4}
		change(&m.Message)
		if back, err := ReadPage(m); err == nil || !strings.Contains(err.Error(), "lane sequence 4") {
			t.Errorf("%s: got %d entries, %v", name, len(back), err)
		}
	}
}

func FuzzReadPage(f *testing.F) {
	f.Add("2", PageMessage("lane", []Message{{Header: Header{"a": {"b"}}, Body: []byte("one")}, {Body: []byte("two")}}).Body)
	f.Fuzz(func(t *testing.T, count string, body []byte) {
		entries, err := ReadPage(Stored{Message: Message{Subject: "lane", Header: Header{HeaderPage: {count}}, Body: body}})
		if err == nil && len(entries) != PageEntries(Header{HeaderPage: {count}}) {
			t.Errorf("%d entries, the header says %s", len(entries), count)
		}
	})
}
