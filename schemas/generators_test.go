package schemas

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

var (
	subjects = Subjects{Prefix: DefaultPrefix}
	noon     = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	testKey  = []byte("0123456789abcdef0123456789abcdef")
)

func reader() *Reader {
	return &Reader{Subjects: subjects, Sealer: NewSealer(testKey), Created: noon.Add(-time.Hour), Window: time.Minute}
}

// report is a report on orders.new as the stream keeps it.
func report(h Header, body string) *Stored {
	return &Stored{
		Message:  Message{Subject: "recovery.intake.3.orders.new", Header: h, Body: []byte(body)},
		Sequence: 42, Time: noon,
	}
}

// headers makes a header from name, value pairs; the same name may come again.
func headers(pairs ...string) Header {
	h := Header{}
	for i := 0; i < len(pairs); i += 2 {
		h[pairs[i]] = append(h[pairs[i]], pairs[i+1])
	}
	return h
}

// stored is the message after its way over the wire, as the Go client writes and reads it.
func stored(m Message, sequence uint64) *Stored {
	return &Stored{Message: Message{Subject: m.Subject, Header: overWire(m.Header), Body: m.Body}, Sequence: sequence, Time: noon}
}

func overWire(h Header) Header {
	var b strings.Builder
	for name, values := range h {
		for _, v := range values {
			b.WriteString(name + ": " + strings.Trim(v, " \t") + "\r\n")
		}
	}
	read := Header{}
	for l := range strings.SplitSeq(strings.TrimSuffix(b.String(), "\n"), "\n") {
		if name, value, ok := strings.Cut(strings.TrimSuffix(l, "\r"), ":"); ok {
			read[name] = append(read[name], strings.TrimLeft(value, " \t"))
		}
	}
	return read
}

// wireSize is what the server compares with its limit of 65,535.
func wireSize(h Header) int { return len("NATS/1.0\r\n") + h.Size() + len("\r\n") }

var (
	anID     = rapid.StringMatching(`[!-~]{1,128}`)
	aToken   = rapid.StringMatching(`[a-zA-Z0-9_$äß<"\\-]{1,12}`)
	aSubject = rapid.Map(rapid.SliceOfN(aToken, 1, 5), func(t []string) string { return "s" + strings.Join(t, ".") })
	aName    = rapid.StringMatching(`[A-Za-z][A-Za-z0-9_-]{0,20}`).Filter(func(s string) bool {
		return travels(s) && !hasPrefixFold(s, HeaderPrefix) && !strings.EqualFold(s, HeaderContentType)
	})
	aValue    = rapid.Map(rapid.StringN(0, 60, -1), func(s string) string { return line(s, 60) })
	aTime     = rapid.Map(rapid.Int64Range(1, 4e18), func(n int64) time.Time { return time.Unix(0, n).UTC() })
	aClass    = rapid.SampledFrom([]string{ClassTransient, ClassThrottled, ClassTimeout, ClassPermanent, ClassIgnored})
	aReason   = rapid.SampledFrom(Reasons[:])
	aCause    = rapid.StringMatching(`[0-9a-f]{8}`)
	aBody     = rapid.SliceOfN(rapid.Byte(), 0, 200)
	aBarred   = rapid.OneOf(rapid.StringMatching(`(Nats|nats|NATS)-[A-Za-z%-]{1,12}`), rapid.SampledFrom([]string{"KV-Operation", "Status", "a/b", "x y", "(", "ü", "50%"}))
	aHistory  = rapid.SampledFrom([]string{"", `[{"n":1,"e":"it \"broke\" <b>"}]`, `[]`})
	someUser  = rapid.MapOfN(aName, rapid.SliceOfN(aValue, 1, 3), 0, 6)
	someAside = rapid.MapOfN(aBarred, rapid.SliceOfN(aValue, 1, 2), 0, 3)
)

func aWork() *rapid.Generator[Work] {
	return rapid.Custom(func(t *rapid.T) Work {
		w := Work{
			ID: anID.Draw(t, "id"), Subject: aSubject.Draw(t, "subject"),
			Attempt: rapid.IntRange(1, LastAttempt).Draw(t, "attempt"), Delivery: rapid.IntRange(1, 1<<30).Draw(t, "delivery"),
			Replay: rapid.IntRange(0, 9).Draw(t, "replay"), Fallback: rapid.IntRange(NoFallback, 3).Draw(t, "fallback"),
			FirstFailedAt: aTime.Draw(t, "first"), LastFailedAt: aTime.Draw(t, "last"),
			Held:  time.Duration(rapid.IntRange(0, 1<<40).Draw(t, "held")) * time.Millisecond,
			Error: line(rapid.String().Draw(t, "error"), MaxErrorRunes), Code: aValue.Draw(t, "code"), Class: aClass.Draw(t, "class"),
			History: aHistory.Draw(t, "history"),
			Origin: Origin{
				Stream: aToken.Draw(t, "stream"), Consumer: aToken.Draw(t, "consumer"),
				Sequence: rapid.Uint64Max(1<<63-1).Draw(t, "sequence"), Deliveries: rapid.Uint64Max(1<<63-1).Draw(t, "deliveries"),
			},
			Header: Header(someUser.Draw(t, "header")), Body: aBody.Draw(t, "body"),
		}
		if barred := someAside.Draw(t, "barred"); len(barred) > 0 {
			w.Barred = barred
		}
		return w
	})
}

func anEntry() *rapid.Generator[Entry] {
	return rapid.Custom(func(t *rapid.T) Entry {
		e := Entry{
			Work: aWork().Draw(t, "work"), Step: rapid.SampledFrom([]Step{StepRetry, StepFallback, StepDead, StepReplay}).Draw(t, "step"),
			Due: aTime.Draw(t, "due"), Attempt: rapid.IntRange(1, 99).Draw(t, "next"), Number: rapid.IntRange(1, 99).Draw(t, "number"),
			Key: aSubject.Draw(t, "key"), Policy: aToken.Draw(t, "policy"), Reason: aReason.Draw(t, "reason"),
			Source: rapid.Uint64().Draw(t, "source"),
		}
		if rapid.Bool().Draw(t, "held") {
			e.HeldAt = aTime.Draw(t, "heldAt")
		}
		if rapid.Bool().Draw(t, "record") {
			e.Record = &Record{
				OccurredAt: rapid.Int64().Draw(t, "occurred"), At: rapid.Int64().Draw(t, "at"), Generation: rapid.Int64().Draw(t, "generation"),
				Class: aClass.Draw(t, "recordClass"), Hint: rapid.Int64().Draw(t, "hint"),
				Probe: rapid.Bool().Draw(t, "probe"), Success: rapid.Bool().Draw(t, "success"),
			}
		}
		return e
	})
}

func aDeadLetter() *rapid.Generator[DeadLetter] {
	return rapid.Custom(func(t *rapid.T) DeadLetter {
		d := DeadLetter{
			Work: aWork().Draw(t, "work"), Reason: aReason.Draw(t, "reason"), Cause: aCause.Draw(t, "cause"),
			Policy: aToken.Draw(t, "policy"), DeadAt: aTime.Draw(t, "dead"),
		}
		return d
	})
}

func aDelivery() *rapid.Generator[Delivery] {
	return rapid.Custom(func(t *rapid.T) Delivery {
		return Delivery{
			Target: aSubject.Draw(t, "target"), Attempt: rapid.IntRange(1, 99).Draw(t, "attempt"), MaxAttempts: rapid.IntRange(1, 99).Draw(t, "max"),
			Number: rapid.IntRange(1, 999).Draw(t, "number"), Generation: rapid.Int64Min(0).Draw(t, "generation"),
			Probe: rapid.Bool().Draw(t, "probe"), Fallback: rapid.IntRange(NoFallback, 3).Draw(t, "fallback"),
			Step: rapid.SampledFrom([]Step{StepRetry, StepFallback, StepReplay}).Draw(t, "step"),
		}
	})
}

// anOutcome has what its kind requires, and any of the rest.
func anOutcome(kind string) *rapid.Generator[Outcome] {
	return rapid.Custom(func(t *rapid.T) Outcome {
		optional := func(g *rapid.Generator[string], name string) string {
			return rapid.OneOf(rapid.Just(""), g).Draw(t, name)
		}
		o := Outcome{
			Kind: kind, ID: anID.Draw(t, "id"), Subject: rapid.StringN(1, 60, -1).Draw(t, "subject"),
			Attempt: rapid.IntRange(0, LastAttempt).Draw(t, "attempt"), MaxAttempts: rapid.IntRange(0, 99).Draw(t, "max"),
			Delivery: rapid.IntRange(0, 99).Draw(t, "delivery"), Replay: rapid.IntRange(0, 3).Draw(t, "replay"),
			Policy: optional(aToken, "policy"), Reason: optional(aReason, "reason"), Error: line(rapid.String().Draw(t, "error"), MaxErrorRunes),
			Code: aValue.Draw(t, "code"), Class: optional(aClass, "class"), DelayMS: rapid.Int64Range(0, 1e9).Draw(t, "delay"),
			LateMS: rapid.Int64Range(-9, 1e9).Draw(t, "late"), HeldMS: rapid.Int64Range(0, 1e9).Draw(t, "heldMS"),
			Target: optional(aSubject, "target"), Skipped: rapid.SliceOfN(rapid.IntRange(0, 3), 0, 3).Draw(t, "skipped"),
			Key: optional(aSubject, "key"), Generation: rapid.Int64Min(0).Draw(t, "generation"), Probe: rapid.Bool().Draw(t, "probe"),
			Cause: optional(aCause, "cause"), DeadLetterSequence: rapid.Uint64().Draw(t, "sequence"), Job: optional(aToken, "job"), Actor: optional(aToken, "actor"),
			FirstFailedAt: formatTime(aTime.Draw(t, "first")), Faults: rapid.SliceOfN(aValue, 0, 2).Draw(t, "faults"), Truncated: rapid.SliceOfN(aName, 0, 2).Draw(t, "truncated"),
		}
		complete(&o)
		return o
	})
}

// complete gives an outcome what its kind requires.
func complete(o *Outcome) {
	fill := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	switch o.Kind {
	case KindScheduled:
		fill(&o.Policy, "default")
		o.DueAt = formatTime(noon)
	case KindHeld:
		fill(&o.Policy, "default")
		fill(&o.Key, "orders.new")
	case KindRedelivered:
		fill(&o.Policy, "default")
		fill(&o.Target, "orders.new")
	case KindRecovered:
		o.Evidence = "report"
	case KindFallback:
		fill(&o.Policy, "default")
		fill(&o.Target, "orders.slow")
		first := 0
		o.Fallback = &first
	case KindDead:
		fill(&o.Reason, ReasonExhausted)
		fill(&o.Cause, "0badcafe")
	case KindRejected:
		fill(&o.Reason, ReasonRefused)
	case KindDiscarded:
		fill(&o.Reason, ReasonDiscarded)
	case KindReplayed:
		fill(&o.Target, "orders.new")
		o.Replay = max(1, o.Replay)
	}
}

// states of breakers, and what their events are called.
var states = map[string]string{
	"closed": "closed", "open": "opened", "half_open": "half_open",
	"recovering": "recovering", "forced_open": "forced_open", "disabled": "disabled",
}

func compiled(t testing.TB, name string) *jsonschema.Schema {
	t.Helper()
	data, err := Schema(name)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%s is no JSON: %v", name, err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.AssertContent()
	url := "urn:recoveryd:schema:" + name
	if err := c.AddResource(url, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(url)
	if err != nil {
		t.Fatalf("%s does not compile: %v", name, err)
	}
	return s
}

func check(s *jsonschema.Schema, body []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// asObject shows headers as the schemas of headers see them.
func asObject(h Header) map[string]any {
	object := map[string]any{}
	for name, values := range h {
		object[name] = values[0]
	}
	return object
}

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestMain has every generator that tests share name itself before they run in parallel:
// rapid does it late, and without a lock for those that read the name.
func TestMain(m *testing.M) {
	for _, shared := range []fmt.Stringer{
		anID, aToken, aSubject, aName, aValue, aTime, aClass, aReason, aCause, aBody, aBarred, aHistory, someUser, someAside,
	} {
		_ = shared.String()
	}
	os.Exit(m.Run())
}
