package strategies

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Retry says how often and how late failed work is tried again. The zero value never retries.
type Retry struct {
	MaxAttempts    int           // deliveries in all, the original included; at least 1
	InitialDelay   time.Duration // before the first retry
	MaxDelay       time.Duration // cap of a delay, before jitter
	Base           float64       // growth per attempt, at least 1
	Jitter         Jitter
	MaxElapsed     time.Duration // since the first failure, time held not counted; 0 = no limit
	MaxHint        time.Duration // how much later than the computed delay a handler's hint may be
	ThrottledDelay time.Duration // least initial delay after a throttled failure
	MaxIgnored     int           // deliveries that may fail without using up an attempt
}

// RetryPreset returns one of the named settings: "seed" (3 attempts within seconds), "fast" (5 within two seconds),
// "patient" (20 within a day), "days" (33 within a month).
func RetryPreset(name string) (Retry, error) {
	r := Retry{Base: 2, Jitter: JitterProportional, MaxHint: 5 * time.Minute, ThrottledDelay: 5 * time.Second, MaxIgnored: 100}
	const day = 24 * time.Hour
	switch name {
	case "seed":
		r.MaxAttempts, r.InitialDelay, r.MaxDelay = 3, time.Second, 30*time.Second
	case "fast":
		r.MaxAttempts, r.InitialDelay, r.MaxDelay = 5, 100*time.Millisecond, 2*time.Second
	case "patient":
		r.MaxAttempts, r.InitialDelay, r.MaxDelay, r.MaxElapsed = 20, time.Second, 2*time.Hour, day
	case "days":
		r.MaxAttempts, r.InitialDelay, r.MaxDelay, r.MaxElapsed = 33, 15*time.Second, day, 32*day
	default:
		return Retry{}, fmt.Errorf("unknown retry preset %q: want seed, fast, patient or days", name)
	}
	return r, nil
}

// Validate returns every fault at once, each named by its field in a policy.
func (r Retry) Validate() error {
	f := faults{section: "retry"}
	f.check(r.MaxAttempts >= 1 && r.MaxAttempts <= math.MaxInt32, "max_attempts", "must be from 1 to 2147483647, is %d", r.MaxAttempts)
	f.check(r.InitialDelay > 0, "initial_delay", "must be more than 0, is %v", r.InitialDelay)
	f.check(r.MaxDelay >= r.InitialDelay, "max_delay", "must not be less than initial_delay (%v), is %v", r.InitialDelay, r.MaxDelay)
	f.check(r.Base >= 1 && !math.IsInf(r.Base, 1), "base", "must be a number of at least 1, is %v", r.Base)
	f.check(r.Jitter.known(), "jitter", "must be none, proportional, full or equal, is %q", string(r.Jitter))
	f.check(r.MaxElapsed >= 0, "max_elapsed", "must not be negative, is %v", r.MaxElapsed)
	f.check(r.MaxHint >= 0, "max_hint", "must not be negative, is %v", r.MaxHint)
	f.check(r.ThrottledDelay >= 0, "throttled_delay", "must not be negative, is %v", r.ThrottledDelay)
	f.check(r.MaxIgnored >= 0, "max_ignored", "must not be negative, is %d", r.MaxIgnored)
	return f.err()
}

// Delay returns the wait after attempt (1 = the original delivery) of the work called id has failed:
// min(MaxDelay, InitialDelay·Base^(attempt−1)), then jitter. It never wraps, and it is the same at every replica.
func (r Retry) Delay(id string, attempt int) time.Duration {
	attempt = max(attempt, 1)
	d := r.MaxDelay
	// A NaN (0·∞) compares false and leaves the cap.
	if grown := float64(r.InitialDelay) * math.Pow(r.Base, float64(attempt-1)); grown < float64(d) {
		d = saturate(grown)
	}
	return r.Jitter.apply(d, uniform(keyed(id, int64(attempt))))
}

// faults collects what is wrong with a section of a policy.
type faults struct {
	section string
	all     []error
}

func (f *faults) check(ok bool, field, format string, args ...any) {
	if !ok {
		f.all = append(f.all, fmt.Errorf("%s.%s: %s", f.section, field, fmt.Sprintf(format, args...)))
	}
}

func (f *faults) err() error { return errors.Join(f.all...) }
