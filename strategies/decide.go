package strategies

import (
	"math"
	"time"
)

// Failure is what is known about one failed delivery.
type Failure struct {
	ID            string
	Attempt       int // 1 = the original delivery
	Delivery      int // deliveries so far, those that used no attempt included
	Class         Class
	Hint          time.Duration // what the handler asked for, counted from At; negative = do not retry
	HasHint       bool
	At            time.Time // of the failure, on the stream
	FirstFailedAt time.Time // zero = At
	Held          time.Duration
	Trial         bool // the delivery was a probe, or of the ramp of a recovering breaker
}

// Reasons of a [RetryDecision] not to retry.
const (
	ReasonPermanent = "permanent" // the class or the handler forbids it
	ReasonExhausted = "exhausted" // no attempt is left
	ReasonExpired   = "expired"   // the retry would come after max_elapsed
)

// RetryDecision is computed once and then executed, logged and published from the same value.
type RetryDecision struct {
	Retry       bool
	Delay       time.Duration
	Due         time.Time
	NextAttempt int
	Reason      string // why not, if Retry is false
}

// Decide says whether, when and as which attempt failed work is tried again.
//
// An ignored failure and the failure of a trial use no attempt while fewer than MaxIgnored deliveries were free:
// an outage must not cost a held message its attempts, but nothing may be retried for ever.
func (r Retry) Decide(f Failure) RetryDecision {
	f.Attempt = max(f.Attempt, 1)
	if !f.Class.Retried() || f.HasHint && f.Hint < 0 {
		return RetryDecision{Reason: ReasonPermanent}
	}
	next := f.Attempt
	if !r.free(f) {
		if f.Attempt >= r.MaxAttempts {
			return RetryDecision{Reason: ReasonExhausted}
		}
		next++
	}
	delay := r.delayAfter(f)
	if r.expired(f, delay) {
		return RetryDecision{Reason: ReasonExpired}
	}
	return RetryDecision{Retry: true, Delay: delay, Due: f.At.Add(delay), NextAttempt: next}
}

func (r Retry) free(f Failure) bool {
	return (f.Class == ClassIgnored || f.Trial) && f.Delivery-f.Attempt < r.MaxIgnored
}

func (r Retry) delayAfter(f Failure) time.Duration {
	if f.Class == ClassThrottled {
		r.InitialDelay = max(r.InitialDelay, r.ThrottledDelay)
		r.MaxDelay = max(r.MaxDelay, r.ThrottledDelay)
	}
	delay := r.Delay(f.ID, f.Attempt)
	if !f.HasHint {
		return delay
	}
	latest := delay + r.MaxHint
	if latest < delay {
		latest = math.MaxInt64
	}
	return min(max(f.Hint, delay), latest)
}

func (r Retry) expired(f Failure, delay time.Duration) bool {
	var elapsed time.Duration
	if !f.FirstFailedAt.IsZero() {
		elapsed = f.At.Sub(f.FirstFailedAt)
	}
	// Compared as differences, because a time plus a saturated delay would wrap.
	return r.MaxElapsed > 0 && delay > r.MaxElapsed-elapsed+f.Held
}
