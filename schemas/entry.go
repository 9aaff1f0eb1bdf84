package schemas

import (
	"errors"
	"fmt"
	"time"
)

// Entry is work that waits in the ledger, with what must happen to it next.
type Entry struct {
	Work
	Step    Step
	Due     time.Time
	Attempt int // number of the delivery that is to come; Work.Attempt is the one that failed
	Number  int // Recovery-Delivery of the delivery that is to come
	Key     string
	Policy  string
	Reason  string // of a letter that waits to be stored
	HeldAt  time.Time
	Source  uint64 // sequence of the report in the intake stream; equal ones are the same work
	Record  *Record
}

// Record is what a breaker must still be told about work that was handed over to the
// shard that is home to its key.
type Record struct {
	OccurredAt int64  `json:"occurred_at"` // unix nanoseconds
	At         int64  `json:"at"`
	Generation int64  `json:"generation,omitempty"`
	Class      string `json:"class"`
	Hint       int64  `json:"hint,omitempty"` // nanoseconds
	Probe      bool   `json:"probe,omitempty"`
	Success    bool   `json:"success,omitempty"`
}

// entryHeader is the JSON of HeaderEntry. Times are unix nanoseconds, 0 = none. What is
// long has headers of its own, where it takes the bytes it has and can be shortened.
type entryHeader struct {
	ID       string  `json:"id"`
	Subject  string  `json:"s"`
	Failed   int     `json:"a"`
	Delivery int     `json:"d"`
	Replay   int     `json:"r,omitempty"`
	Fallback int     `json:"f"`
	First    int64   `json:"t0"`
	Last     int64   `json:"t1"`
	Held     int64   `json:"h,omitempty"`
	Code     string  `json:"c,omitempty"`
	Class    string  `json:"cl,omitempty"`
	Origin   Origin  `json:"o,omitzero"`
	Step     Step    `json:"st"`
	Due      int64   `json:"due"`
	Attempt  int     `json:"na"`
	Number   int     `json:"nd"`
	Key      string  `json:"k,omitempty"`
	Policy   string  `json:"p,omitempty"`
	Reason   string  `json:"re,omitempty"`
	HeldAt   int64   `json:"ha,omitempty"`
	Source   uint64  `json:"src,omitempty"`
	Record   *Record `json:"rec,omitempty"`
}

// header is the state of the entry.
func (e *Entry) header() entryHeader {
	return entryHeader{
		ID: e.ID, Subject: e.Subject, Failed: e.Work.Attempt, Delivery: e.Delivery, Replay: e.Replay, Fallback: e.Fallback,
		First: nanos(e.FirstFailedAt), Last: nanos(e.LastFailedAt), Held: int64(e.Held),
		Code: e.Code, Class: e.Class, Origin: e.Origin,
		Step: e.Step, Due: nanos(e.Due), Attempt: e.Attempt, Number: e.Number, Key: e.Key, Policy: e.Policy,
		Reason: e.Reason, HeldAt: nanos(e.HeldAt), Source: e.Source, Record: e.Record,
	}
}

// Message is how the entry is stored on a lane. It carries no message id: deduplication
// survives a purge, so an append after one could vanish.
func (e *Entry) Message(lane string) Message {
	state := e.header()
	out := write(e.Header, 4)
	out.set(HeaderEntry, string(state.appendJSON(make([]byte, 0, 512))))
	out.set(HeaderError, line(e.Error, MaxErrorRunes))
	out.set(HeaderHistory, unbroken(e.History))
	setAside(out.h, e.Barred)
	fit(out.h, &e.Work)
	return Message{Subject: lane, Header: out.h, Body: e.Body}
}

// ParseEntry reads an entry back that is stored by itself.
func ParseEntry(m *Stored) (Entry, error) {
	e, err := parseState(m.Header.Get(HeaderEntry))
	if err != nil {
		return Entry{}, fmt.Errorf("%s of %s sequence %d: %w", HeaderEntry, m.Subject, m.Sequence, err)
	}
	own, user, _ := split(m.Header)
	e.Error, e.History, e.Header, e.Barred, e.Body = own.Get(HeaderError), own.Get(HeaderHistory), user, parseAside(own), m.Body
	return e, nil
}

// parseState reads what the state says of an entry.
func parseState(text string) (Entry, error) {
	var s entryHeader
	if err := s.read(text); err != nil {
		return Entry{}, err
	}
	switch s.Step {
	case StepRetry, StepFallback, StepDead, StepReplay, StepDiscard:
	default:
		return Entry{}, fmt.Errorf("st: %q is no step", s.Step)
	}
	if s.ID == "" || s.Subject == "" {
		return Entry{}, errors.New("id or s: missing")
	}
	return Entry{
		Work: Work{
			ID: s.ID, Subject: s.Subject, Attempt: s.Failed, Delivery: s.Delivery, Replay: s.Replay, Fallback: s.Fallback,
			FirstFailedAt: fromNanos(s.First), LastFailedAt: fromNanos(s.Last), Held: time.Duration(s.Held),
			Code: s.Code, Class: s.Class, Origin: s.Origin,
		},
		Step: s.Step, Due: fromNanos(s.Due), Attempt: s.Attempt, Number: s.Number, Key: s.Key, Policy: s.Policy,
		Reason: s.Reason, HeldAt: fromNanos(s.HeldAt), Source: s.Source, Record: s.Record,
	}, nil
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
