package handlers

import (
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// EventKind says what an Event tells.
type EventKind uint8

// Kinds of events.
const (
	EventFailure   EventKind = iota // a report was read and understood; Outcome describes it
	EventDuplicate                  // a report that was already being handled was read again
	EventOutcome                    // a step is stored; Outcome is what subscribers get
	EventBreaker                    // a breaker changed; Breaker is what subscribers get
	EventProbe                      // a probe was settled; Result says how
	EventLate                       // an outcome of an older generation
	EventFault                      // something went wrong and is being tried again; Err says what
	EventAlarm                      // something happened that must not; Err says what
	EventJob                        // a job over dead letters began or rests; Source says its kind, Result its state
	EventReplay                     // something became of Count replayed letters; Result says what
	EventAdvisory                   // a consumer gave a message up; Source says how that is known, Result what became of it
)

// Event is one thing that happened. It is made once and then logged, counted and published
// from the same value.
type Event struct {
	Kind     EventKind
	At       time.Time
	Shard    int
	Policy   string
	Outcome  *schemas.Outcome
	Breaker  *schemas.BreakerEvent
	Source   string        // of a failure: intake; of an advisory: its kind, or sweep
	Delay    time.Duration // decided, of a scheduled retry
	Lateness time.Duration // due to PubAck, of a release
	Elapsed  time.Duration // first failure to terminal outcome
	FailedAt time.Time     // of the work that an outcome is about, the last time
	Trace    string        // its traceparent, if it has one
	Result   string        // of a probe or a release
	Count    int64         // of letters
	Op       string        // what was tried, of a fault
	Subject  string
	ID       string
	Err      error
}

// Observer is told every event, from the goroutine of the shard in which it happened: it
// must be safe for concurrent use and must not block.
type Observer interface{ Observe(Event) }

// Observers tells each of several.
type Observers []Observer

// Observe implements Observer.
func (o Observers) Observe(e Event) {
	for _, each := range o {
		each.Observe(e)
	}
}

// Stats is a picture of one shard, for gauges and status.
type Stats struct {
	Shard      int
	Owned      bool
	Near       int   // waiting in memory, unacked
	NearBytes  int64 // memory they take, with what was read from the ledger
	Loaded     int   // read from the ledger, about to be released
	Far        int64 // in slots of the ledger
	Held       int64 // in lanes of breakers
	DeadWait   int64 // letters that wait to be stored
	InFlight   int   // publishes without an answer
	OldestDue  time.Time
	Breakers   map[string]map[strategies.State]int // by policy
	Overflowed []string                            // policies with more keys than max_keys
	Faults     map[string]string                   // what is wrong now, by operation or subject
}

// Check is one line of /readyz?verbose.
type Check struct {
	Name   string
	OK     bool
	Detail string
}
