package schemas

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const serverHeaderLimit = 65535

// heavy is the largest work there can be: user headers as large as they are let in, what
// was kept aside beyond that, the longest history and the longest error.
func heavy(user, aside Header) Work {
	return Work{
		ID: strings.Repeat("\"", MaxID), Subject: "s" + strings.Repeat("\\", MaxSubject-1), Attempt: LastAttempt, Delivery: LastAttempt, Replay: 999, Fallback: 9,
		FirstFailedAt: noon, LastFailedAt: noon, Held: 1 << 60,
		Error: strings.Repeat("😀", MaxErrorRunes), Code: strings.Repeat("é", MaxCode), Class: ClassThrottled,
		History: "[" + strings.Repeat(`"`, 4094) + "]",
		Origin:  Origin{strings.Repeat("é", MaxName), strings.Repeat("é", MaxName), 1<<63 - 1, 1<<63 - 1},
		Header:  user, Barred: aside, Body: bytes.Repeat([]byte{0, 0xff}, 500),
	}
}

func few(name string, size int) Header { return headers(name, strings.Repeat(`"`, size-len(name)-4)) }

func many(name string, size int) Header {
	h := Header{}
	for i, n := 0, 0; ; i++ {
		key := fmt.Sprintf(name+"%d", i)
		if n += len(key) + 4; n > size {
			return h
		}
		h[key] = []string{""}
	}
}

// messages are all that recoveryd makes of a piece of work.
func messages(t testing.TB, w Work) map[string]Message {
	t.Helper()
	e := Entry{
		Work: w, Step: StepFallback, Due: noon, Attempt: LastAttempt, Number: LastAttempt, Key: w.Subject + w.Subject, Policy: strings.Repeat("p", 64),
		Reason: ReasonFallbacksFailed, HeldAt: noon, Source: 1 << 63, Record: &Record{OccurredAt: 1 << 62, At: 1 << 62, Generation: 1 << 62, Class: ClassThrottled, Hint: 1 << 62, Probe: true, Success: true},
	}
	entry := e.Message(subjects.Held(0, e.Key))
	d := Delivery{Target: "a", Attempt: LastAttempt, MaxAttempts: LastAttempt, Number: LastAttempt, Generation: 1 << 62, Probe: true, Step: StepFallback}
	return map[string]Message{
		"delivery": NewSealer(testKey).Message(&w, d),
		"entry":    entry,
		"letter": subjects.DeadLetterMessage(&DeadLetter{
			Work: w, Reason: ReasonFallbacksFailed, Cause: "01234567", Policy: e.Policy, DeadAt: noon, Truncated: []string{"X-Gone"},
		}),
	}
}

// Nothing that recoveryd adds may make a message that cannot be stored: not its headers
// over the server's limit, and not the whole over the report by more than Overhead.
func TestTheHeaviestWorkIsStorable(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]Work{
		"one large user header, one aside":  heavy(few("X-User", MaxUserHeaders), few("Nats-Aside", 60<<10)),
		"many user headers, many aside":     heavy(many("X", MaxUserHeaders), many("nats-", 60<<10)),
		"only aside, none valid":            heavy(nil, many("☃ ", 60<<10)),
		"a little of everything":            heavy(many("X", 20<<10), many("nats-", 20<<10)),
		"user headers that were never read": heavy(many("X", 80<<10), nil),
		"nothing but recoveryd's":           heavy(nil, nil),
		"nothing at all":                    {ID: "1", Subject: "a"},
	} {
		for kind, m := range messages(t, w) {
			if size := wireSize(m.Header); size > serverHeaderLimit {
				t.Errorf("%s, %s: %d bytes of headers", name, kind, size)
			}
			if grown := wireSize(m.Header) - w.Header.Size() - w.Barred.Size(); grown > Overhead {
				t.Errorf("%s, %s: grows by %d bytes", name, kind, grown)
			}
			if !bytes.Equal(m.Body, w.Body) {
				t.Errorf("%s, %s: the body was touched", name, kind)
			}
			for n := range m.Header {
				if !validName(n) {
					t.Fatalf("%s, %s: %q cannot be sent", name, kind, n)
				}
			}
			if w.Header.Size() <= MaxUserHeaders {
				for n, values := range w.Header {
					if mustOneLine(m.Header[n]) != mustOneLine(values) {
						t.Fatalf("%s, %s: the user's %s is gone", name, kind, n)
					}
				}
			}
			if name != "nothing at all" && m.Header.Get(HeaderID) != w.ID && kind != "entry" {
				t.Errorf("%s, %s: the id is gone", name, kind)
			}
		}
	}
}

// The heaviest report that is let in keeps its history and is believed when it comes back.
func TestTheHeaviestDeliveryComesBack(t *testing.T) {
	t.Parallel()
	w := heavy(few("X-User", MaxUserHeaders), few("Nats-Aside", 60<<10))
	w.ID = "order-42"
	m := stored(messages(t, w)["delivery"], 1)
	m.Subject = subjects.Intake(0, "a")
	delete(m.Header, HeaderMsgID)
	f := reader().Failure(m)
	if !f.Sealed || f.History != w.History || len(f.Truncated) > 0 || len(f.Header.Get("X-User")) != len(w.Header.Get("X-User")) {
		t.Errorf("sealed %v, history %d bytes, truncated %q, %q", f.Sealed, len(f.History), f.Truncated, f.Faults)
	}
	if len(f.Error) > 256 || !strings.HasPrefix(w.Error, f.Error) {
		t.Errorf("error of %d bytes", len(f.Error))
	}
	e, err := ParseEntry(stored(messages(t, w)["entry"], 1))
	if err != nil || e.ID != w.ID || !bytes.Equal(e.Body, w.Body) || e.Header.Get(HeaderTruncated) != "Nats-Aside" {
		t.Errorf("entry of %q, %v", e.ID, err)
	}
	d, err := ParseDeadLetter(stored(messages(t, w)["letter"], 1))
	if err != nil || d.ID != w.ID || mustOneLine(d.Truncated) != `["Nats-Aside","X-Gone"]` || d.Barred != nil {
		t.Errorf("letter of %q, truncated %q, %v", d.ID, d.Truncated, err)
	}
}

func TestAnyWorkIsStorable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		size := func(what string) int { return rapid.IntRange(10, 60<<10).Draw(rt, what) }
		shape := func(what string) func(string, int) Header {
			return rapid.SampledFrom([]func(string, int) Header{few, many}).Draw(rt, what)
		}
		w := heavy(shape("user")("X-User", min(size("userSize"), MaxUserHeaders)), shape("aside")("nats-", size("asideSize")))
		w.Error = w.Error[:4*rapid.IntRange(0, MaxErrorRunes).Draw(rt, "error")]
		w.History = w.History[:rapid.IntRange(0, 4096).Draw(rt, "history")]
		for kind, m := range messages(t, w) {
			grown := wireSize(m.Header) - w.Header.Size() - w.Barred.Size()
			if wireSize(m.Header) > serverHeaderLimit || grown > Overhead || !bytes.Equal(m.Body, w.Body) {
				rt.Fatalf("%s: %d bytes, grown by %d", kind, wireSize(m.Header), grown)
			}
			for n, values := range w.Header {
				if mustOneLine(m.Header[n]) != mustOneLine(values) {
					rt.Fatalf("%s: the user's %s is gone", kind, n)
				}
			}
		}
	})
}

func TestNamesAreEscaped(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"Nats-Msg-Id": "Nats-Msg-Id", "a b": "a%20b", "50%": "50%25", "ü": "%C3%BC", "": "", "a/b,c:": "a%2Fb%2Cc%3A"} {
		if got := escapeName(name); got != want || unescapeName(got) != name {
			t.Errorf("%q became %q became %q", name, got, unescapeName(got))
		}
	}
	if got := unescapeName("50%"); got != "50%" {
		t.Errorf("a stranger's name became %q", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		name := string(rapid.SliceOf(rapid.Byte()).Draw(t, "name"))
		if got := escapeName(name); unescapeName(got) != name || !validName("x"+got) {
			t.Fatalf("%q became %q", name, got)
		}
	})
}

func TestMemoryCountsEverything(t *testing.T) {
	t.Parallel()
	w := Work{ID: "1", Subject: "a"}
	bare := w.Size()
	w.Body, w.Error, w.History, w.Header, w.Barred = make([]byte, 1000), strings.Repeat("e", 1000), strings.Repeat("h", 1000), few("X", 1000), few("nats-", 1000)
	if got := w.Size() - bare; got < 5000 || got > 6000 {
		t.Errorf("5,000 bytes are counted as %d", got)
	}
}
