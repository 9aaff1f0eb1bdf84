package strategies

import "time"

// InputKind says what reached a breaker.
type InputKind uint8

const (
	InFailure   InputKind = iota // a delivery failed
	InSuccess                    // a delivery succeeded
	InDue                        // a message is due and asks
	InTick                       // time passed or the lane changed; the only input that moves the machine by time
	InReleased                   // a lane message that was picked has been released
	InOperator                   // somebody decided
	InWithdrawn                  // a release reached nobody: an owner before had made it already
)

// Input is one record for one key. Times are stream time in Unix nanoseconds.
type Input struct {
	Kind       InputKind
	Now        int64 // never goes back: an earlier time than before counts as the one before
	ID         string
	Delivery   int
	Generation int64 // that the delivery was stamped with; 0 = none
	Class      Class
	OccurredAt int64         // 0 = Now
	Hint       time.Duration // of a failure
	Probe      bool          // as reported; what decides is whether the delivery has a live lease
	Lane       int           // InDue, InTick: messages in the held lane now, including this one if it came from there
	Op         Operation
}

// Operation is the decision of an operator.
type Operation struct {
	To            State // ForcedOpen, Disabled, Closed (reset) or HalfOpen (probe now); others are refused
	Until         int64 // end of ForcedOpen and Disabled; 0 = no limit
	Actor, Reason string
}

// Verdict answers a message that is due.
type Verdict uint8

const (
	VerdictNone    Verdict = iota // nothing was asked
	VerdictRelease                // send it
	VerdictHold                   // append it to the lane of the key, then Tick
)

// Reasons of a [Transition] that no operator asked for.
const (
	ReasonFailures       = "failures"         // the run reached its threshold
	ReasonRate           = "rate"             // the share of failures did
	ReasonHint           = "hint"             // the handler asked for a long pause
	ReasonResetTimeout   = "reset_timeout"    // the opening is over
	ReasonProbesOK       = "probes_succeeded" // enough probes succeeded
	ReasonProbesFailed   = "probes_failed"    // so many failed that success was out of reach
	ReasonProbesUnknown  = "probes_unknown"   // all probes ended, without a verdict
	ReasonNothingToProbe = "nothing_to_probe" // half open, and the lane stayed empty
	ReasonLaneEmpty      = "lane_empty"       // all that was held is released
	ReasonLaneFound      = "lane_found"       // messages are held, but no breaker was known
	ReasonLimit          = "limit"            // the time given by the operator is over
	ReasonPolicy         = "policy"           // the policy has no breaker (any more)
)

// Transition is one change of state.
type Transition struct {
	From, To   State
	Generation int64
	Level      int
	OpenUntil  int64 // end of Open, ForcedOpen and Disabled, else 0
	At         int64
	ID         string // the record that caused it; empty = time or an operator
	Reason     string // one of the constants above, or the operator's words
	Actor      string // the operator, if it was one
}

// Results of probes in [Output].
const (
	ProbeSuccess    = "success"
	ProbeFailure    = "failure"
	ProbeUnknown    = "unknown"    // no outcome in time
	ProbeReassigned = "reassigned" // the outcome said nothing about the handler: another message probes
)

// Output is all that a step decided.
type Output struct {
	Key         string // of the breaker that answered: the lane to hold in. [OverflowKey] when keys ran out
	Verdict     Verdict
	Generation  int64 // to stamp on what is released; 0 = none
	Want        int   // lane messages that may be picked and released now; it does not know of picks not yet reported
	Probing     bool  // Want are probes: choose with PickProbes, report each with InReleased
	Changed     bool
	Change      Transition // if Changed; a step makes at most one
	Late        bool       // the outcome belongs to an older generation and changed nothing
	Duplicate   bool       // the record was applied before and changed nothing
	ProbeResult string     // "", or a result of a probe
	Next        int64      // when the next Tick is needed; 0 = not at all, in the past = at once
}

// Candidate is a message of a held lane that could probe.
type Candidate struct {
	Seq      uint64
	ID       string
	Delivery int
}
