package strategies

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrCircuitOpen matches every [*CircuitOpenError].
var ErrCircuitOpen = errors.New("circuit breaker is open")

// CircuitOpenError says that a breaker refused a call.
type CircuitOpenError struct {
	Name      string
	State     State         // Open, HalfOpen (all probes are out) or ForcedOpen
	Remaining time.Duration // until it may let a call through; 0 = unknown
	Last      error         // of the attempt before, nil if there was none
}

func (e *CircuitOpenError) Error() string {
	text := fmt.Sprintf("circuit breaker %q is %s", e.Name, e.State)
	if e.Remaining > 0 {
		text += fmt.Sprintf(", ask again in %v", e.Remaining)
	}
	if e.Last != nil {
		text += ": " + e.Last.Error()
	}
	return text
}

// Is matches [ErrCircuitOpen].
func (e *CircuitOpenError) Is(target error) bool { return target == ErrCircuitOpen }

func (e *CircuitOpenError) Unwrap() error { return e.Last }

// MaxRetriesExceededError says that work failed as often as it may.
type MaxRetriesExceededError struct {
	Attempts int    // calls made
	Reason   string // ReasonExhausted or ReasonExpired
	Last     error
}

func (e *MaxRetriesExceededError) Error() string {
	return fmt.Sprintf("gave up after %d attempts (%s): %v", e.Attempts, e.Reason, e.Last)
}

func (e *MaxRetriesExceededError) Unwrap() error { return e.Last }

// FallbackError is why one fallback did not help.
type FallbackError struct {
	Name    string
	Skipped bool // its own breaker refused
	Err     error
}

func (e *FallbackError) Error() string {
	if e.Skipped {
		return fmt.Sprintf("fallback %q skipped: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("fallback %q: %v", e.Name, e.Err)
}

func (e *FallbackError) Unwrap() error { return e.Err }

// AllFallbacksFailedError joins the error of the work and those of its fallbacks, in order.
type AllFallbacksFailedError struct {
	Cause     error
	Fallbacks []*FallbackError
}

func (e *AllFallbacksFailedError) Error() string {
	return fmt.Sprintf("all %d fallbacks failed: %v", len(e.Fallbacks), errors.Join(e.Unwrap()...))
}

// Unwrap returns every error, so that errors.Is and errors.As find any of them.
func (e *AllFallbacksFailedError) Unwrap() []error {
	all := []error{e.Cause}
	for _, f := range e.Fallbacks {
		all = append(all, f)
	}
	return all
}

// classified is an error whose class its maker knows.
type classified struct {
	error
	class   Class
	hint    time.Duration
	hasHint bool
}

func (c *classified) Unwrap() error { return c.error }

// Permanent marks an error that no retry can help. Execute returns err itself. Permanent(nil) is nil.
func Permanent(err error) error { return classify(err, classified{class: ClassPermanent}) }

// Throttled marks an error whose sender asked to be left alone for after; negative = for ever. Throttled(nil, …) is nil.
func Throttled(err error, after time.Duration) error {
	return classify(err, classified{class: ClassThrottled, hint: after, hasHint: true})
}

func classify(err error, c classified) error {
	if err == nil {
		return nil
	}
	c.error = err
	return &c
}

// ClassOf returns the class that err was marked with; else timeout for what calls itself one; else transient.
func ClassOf(err error) Class {
	if c, ok := errors.AsType[*classified](err); ok {
		return c.class
	}
	if t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && t.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return ClassTimeout
	}
	return ClassTransient
}

// unmarked takes off a mark that is the outermost error.
func unmarked(err error) error {
	if c, ok := err.(*classified); ok {
		return c.error
	}
	return err
}

func hintOf(err error) (time.Duration, bool) {
	if c, ok := errors.AsType[*classified](err); ok {
		return c.hint, c.hasHint
	}
	return 0, false
}
