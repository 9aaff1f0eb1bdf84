package schemas

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func aPage(entries ...Entry) *Stored {
	p := NewPage(0)
	for i := range entries {
		p.Add(&entries[i])
	}
	return stored(p.Message("recovery.ledger.1.due.7"), 9)
}

// Entries come back from a page as they come back when stored by themselves.
func TestPageHoldsItsEntries(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		entries := rapid.SliceOfN(anEntry(), 1, 20).Draw(t, "entries")
		m := aPage(entries...)
		if got := PageEntries(m.Header); got != len(entries) || m.Header.Get(HeaderMsgID) != "" {
			t.Fatalf("of %d entries it is stored with %v", len(entries), m.Header)
		}
		back, err := ParseEntries(m)
		if err != nil || len(back) != len(entries) {
			t.Fatalf("%d of %d entries came back: %v", len(back), len(entries), err)
		}
		for i := range back {
			alone, err := ParseEntries(stored(entries[i].Message("lane"), 9))
			if err != nil || len(alone) != 1 {
				t.Fatal(alone, err)
			}
			if !bytes.Equal(back[i].Body, alone[0].Body) {
				t.Fatalf("body %q became %q", alone[0].Body, back[i].Body)
			}
			back[i].Body = alone[0].Body
			if !reflect.DeepEqual(back[i], alone[0]) {
				t.Fatalf("%+v\nbecame %+v", alone[0], back[i])
			}
		}
	})
}

func TestPageThatIsBroken(t *testing.T) {
	t.Parallel()
	entry := Entry{Work: Work{ID: "a", Subject: "orders", Fallback: NoFallback, Header: Header{"A": {"b"}}, Body: []byte("one")}, Step: StepRetry}
	for name, change := range map[string]func(*Message){
		"cut off":          func(m *Message) { m.Body = m.Body[:len(m.Body)-1] },
		"one byte more":    func(m *Message) { m.Body = append(m.Body, 0) },
		"no state":         func(m *Message) { m.Body = append(m.Body, 0, 0, 0, 0, 0, 0); m.Header = Header{HeaderPage: {"3"}} },
		"a count of words": func(m *Message) { m.Header = Header{HeaderPage: {"many"}} },
		"a wrong count":    func(m *Message) { m.Header = Header{HeaderPage: {"3"}} },
		"a huge length":    func(m *Message) { m.Body = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1} },
		"too many values":  func(m *Message) { m.Body = []byte{0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f} },
		"nothing":          func(m *Message) { m.Body = nil },
	} {
		m := aPage(entry, entry)
		change(&m.Message)
		if back, err := ParseEntries(m); err == nil || !strings.Contains(err.Error(), "due.7 sequence 9") {
			t.Errorf("%s: got %d entries, %v", name, len(back), err)
		}
	}
}

func FuzzParseEntries(f *testing.F) {
	f.Add("1", aPage(Entry{Work: Work{ID: "a", Subject: "orders", Fallback: NoFallback, Header: Header{"A": {"b"}}, Body: []byte("one")}, Step: StepRetry}).Body)
	f.Add("2", []byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, count string, body []byte) {
		h := Header{HeaderPage: {count}}
		entries, err := ParseEntries(&Stored{Message: Message{Subject: "lane", Header: h, Body: body}})
		if err == nil && len(entries) != PageEntries(h) {
			t.Errorf("%d entries, the header says %s", len(entries), count)
		}
		for i := range entries {
			if entries[i].ID == "" || entries[i].Header == nil {
				t.Errorf("entry %d was taken as %+v", i, entries[i])
			}
		}
	})
}
