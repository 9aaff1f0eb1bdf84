package schemas

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Kinds of outcomes.
const (
	KindScheduled   = "scheduled"   // a retry was decided
	KindHeld        = "held"        // due, but its breaker is not closed
	KindRedelivered = "redelivered" // stored on its subject
	KindRecovered   = "recovered"   // success is known
	KindFallback    = "fallback"    // delivered to a fallback
	KindDead        = "dead"        // kept as a dead letter
	KindDiscarded   = "discarded"   // dropped because policy or an operator said so
	KindRejected    = "rejected"    // refused at the door; the letter is kept
	KindReplayed    = "replayed"    // a dead letter was sent again
)

// Kinds lists all kinds of outcomes.
var Kinds = [...]string{KindScheduled, KindHeld, KindRedelivered, KindRecovered, KindFallback, KindDead, KindDiscarded, KindRejected, KindReplayed}

// Terminal says whether an outcome of this kind ends a delivery.
func Terminal(kind string) bool {
	switch kind {
	case KindRecovered, KindFallback, KindDead, KindDiscarded, KindRejected:
		return true
	}
	return false
}

// Reasons of dead letters and rejections.
const (
	ReasonExhausted       = "exhausted"        // no attempt is left
	ReasonPermanent       = "permanent"        // retrying cannot help
	ReasonFallbacksFailed = "fallbacks_failed" // no fallback is left either
	ReasonExpired         = "expired"          // longer than max_elapsed or held_max_age
	ReasonUndeliverable   = "undeliverable"    // no stream stores its subject
	ReasonMalformed       = "malformed"        // the report cannot be read
	ReasonRefused         = "refused"          // its subject must not be published to
	ReasonDiscarded       = "discarded"        // an operator removed it
)

// Reasons lists the reasons that a dead letter can have.
var Reasons = [...]string{ReasonExhausted, ReasonPermanent, ReasonFallbacksFailed, ReasonExpired, ReasonUndeliverable, ReasonMalformed, ReasonRefused}

// Outcome is what happened to a piece of failed work: ids and metadata, never the payload.
type Outcome struct {
	Kind        string `json:"kind"`
	ID          string `json:"id"`
	Subject     string `json:"subject"`
	Attempt     int    `json:"attempt"` // the delivery that failed, or the new one for redelivered and fallback
	MaxAttempts int    `json:"max_attempts,omitempty"`
	Delivery    int    `json:"delivery"`
	Replay      int    `json:"replay,omitempty"`
	Policy      string `json:"policy,omitempty"`

	Reason string `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	Code   string `json:"code,omitempty"`
	Class  string `json:"class,omitempty"`

	DelayMS int64  `json:"delay_ms,omitempty"`
	DueAt   string `json:"due_at,omitempty"`
	LateMS  int64  `json:"late_ms,omitempty"` // due to stored
	HeldMS  int64  `json:"held_ms,omitempty"`

	Target     string `json:"target,omitempty"`
	Fallback   *int   `json:"fallback,omitempty"`
	Skipped    []int  `json:"skipped,omitempty"` // fallbacks passed over because their breaker was not closed
	Key        string `json:"key,omitempty"`
	Generation int64  `json:"generation,omitempty"`
	Probe      bool   `json:"probe,omitempty"`
	Evidence   string `json:"evidence,omitempty"` // how a recovery is known: report, ack, reply

	Cause              string `json:"cause,omitempty"`
	DeadLetterSequence uint64 `json:"dead_letter_sequence,omitempty"`
	Job                string `json:"job,omitempty"`
	Actor              string `json:"actor,omitempty"`
	Note               string `json:"note,omitempty"` // what an operator gave as the reason

	FirstFailedAt string   `json:"first_failed_at,omitempty"`
	Faults        []string `json:"faults,omitempty"`    // headers of the report that could not be read
	Truncated     []string `json:"truncated,omitempty"` // headers dropped for their size
}

// OutcomeMessage is the CloudEvent that tells an outcome. The same outcome told again has
// the same message id, so subscribers see it once. of is the work that it is about, whose
// body tells works with equal ids apart; nil if it is not at hand.
func (s Subjects) OutcomeMessage(o *Outcome, of *Work, at time.Time) Message {
	w := Work{ID: o.ID, Subject: o.Subject, Replay: o.Replay}
	if of != nil {
		w.Body, w.digest, w.FirstFailedAt, w.Origin = of.Body, of.digest, of.FirstFailedAt, of.Origin
	}
	step := o.Kind
	if o.Fallback != nil {
		step += fmt.Sprint(*o.Fallback)
	}
	id := w.MsgID(Step("outcome."+step), o.Delivery)
	return s.eventMessage(s.Outcome(o.Kind, o.Subject), Event{
		ID: id, Type: TypeOutcomePrefix + o.Kind, Subject: o.Subject, Time: formatTime(at),
	}, o.appendJSON)
}

// ParseOutcome reads the body of an outcome event.
func ParseOutcome(body []byte) (Outcome, Event, error) {
	var o Outcome
	e, err := parseEvent(body, TypeOutcomePrefix, &o)
	if err == nil && (o.Kind == "" || e.Type != TypeOutcomePrefix+o.Kind) {
		err = fmt.Errorf("data.kind: %q does not fit the type %q", o.Kind, e.Type)
	}
	if err == nil && o.ID == "" {
		err = fmt.Errorf("data.id: missing")
	}
	return o, e, err
}

// BreakerEvent is a change of a breaker.
type BreakerEvent struct {
	Policy     string `json:"policy"`
	Key        string `json:"key"`
	From       string `json:"from"`
	To         string `json:"to"`
	Generation int64  `json:"generation"`
	Level      int    `json:"level,omitempty"`
	OpenUntil  string `json:"open_until,omitempty"`
	Held       int    `json:"held"` // messages in the lane
	ID         string `json:"id,omitempty"`
	Reason     string `json:"reason,omitempty"`
	Actor      string `json:"actor,omitempty"`
}

// name is what the new state is called in subjects and types.
func (b *BreakerEvent) name() string {
	if b.To == "open" {
		return "opened"
	}
	return b.To
}

// BreakerMessage is the CloudEvent that tells a change of a breaker.
func (s Subjects) BreakerMessage(b *BreakerEvent, at time.Time) (Message, error) {
	name := b.name()
	w := Work{ID: b.Policy, Subject: b.Key, Body: fmt.Append(nil, b.Generation, b.To)}
	data, err := json.Marshal(b)
	if err != nil {
		return Message{}, fmt.Errorf("event of breaker %s: %w", b.Key, err)
	}
	return s.eventMessage(s.Breaker(name, b.Key), Event{
		ID: w.MsgID("breaker", 0), Type: TypeBreakerPrefix + name, Subject: b.Key, Time: formatTime(at),
	}, func(body []byte) []byte { return append(body, data...) }), nil
}

// ParseBreakerEvent reads the body of a breaker event.
func ParseBreakerEvent(body []byte) (BreakerEvent, Event, error) {
	var b BreakerEvent
	e, err := parseEvent(body, TypeBreakerPrefix, &b)
	if err == nil && (b.To == "" || e.Type != TypeBreakerPrefix+b.name()) {
		err = fmt.Errorf("data.to: %q does not fit the type %q", b.To, e.Type)
	}
	if err == nil && b.Key == "" {
		err = fmt.Errorf("data.key: missing")
	}
	return b, e, err
}

func (s Subjects) eventMessage(subject string, e Event, data func([]byte) []byte) Message {
	e.SpecVersion, e.Source, e.DataContentType = "1.0", "recoveryd/"+s.Prefix, "application/json"
	h := Header{HeaderContentType: {ContentTypeEvent}, HeaderMsgID: {e.ID}}
	// Most need no more: the subject comes four times, for a breaker's key as well.
	body := make([]byte, 0, 640+4*len(e.Subject))
	return Message{Subject: subject, Header: h, Body: appendEvent(body, &e, data)}
}

func parseEvent(body []byte, prefix string, data any) (Event, error) {
	var e Event
	if err := json.Unmarshal(body, &e); err != nil {
		return e, fmt.Errorf("body is no CloudEvents JSON: %w", err)
	}
	if e.SpecVersion != "1.0" {
		return e, fmt.Errorf("specversion: %q, only 1.0 is read", e.SpecVersion)
	}
	if !strings.HasPrefix(e.Type, prefix) {
		return e, fmt.Errorf("type: %q does not begin with %s", e.Type, prefix)
	}
	// A later version may add fields and attributes; what is known must still have its type.
	if err := json.Unmarshal(e.Data, data); err != nil {
		return e, fmt.Errorf("data: %w", err)
	}
	return e, nil
}
