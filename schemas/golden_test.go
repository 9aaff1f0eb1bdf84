package schemas

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the messages of testdata/v1 that are missing")

// golden is a stored message beside what it must be read as. The files of a version are
// written once and then stay: streams keep such messages, and every later release must
// read them.
type golden struct {
	Decoder string          `json:"decoder"` // failure, success, outcome, breaker, entry or letter
	Message goldenMessage   `json:"message"`
	Want    json.RawMessage `json:"want"`
}

type goldenMessage struct {
	Subject  string    `json:"subject"`
	Header   Header    `json:"header"`
	Body     []byte    `json:"body_base64"`
	Text     string    `json:"body_text,omitempty"` // for the reader of the file; nobody decodes it
	Sequence uint64    `json:"sequence"`
	Time     time.Time `json:"time"`
}

func (g *goldenMessage) stored() *Stored {
	return &Stored{Message: Message{Subject: g.Subject, Header: g.Header, Body: g.Body}, Sequence: g.Sequence, Time: g.Time}
}

func (g *golden) decode() (any, error) {
	m := g.Message.stored()
	switch g.Decoder {
	case "failure":
		return reader().Failure(m), nil
	case "success":
		return anyOf(reader().Success(m))
	case "outcome":
		o, _, err := ParseOutcome(m.Body)
		return o, err
	case "breaker":
		b, _, err := ParseBreakerEvent(m.Body)
		return b, err
	case "entry":
		e, err := ParseEntry(m)
		return struct {
			Entry
			Failed int // Work.Attempt, which Entry.Attempt hides
		}{e, e.Work.Attempt}, err
	case "letter":
		return anyOf(ParseDeadLetter(m))
	}
	return nil, fmt.Errorf("no decoder %q", g.Decoder)
}

func anyOf[T any](v T, err error) (any, error) { return v, err }

func TestStoredMessagesOfVersion1AreRead(t *testing.T) {
	t.Parallel()
	if *update {
		writeGolden(t)
	}
	files, err := filepath.Glob("testdata/v1/*.json")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var g golden
			if err := DecodeStrict(data, &g); err != nil {
				t.Fatal(err)
			}
			got, err := g.decode()
			if err != nil {
				t.Fatal(err)
			}
			if diff := missing(t, g.Want, got); diff != "" {
				t.Errorf("%s\nread as %s", diff, mustJSON(t, got))
			}
		})
	}
}

// missing says what of want is not in got: a later version may know more, never less.
func missing(t *testing.T, want json.RawMessage, got any) string {
	t.Helper()
	var w, g any
	if err := errors.Join(json.Unmarshal(want, &w), json.Unmarshal([]byte(mustJSON(t, got)), &g)); err != nil {
		t.Fatal(err)
	}
	return compare("", w, g)
}

func compare(path string, want, got any) string {
	w, ok := want.(map[string]any)
	if !ok || strings.HasSuffix(path, "Header") || strings.HasSuffix(path, "Barred") {
		if a, b := mustOneLine(want), mustOneLine(got); a != b {
			return fmt.Sprintf("%s: want %s, got %s", path, a, b)
		}
		return ""
	}
	g, _ := got.(map[string]any)
	for key := range w {
		if diff := compare(path+"."+key, w[key], g[key]); diff != "" {
			return diff
		}
	}
	return ""
}

func writeGolden(t *testing.T) {
	t.Helper()
	for name, g := range goldenMessages(t) {
		path := filepath.Join("testdata", "v1", name+".json")
		if _, err := os.Stat(path); err == nil {
			continue
		}
		got, err := g.decode()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		g.Want = json.RawMessage(mustJSON(t, got))
		if err := os.WriteFile(path, []byte(mustJSON(t, g)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func goldenMessages(t *testing.T) map[string]golden {
	t.Helper()
	all := map[string]golden{}
	put := func(name, decoder string, m *Stored) {
		if m.Header == nil {
			m.Header = Header{}
		}
		g := golden{Decoder: decoder, Message: goldenMessage{Subject: m.Subject, Header: m.Header, Body: m.Body, Sequence: m.Sequence, Time: noon}}
		if utf8.Valid(m.Body) {
			g.Message.Text = string(m.Body)
		}
		all[name] = g
	}
	failure := func(name string, h Header, body string) { put("failure-"+name, "failure", report(h, body)) }

	failure("bare", nil, `{"id":42}`)
	failure("empty-body", headers(HeaderError, "no body"), "")
	failure("binary", headers(HeaderError, "bytes"), "\x00\xff\xfe")
	failure("full", headers(
		HeaderID, "order-42", HeaderError, "dial tcp: connection refused", HeaderCode, "ECONNREFUSED", HeaderClass, "timeout", HeaderRetryAfter, "1m30s",
		HeaderOccurredAt, "2026-03-01T11:59:59.5Z", HeaderStream, "ORDERS", HeaderConsumer, "worker", HeaderSequence, "7", HeaderDeliveries, "3",
		"traceparent", "00-1", "X-Many", "one", "X-Many", "two", "Nats-Msg-Id", "mine",
	), `{"id":42}`)
	failure("lower-case", headers("recovery-id", "order-42", "recovery-error", "e", "recovery-attempt", "2"), "b")
	failure("unreadable", headers(
		HeaderClass, "fatal", HeaderRetryAfter, "soon", HeaderOccurredAt, "yesterday", HeaderSequence, "x", HeaderAttempt, "x", HeaderID, "a b", HeaderSeal, "forged",
	), "b")
	failure("raised-attempt", headers(HeaderID, "order-42", HeaderAttempt, "7"), "b")
	failure("origin-id", headers(HeaderStream, "ORDERS", HeaderSequence, "7", HeaderConsumer, "worker"), "b")
	failure("sealed", delivered(t, NoFallback), "b")
	failure("envelope", headers("Content-Type", ContentTypeEvent), failureEvent(`{"id":"order-42","error":"e","code":"429","class":"throttled","retry_after":"5","headers":{"traceparent":"00-1"},"body_json":{"id":42}}`))
	failure("envelope-malformed", headers("Content-Type", ContentTypeEvent), failureEvent(`{"erorr":"e"}`))
	forged := delivered(t, NoFallback)
	forged.Set(HeaderAttempt, "1")
	failure("seal-broken", forged, "b")
	onFallback := report(delivered(t, 1), "b")
	onFallback.Subject = subjects.Intake(0, "orders.slow")
	put("failure-fallback", "failure", onFallback)
	put("success", "success", &Stored{Message: Message{Subject: subjects.Succeeded("orders.new"), Header: delivered(t, NoFallback)}, Sequence: 9})

	for _, kind := range Kinds {
		o := Outcome{
			Kind: kind, ID: "order-42", Subject: "orders.new", Attempt: 2, MaxAttempts: 3, Delivery: 2, Policy: "default", Error: "e <&> ☃", Code: "429", Class: ClassThrottled,
			Skipped: []int{0}, Generation: 7, FirstFailedAt: formatTime(noon), Faults: []string{"a fault"}, Truncated: []string{"X"}, DeadLetterSequence: 3, Job: "j", Actor: "a",
		}
		complete(&o)
		m := subjects.OutcomeMessage(&o, &Work{Body: []byte("b")}, noon)
		put("outcome-"+kind, "outcome", stored(m, 5))
	}
	for state := range states {
		b := BreakerEvent{Policy: "default", Key: "orders.new", From: "closed", To: state, Generation: 1772366400000, Level: 1, OpenUntil: formatTime(noon), Held: 3, ID: "order-42", Reason: "run", Actor: "ops"}
		m, err := subjects.BreakerMessage(&b, noon)
		if err != nil {
			t.Fatal(err)
		}
		put("breaker-"+state, "breaker", stored(m, 5))
	}
	w := benchWork()
	w.Body, w.Barred, w.Replay, w.Held = []byte("b"), headers("Nats-Msg-Id", "mine", "a b", "c"), 1, 1500*time.Millisecond
	for _, step := range []Step{StepRetry, StepFallback, StepDead, StepReplay} {
		e := Entry{
			Work: w, Step: step, Due: noon, Attempt: 3, Number: 4, Key: "orders.new", Policy: "default", Reason: ReasonExhausted, HeldAt: noon, Source: 42,
			Record: &Record{OccurredAt: 1, At: 2, Generation: 3, Class: ClassTimeout, Hint: 4, Probe: true},
		}
		m := e.Message(subjects.Due(3, noon.Unix()))
		put("entry-"+string(step), "entry", stored(m, 5))
	}
	for i, reason := range Reasons {
		d := DeadLetter{Work: w, Reason: reason, Cause: "0badcafe", Policy: "default", DeadAt: noon, Truncated: []string{"X", "odd,name"}}
		if d.Fallback = i%2 - 1; reason == ReasonRefused {
			d.Subject = "$JS.API.STREAM.DELETE.X"
		}
		put("letter-"+reason, "letter", stored(subjects.DeadLetterMessage(&d), 5))
	}
	return all
}
