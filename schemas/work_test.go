package schemas

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestMsgIDTellsEveryStepApart(t *testing.T) {
	t.Parallel()
	type step struct {
		Step              Step
		Subject, ID, Body string
		Delivery, Replay  int
	}
	id := func(s step) string {
		w := Work{Subject: s.Subject, ID: s.ID, Replay: s.Replay, Body: []byte(s.Body), Error: "not part of it", Attempt: 7}
		return w.MsgID(s.Step, s.Delivery)
	}
	// Few different values, so that parts often agree and could be shifted into each other.
	text := rapid.StringMatching(`[ab.]{0,3}`)
	steps := rapid.Custom(func(t *rapid.T) step {
		return step{
			Step:    rapid.SampledFrom([]Step{StepRetry, StepFallback, StepDead, StepReplay}).Draw(t, "step"),
			Subject: text.Draw(t, "subject"), ID: text.Draw(t, "id"), Body: text.Draw(t, "body"),
			Delivery: rapid.IntRange(0, 3).Draw(t, "delivery"), Replay: rapid.IntRange(0, 3).Draw(t, "replay"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := steps.Draw(t, "a"), steps.Draw(t, "b")
		if (id(a) == id(b)) != (a == b) {
			t.Fatalf("%+v is %s, %+v is %s", a, id(a), b, id(b))
		}
		if s := id(a); len(s) != 32 || strings.Trim(s, "0123456789abcdef") != "" {
			t.Fatalf("%q is not 32 hex digits", s)
		}
	})
}

// A changed id would make every repeat across an upgrade a second delivery.
func TestMsgIDNeverChanges(t *testing.T) {
	t.Parallel()
	w := Work{ID: "order-42", Subject: "orders.new", Replay: 1, Body: []byte(`{"id":42}`)}
	if got := w.MsgID(StepRetry, 2); got != "67b4085cdd6f3f409ff61d6236612188" {
		t.Errorf("MsgID = %q", got)
	}
}

func TestCheckID(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]bool{
		"1": true, "order:42/x~!": true, strings.Repeat("x", 128): true, "": false, strings.Repeat("x", 129): false,
		"a b": false, "a\n": false, "\x7f": false, "ü": false, "\x00": false,
	} {
		if CheckID(id) != want {
			t.Errorf("CheckID(%q) = %v", id, !want)
		}
	}
}

func TestDurations(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "500ms": 500 * time.Millisecond, "30s": 30 * time.Second, "5m": 5 * time.Minute, "1m30s": 90 * time.Second, "24h": day, "1.5h": 90 * time.Minute,
		"20d": 20 * day, "0d": 0, "2d12h": 60 * time.Hour, "1d0.5s": day + time.Second/2, "36500d": 36500 * day, "-5s": -5 * time.Second,
	} {
		d, err := ParseDuration(text)
		if err != nil || time.Duration(d) != want {
			t.Errorf("%q is %v, %v", text, time.Duration(d), err)
		}
		var u Duration
		if err := u.UnmarshalText([]byte(text)); err != nil || u != d {
			t.Errorf("%q from the environment is %v, %v", text, u, err)
		}
	}
	for _, bad := range []string{"", "d", "5", "5 s", "-1d", "1d-5h", "1.5d", "1d2d", "36501d", "36500d2562047h", "9999999999d", "99999999999h", "NaN", "1w", "1h1d"} {
		if d, err := ParseDuration(bad); err == nil || !strings.Contains(err.Error(), "no duration like 500ms") {
			t.Errorf("%q is %v, %v", bad, d, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := Duration(rapid.Int64().Draw(t, "d"))
		var back Duration
		if err := DecodeStrict([]byte(mustOneLine(d)), &back); err != nil || back != d {
			t.Fatalf("%v became %v, %v", d, back, err)
		}
	})
}

func TestPublishedLevels(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		OutcomesTerminal: "recovered fallback dead discarded rejected",
		OutcomesAttempts: "held redelivered recovered fallback dead discarded rejected replayed",
		OutcomesAll:      "scheduled held redelivered recovered fallback dead discarded rejected replayed",
	}
	for level, kinds := range want {
		var got []string
		for _, kind := range Kinds {
			if Published(level, kind) {
				got = append(got, kind)
			}
		}
		if strings.Join(got, " ") != kinds {
			t.Errorf("%s publishes %q", level, got)
		}
	}
}

func TestOutcomesToldAgainHaveTheSameID(t *testing.T) {
	t.Parallel()
	id := func(o Outcome, body string, at time.Time) string {
		m := subjects.OutcomeMessage(&o, &Work{Body: []byte(body)}, at)
		return m.Header.Get(HeaderMsgID)
	}
	zero, one := 0, 1
	base := Outcome{Kind: KindHeld, ID: "1", Subject: "a", Delivery: 2, Key: "k"}
	again := base
	again.LateMS, again.HeldMS = 7, 9
	if id(base, "b", noon) != id(again, "b", noon.Add(time.Hour)) {
		t.Error("told again it has another id")
	}
	seen := map[string]bool{id(base, "b", noon): true}
	for i, o := range []Outcome{
		{Kind: KindDead, ID: "1", Subject: "a", Delivery: 2}, {Kind: KindHeld, ID: "2", Subject: "a", Delivery: 2}, {Kind: KindHeld, ID: "1", Subject: "b", Delivery: 2},
		{Kind: KindHeld, ID: "1", Subject: "a", Delivery: 3}, {Kind: KindHeld, ID: "1", Subject: "a", Delivery: 2, Replay: 1},
		{Kind: KindFallback, ID: "1", Subject: "a", Delivery: 2, Fallback: &zero}, {Kind: KindFallback, ID: "1", Subject: "a", Delivery: 2, Fallback: &one},
	} {
		if got := id(o, "b", noon); seen[got] {
			t.Errorf("%d: two outcomes share an id", i)
		} else {
			seen[got] = true
		}
	}
	if seen[id(base, "another body", noon)] {
		t.Error("works that share an id share outcomes")
	}
}

func TestFieldErrorsFindsAll(t *testing.T) {
	t.Parallel()
	a, b, c := &FieldError{"a", errors.New("1")}, &FieldError{"b[0].c", errors.New("2")}, &FieldError{"d", errors.New("3")}
	err := fmt.Errorf("policy.yaml: %w", errors.Join(a, fmt.Errorf("more: %w", errors.Join(b, errors.New("other"))), c))
	got := FieldErrors(err)
	if len(got) != 3 || got[0] != a || got[1] != b || got[2] != c {
		t.Errorf("found %v", got)
	}
	if b.Error() != "b[0].c: 2" || !errors.Is(b, b.Err) || FieldErrors(nil) != nil || FieldErrors(errors.New("x")) != nil {
		t.Errorf("%v", b)
	}
}

// A worker that chooses an id and drops the headers begins a new life with each report. The
// message of the second life must not vanish as a repeat of the first.
func TestLivesWithOneChosenID(t *testing.T) {
	t.Parallel()
	first := Work{ID: "order-42", Subject: "orders.new", Body: []byte("x"), FirstFailedAt: noon}
	again := first
	if first.MsgID(StepRetry, 2) != again.MsgID(StepRetry, 2) {
		t.Error("a repeat of the same report is another message")
	}
	again.FirstFailedAt = noon.Add(time.Millisecond)
	for _, step := range []Step{StepRetry, StepDead, StepFallback} {
		if first.MsgID(step, 2) == again.MsgID(step, 2) {
			t.Errorf("%s: two lives share a message id", step)
		}
	}
	derived := Work{Origin: Origin{Stream: "ORDERS", Sequence: 7, Consumer: "worker"}, FirstFailedAt: noon}
	derived.ID = derived.Origin.id()
	later := derived
	later.FirstFailedAt = noon.Add(time.Hour)
	if derived.MsgID(StepRetry, 2) != later.MsgID(StepRetry, 2) {
		t.Error("two reports about one message of a stream are two messages")
	}
}

func TestDetach(t *testing.T) {
	t.Parallel()
	header := Header{"A": {"1", "2"}, "B": {strings.Repeat("b", 100)}}
	for _, c := range []struct{ body, pinned int }{{0, 0}, {maxDetached, 0}, {maxDetached + 1, header.Size()}} {
		body := bytes.Repeat([]byte("x"), c.body)
		w := Work{ID: "1", Error: "refused", History: "[]", Header: header, Barred: Header{"Nats-Rollup": {"all"}}, Body: body}
		before := w
		if got := w.Detach(header); got != c.pinned {
			t.Errorf("body of %d bytes: %d bytes stay, want %d", c.body, got, c.pinned)
		}
		if !bytes.Equal(w.Body, before.Body) || !reflect.DeepEqual(w.Header, before.Header) || !reflect.DeepEqual(w.Barred, before.Barred) {
			t.Errorf("body of %d bytes: it became another work", c.body)
		}
		if len(body) > 0 && (&w.Body[0] != &body[0]) != (c.pinned == 0) {
			t.Errorf("body of %d bytes: it shares the message's bytes or not, and says the opposite", c.body)
		}
		if &w.Header["A"][0] == &header["A"][0] {
			t.Error("the headers are still those of the message")
		}
	}
}
