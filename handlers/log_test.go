package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/recoveryd/recoveryd/schemas"
)

// book is a log that can be read, with a clock that is set by hand.
type book struct {
	bytes.Buffer
	now time.Time
	log *Log
}

func newBook(level zerolog.Level) *book {
	b := &book{now: time.Unix(1_700_000_000, 0)}
	b.log = NewLog(zerolog.New(&b.Buffer).Level(level), func() time.Time { return b.now })
	return b
}

// lines takes what was written since the last call.
func (b *book) lines(t *testing.T) []map[string]any {
	t.Helper()
	var all []map[string]any
	for _, text := range strings.Split(strings.TrimSpace(b.String()), "\n") {
		if text == "" {
			continue
		}
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		all = append(all, line)
	}
	b.Reset()
	return all
}

func TestLevelsOfEvents(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		event Event
		level string
	}{
		"failure":     {Event{Kind: EventFailure, Outcome: &schemas.Outcome{}}, "debug"},
		"redelivered": {outcomeEvent("p", schemas.Outcome{Kind: schemas.KindRedelivered}), "debug"},
		"recovered":   {outcomeEvent("p", schemas.Outcome{Kind: schemas.KindRecovered}), "debug"},
		"fallback":    {outcomeEvent("p", schemas.Outcome{Kind: schemas.KindFallback}), "info"},
		"dead":        {outcomeEvent("p", schemas.Outcome{Kind: schemas.KindDead}), "warn"},
		"rejected":    {outcomeEvent("p", schemas.Outcome{Kind: schemas.KindRejected}), "warn"},
		"reported":    {Event{Kind: EventAdvisory, Result: adviceReported}, "debug"},
		"gone":        {Event{Kind: EventAdvisory, Result: adviceGone, Err: errors.New("gone")}, "warn"},
		"forged":      {Event{Kind: EventAdvisory, Result: adviceRefused, Err: errors.New("forged")}, "warn"},
		"left there":  {Event{Kind: EventAdvisory, Result: adviceUnreportable, Err: errors.New("too large")}, "error"},
		"not settled": {Event{Kind: EventAdvisory, Result: adviceFailed, Err: errors.New("no answer")}, "error"},
		"opened":      {Event{Kind: EventBreaker, Breaker: &schemas.BreakerEvent{To: "open"}}, "warn"},
		"closed":      {Event{Kind: EventBreaker, Breaker: &schemas.BreakerEvent{To: "closed"}}, "info"},
		"probe":       {Event{Kind: EventProbe, Result: "success"}, "info"},
		"late":        {Event{Kind: EventLate}, "debug"},
		"duplicate":   {Event{Kind: EventDuplicate}, "debug"},
		"fault":       {Event{Kind: EventFault, Err: errors.New("x")}, "error"},
		"alarm":       {Event{Kind: EventAlarm, Err: errors.New("x")}, "error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBook(zerolog.DebugLevel)
			b.log.Observe(test.event)
			if lines := b.lines(t); len(lines) != 1 || lines[0]["level"] != test.level {
				t.Errorf("logged %v, want one line of level %s", lines, test.level)
			}
		})
	}
}

func TestLinesNameIDSubjectAndPolicy(t *testing.T) {
	t.Parallel()
	b := newBook(zerolog.InfoLevel)
	b.log.Observe(outcomeEvent("payments", schemas.Outcome{Kind: schemas.KindDead, ID: "42", Subject: "payments.card", Reason: "exhausted", Attempt: 3, Error: "refused"}))
	b.log.Observe(outcomeEvent("payments", schemas.Outcome{Kind: schemas.KindRedelivered, ID: "42", Subject: "payments.card"}))
	lines := b.lines(t)
	if len(lines) != 1 {
		t.Fatalf("%d lines, the debug line should be missing: %v", len(lines), lines)
	}
	for field, want := range map[string]any{"id": "42", "subject": "payments.card", "policy": "payments", "reason": "exhausted", "attempt": 3.0, "error": "refused", "message": "dead"} {
		if lines[0][field] != want {
			t.Errorf("%s is %v, want %v", field, lines[0][field], want)
		}
	}
}

func TestRepeatedFaultsAreToldOnceAndThenCounted(t *testing.T) {
	t.Parallel()
	b := newBook(zerolog.InfoLevel)
	fault := func(id string) {
		b.log.Observe(Event{Kind: EventFault, Op: "redeliver", Subject: "orders.new", ID: id, Err: errors.New("no responders")})
	}
	for i := range 1000 {
		fault(fmt.Sprint(i))
	}
	if lines := b.lines(t); len(lines) != 1 || lines[0]["id"] != "0" {
		t.Fatalf("told %v, want the first fault", lines)
	}
	b.now = b.now.Add(9 * time.Second)
	b.log.Sweep()
	if lines := b.lines(t); len(lines) != 0 {
		t.Errorf("told %v before its time", lines)
	}
	b.now = b.now.Add(time.Second)
	b.log.Sweep()
	if lines := b.lines(t); len(lines) != 1 || lines[0]["repeated"] != 999.0 || lines[0]["id"] != "999" {
		t.Errorf("told %v, want 999 repeats", lines)
	}
	b.now = b.now.Add(10 * time.Second)
	b.log.Sweep()
	if lines := b.lines(t); len(lines) != 0 || len(b.log.faults) != 0 {
		t.Errorf("told %v of a fault that is over", lines)
	}
	fault("again")
	if lines := b.lines(t); len(lines) != 1 {
		t.Errorf("told %v of a fault that came back", lines)
	}
}

func TestFaultsTakeBoundedMemory(t *testing.T) {
	t.Parallel()
	b := newBook(zerolog.InfoLevel)
	for i := range 10 * repeatKeys {
		b.log.Observe(Event{Kind: EventFault, Op: "redeliver", Subject: fmt.Sprintf("orders.%d", i), Err: errors.New("no responders")})
	}
	if n := len(b.log.faults); n > repeatKeys+1 {
		t.Errorf("%d faults are remembered", n)
	}
	if n := len(b.lines(t)); n != repeatKeys+1 {
		t.Errorf("%d lines, want %d", n, repeatKeys+1)
	}
	b.now = b.now.Add(10 * time.Second)
	b.log.Sweep()
	if lines := b.lines(t); len(lines) != 1 || lines[0]["repeated"] != float64(9*repeatKeys-1) {
		t.Errorf("told %v", lines)
	}
}
