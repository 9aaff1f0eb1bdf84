package strategies

import (
	"math"
	"time"
)

// Modes of tripping.
const (
	ModeRun  = "run"  // enough failures since the last success
	ModeRate = "rate" // a large enough share of failures within the window
)

// Evidence says how the success of a delivery becomes known.
type Evidence string

const (
	EvidenceSilence Evidence = "silence" // nobody reports: no failure within the timeout is taken as success
	EvidenceReport  Evidence = "report"  // workers publish success reports
	EvidenceAck     Evidence = "ack"     // the consumer's ack metrics
)

// Reported reports whether successes reach the breaker as records.
func (e Evidence) Reported() bool { return e == EvidenceReport || e == EvidenceAck }

const (
	mostProbes    = 64    // only so many messages of a lane are looked at for probes
	mostThreshold = 1_000 // a key remembers the time of each failure of its run
	mostRamp      = 65_536
)

// BreakerConfig is the breaker of one policy. [DefaultBreaker] has the defaults.
type BreakerConfig struct {
	Disabled         bool
	Mode             string        // ModeRun or ModeRate
	FailureThreshold int           // run: failures that trip, 1 to 1,000
	MinDistinct      int           // run: different messages they must come from, at most FailureThreshold
	Window           time.Duration // run without reported successes, and rate: how far apart evidence may lie
	MinVolume        int           // rate: least number of outcomes
	RatePermille     int           // rate: failures in 1,000 that trip, 1 to 1,000
	ResetTimeout     time.Duration // open for the first time, ± 10 %
	HalfOpenTimeout  time.Duration // least time for an outcome; length of a silent round while recovering
	OutcomeTimeout   time.Duration // time for the outcome of a probe
	MaxOpen          time.Duration // longest opening, before the ± 10 %
	OpenMultiplier   float64       // growth of an opening per level, at least 1
	Probes           int           // messages that probe at the same time, 1 to 64
	Successes        int           // probes that must succeed, at most Probes
	RampMax          int           // most releases in flight while recovering, 1 to 65,536
	TripOnHint       time.Duration // a throttled failure with at least this hint opens at once; 0 = never
	Evidence         Evidence
	MaxKeys          int // keys in memory before new ones share one breaker

	lastCalls int // rate over the latest calls instead of Window; only a [CircuitBreaker] has an order of calls
}

// DefaultBreaker returns the defaults of a policy.
func DefaultBreaker() BreakerConfig {
	return BreakerConfig{
		Mode:             ModeRun,
		FailureThreshold: 5,
		MinDistinct:      2,
		Window:           60 * time.Second,
		MinVolume:        20,
		RatePermille:     500,
		ResetTimeout:     60 * time.Second,
		HalfOpenTimeout:  5 * time.Second,
		OutcomeTimeout:   30 * time.Second,
		MaxOpen:          10 * time.Minute,
		OpenMultiplier:   1,
		Probes:           1,
		Successes:        1,
		RampMax:          1_024,
		TripOnHint:       5 * time.Minute,
		Evidence:         EvidenceSilence,
		MaxKeys:          100_000,
	}
}

// Validate returns every fault at once, each named by its field in a policy.
func (c BreakerConfig) Validate() error {
	f := faults{section: "breaker"}
	between := func(n, low, high int, field string) {
		f.check(n >= low && n <= high, field, "must be from %d to %d, is %d", low, high, n)
	}
	positive := func(d time.Duration, field string) { f.check(d > 0, field, "must be more than 0, is %v", d) }

	f.check(c.Mode == ModeRun || c.Mode == ModeRate, "mode", "must be run or rate, is %q", c.Mode)
	f.check(c.Mode != ModeRate || c.Evidence.Reported(), "mode",
		"rate needs to know of successes: set success_evidence to report or ack, or mode to run")
	f.check(c.Evidence == EvidenceSilence || c.Evidence.Reported(), "success_evidence",
		"must be silence, report or ack, is %q", string(c.Evidence))
	between(c.FailureThreshold, 1, mostThreshold, "failure_threshold")
	between(c.MinDistinct, 1, max(1, c.FailureThreshold), "min_distinct")
	between(c.MinVolume, 1, math.MaxInt32, "min_volume")
	between(c.RatePermille, 1, 1_000, "rate_permille")
	between(c.Probes, 1, mostProbes, "probes")
	between(c.Successes, 1, max(1, c.Probes), "successes")
	between(c.RampMax, 1, mostRamp, "ramp_max")
	between(c.MaxKeys, 1, math.MaxInt32, "max_keys")
	positive(c.Window, "window")
	positive(c.ResetTimeout, "reset_timeout")
	positive(c.HalfOpenTimeout, "half_open_timeout")
	positive(c.OutcomeTimeout, "outcome_timeout")
	f.check(c.MaxOpen >= c.ResetTimeout, "max_open", "must not be less than reset_timeout (%v), is %v", c.ResetTimeout, c.MaxOpen)
	f.check(c.OpenMultiplier >= 1 && !math.IsInf(c.OpenMultiplier, 1), "open_multiplier", "must be a number of at least 1, is %v", c.OpenMultiplier)
	f.check(c.TripOnHint >= 0, "trip_on_hint", "must not be negative, is %v", c.TripOnHint)
	return f.err()
}

// openFor returns how long key stays open on a level (1 = the first). The spread comes from (key, generation), so
// that the breakers opened by one outage do not all probe at one moment.
func (c *BreakerConfig) openFor(key string, generation int64, level int) time.Duration {
	d := c.MaxOpen
	if grown := float64(c.ResetTimeout) * math.Pow(c.OpenMultiplier, float64(max(level, 1)-1)); grown < float64(d) {
		d = saturate(grown)
	}
	return saturate(float64(d) * (0.9 + 0.2*uniform(keyed(key, generation))))
}

// asksForPause reports whether a failure asks for so long a pause that the breaker opens for it.
func (c *BreakerConfig) asksForPause(in *Input) bool {
	return in.Kind == InFailure && in.Class == ClassThrottled && c.TripOnHint > 0 && in.Hint >= c.TripOnHint
}

// probeLease is how long a probe may take: evidence that takes longer than half_open_timeout rules.
func (c *BreakerConfig) probeLease() int64 { return int64(max(c.HalfOpenTimeout, c.OutcomeTimeout)) }

// rampLease is how long a release counts as in flight without an outcome.
func (c *BreakerConfig) rampLease() int64 {
	if c.Evidence.Reported() {
		return c.probeLease()
	}
	return int64(c.HalfOpenTimeout)
}
