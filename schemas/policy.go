package schemas

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// PolicyDocument is a policy file, version 1. Fields left out take the defaults that the
// schema policy.v1.json names.
type PolicyDocument struct {
	Version  int          `json:"version"`
	Policies []PolicySpec `json:"policies"`
}

// PolicySpec is one policy: which subjects it serves and how their failures are handled.
type PolicySpec struct {
	Name            string          `json:"name"`
	Subjects        []string        `json:"subjects"`
	Classify        []ClassifySpec  `json:"classify,omitempty"`
	Retry           RetrySpec       `json:"retry,omitzero"`
	Breaker         BreakerSpec     `json:"breaker,omitzero"`
	Deliver         DeliverSpec     `json:"deliver,omitzero"`
	Fallback        []string        `json:"fallback,omitempty"`
	SuccessEvidence string          `json:"success_evidence,omitempty"`
	Ack             *AckSpec        `json:"ack,omitempty"`
	Outcomes        string          `json:"outcomes,omitempty"`
	Discard         []string        `json:"discard,omitempty"` // classes that are dropped instead of dead-lettered
	DeadLetter      *DeadLetterSpec `json:"dead_letter,omitempty"`
}

// ClassifySpec is a rule that gives a failure its class: all given parts must match.
type ClassifySpec struct {
	Code   []string `json:"code,omitempty"`
	Error  string   `json:"error,omitempty"`
	Header string   `json:"header,omitempty"`
	Value  string   `json:"value,omitempty"`
	Class  string   `json:"class"`
}

// RetrySpec is the retry strategy. A preset gives the values that are left out.
type RetrySpec struct {
	Preset         string    `json:"preset,omitempty"`
	MaxAttempts    *int      `json:"max_attempts,omitempty"`
	InitialDelay   *Duration `json:"initial_delay,omitempty"`
	MaxDelay       *Duration `json:"max_delay,omitempty"`
	Base           *float64  `json:"base,omitempty"`
	Jitter         *string   `json:"jitter,omitempty"`
	MaxElapsed     *Duration `json:"max_elapsed,omitempty"`
	MaxHint        *Duration `json:"max_hint,omitempty"`
	ThrottledDelay *Duration `json:"throttled_delay,omitempty"`
	MaxIgnored     *int      `json:"max_ignored,omitempty"`
}

// BreakerSpec is the circuit breaker of a policy's keys.
type BreakerSpec struct {
	Disabled         bool      `json:"disabled,omitempty"`
	Key              string    `json:"key,omitempty"`
	Mode             *string   `json:"mode,omitempty"`
	FailureThreshold *int      `json:"failure_threshold,omitempty"`
	MinDistinct      *int      `json:"min_distinct,omitempty"`
	Window           *Duration `json:"window,omitempty"`
	MinVolume        *int      `json:"min_volume,omitempty"`
	RatePermille     *int      `json:"rate_permille,omitempty"`
	ResetTimeout     *Duration `json:"reset_timeout,omitempty"`
	HalfOpenTimeout  *Duration `json:"half_open_timeout,omitempty"`
	OutcomeTimeout   *Duration `json:"outcome_timeout,omitempty"`
	OpenMultiplier   *float64  `json:"open_multiplier,omitempty"`
	MaxOpen          *Duration `json:"max_open,omitempty"`
	Probes           *int      `json:"probes,omitempty"`
	Successes        *int      `json:"successes,omitempty"`
	RampMax          *int      `json:"ramp_max,omitempty"`
	TripOnHint       *Duration `json:"trip_on_hint,omitempty"`
	MaxKeys          *int      `json:"max_keys,omitempty"`
	HeldMax          *int      `json:"held_max,omitempty"`
	HeldMaxAge       *Duration `json:"held_max_age,omitempty"`
}

// DeliverSpec says how work is sent again.
type DeliverSpec struct {
	Mode    string    `json:"mode,omitempty"` // stream, core or request
	To      string    `json:"to,omitempty"`   // template; {subject} is the original subject, {1} its first token
	Timeout *Duration `json:"timeout,omitempty"`
}

// AckSpec names the consumer whose acknowledgements are the success evidence.
type AckSpec struct {
	Stream   string `json:"stream"`
	Consumer string `json:"consumer"`
}

// DeadLetterSpec says what may happen to dead letters later.
type DeadLetterSpec struct {
	ReplayTo   []string        `json:"replay_to,omitempty"` // patterns of other subjects a replay may go to
	AutoReplay *AutoReplaySpec `json:"auto_replay,omitempty"`
}

// AutoReplaySpec sends dead letters back once their breaker has closed.
type AutoReplaySpec struct {
	Reasons []string `json:"reasons,omitempty"`
	Classes []string `json:"classes,omitempty"`
	Max     int      `json:"max,omitempty"`
	Rate    int      `json:"rate,omitempty"` // letters per second
}

// Outcome levels of a policy.
const (
	OutcomesTerminal = "terminal"
	OutcomesAttempts = "attempts"
	OutcomesAll      = "all"
)

// Published says whether a policy with this level publishes outcomes of a kind.
func Published(level, kind string) bool {
	switch {
	case Terminal(kind), level == OutcomesAll:
		return true
	case level == OutcomesTerminal:
		return false
	}
	return kind == KindRedelivered || kind == KindHeld || kind == KindReplayed
}

// Delivery modes of a policy.
const (
	DeliverStream  = "stream"  // a stream must store it
	DeliverCore    = "core"    // fire and forget
	DeliverRequest = "request" // the reply is the verdict
)

// Duration reads and writes "1m30s", with d for days.
type Duration time.Duration

// ParseDuration reads a Go duration, or one that begins with a whole number of days ("2d12h").
func ParseDuration(s string) (Duration, error) {
	days, rest, ok := strings.Cut(s, "d")
	if !ok {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, fmt.Errorf("%q is no duration like 500ms, 30s, 5m, 24h or 20d", s)
		}
		return Duration(d), nil
	}
	n, err := strconv.Atoi(days)
	if err != nil || n < 0 || n > 36500 {
		return 0, fmt.Errorf("%q is no duration like 500ms, 30s, 5m, 24h or 20d", s)
	}
	d := time.Duration(n) * 24 * time.Hour
	if rest != "" {
		more, err := time.ParseDuration(rest)
		if err != nil || more < 0 || d+more < 0 {
			return 0, fmt.Errorf("%q is no duration like 500ms, 30s, 5m, 24h or 20d", s)
		}
		d += more
	}
	return Duration(d), nil
}

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes the duration as text.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads a text.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("%s is no duration, write it as text like \"30s\"", data)
	}
	v, err := ParseDuration(s)
	if err == nil {
		*d = v
	}
	return err
}

// UnmarshalText reads a duration from an environment variable.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := ParseDuration(string(text))
	if err == nil {
		*d = v
	}
	return err
}
