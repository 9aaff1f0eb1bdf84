package schemas

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

// sameAsMarshal holds an event against what encoding/json makes of it.
func sameAsMarshal(t interface{ Fatalf(string, ...any) }, o *Outcome) {
	m := subjects.OutcomeMessage(o, nil, noon)
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	want, err := json.Marshal(Event{
		SpecVersion: "1.0", ID: m.Header.Get(HeaderMsgID), Source: "recoveryd/" + subjects.Prefix, Type: TypeOutcomePrefix + o.Kind,
		Subject: o.Subject, Time: formatTime(noon), DataContentType: "application/json", Data: data,
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	if string(m.Body) != string(want) {
		t.Fatalf("wrote\n%s\nwant\n%s", m.Body, want)
	}
}

func TestEventsAreWrittenAsEncodingJSONWould(t *testing.T) {
	t.Parallel()
	sameAsMarshal(t, &Outcome{})
	sameAsMarshal(t, &Outcome{
		Kind: "k", ID: "i", Subject: "s", Attempt: -1, MaxAttempts: 2, Delivery: 3, Replay: 4, Policy: "p", Reason: "r", Error: "é <&>\u2028\x00\xff\"\\", Code: "c", Class: "l",
		DelayMS: 5, DueAt: "d", LateMS: -6, HeldMS: 7, Target: "t", Fallback: new(0), Skipped: []int{0, 1, 2}, Key: "y", Generation: 8, Probe: true, Evidence: "e",
		Cause: "a", DeadLetterSequence: 1<<64 - 1, Job: "j", Actor: "o", Note: "n", FirstFailedAt: "f", Faults: []string{"", "x"}, Truncated: []string{"y"},
	})
	rapid.Check(t, func(t *rapid.T) {
		o := anOutcome(rapid.SampledFrom(Kinds[:]).Draw(t, "kind")).Draw(t, "outcome")
		o.Error, o.Key, o.Skipped = rapid.String().Draw(t, "error"), rapid.String().Draw(t, "key"), rapid.SliceOf(rapid.Int()).Draw(t, "skipped")
		o.Faults = rapid.SliceOf(rapid.String()).Draw(t, "faults")
		sameAsMarshal(t, &o)
	})
}

func TestEntriesAreWrittenAsEncodingJSONWould(t *testing.T) {
	t.Parallel()
	full := entryHeader{
		ID: "é <&>\"\\", Subject: "s", Failed: 1, Delivery: 2, Replay: 3, Fallback: NoFallback, First: -1, Last: 1 << 62, Held: 4, Code: "c", Class: "l",
		Origin: Origin{Stream: "st", Consumer: "co", Sequence: 1 << 63, Deliveries: 5}, Step: StepRetry, Due: 6, Attempt: 7, Number: 8, Key: "k", Policy: "p",
		Reason: "r", HeldAt: 9, Source: 1 << 63, Record: &Record{OccurredAt: 1, At: 2, Generation: 3, Class: "c", Hint: 4, Probe: true, Success: true},
	}
	plain := full
	plain.ID, plain.Origin, plain.Record = "1", Origin{}, nil
	for _, h := range []entryHeader{{}, {Record: &Record{}, Origin: Origin{Deliveries: 1}}, full, plain} {
		want, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.appendJSON(nil); string(got) != string(want) {
			t.Errorf("wrote\n%s\nwant\n%s", got, want)
		}
	}
	var back entryHeader
	if text := string(plain.appendJSON(nil)); !back.readPlain(text) || back != plain {
		t.Errorf("%s was read as %+v", text, back)
	}
}
