package strategies

import (
	"context"
	"time"
)

// EventKind says what an observer is told.
type EventKind uint8

const (
	EventAttempt    EventKind = iota // a call has ended
	EventDelay                       // a retry waits
	EventRefused                     // the breaker let no call through
	EventFallback                    // a fallback has ended, or was skipped
	EventTransition                  // a breaker changed
)

// Event is one thing that happened in [Execute] or in a [CircuitBreaker].
type Event struct {
	Kind       EventKind
	Name       string // of the strategy, the fallback or the breaker
	Attempt    int    // 1 = the first call
	Delay      time.Duration
	Class      Class
	Err        error // nil = success
	Transition Transition
}

// Observer is told of every event, in the goroutine where it happens; it must return quickly.
type Observer func(Event)

// Clock is the time of [Execute], to be replaced in tests.
type Clock interface {
	Now() time.Time
	// Sleep returns nil after d, or the cause as soon as ctx ends.
	Sleep(ctx context.Context, d time.Duration) error
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
