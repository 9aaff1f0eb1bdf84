package strategies

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
)

// Strategy says how [Execute] makes a call. Every part is optional; the zero value calls once.
type Strategy[T any] struct {
	Name      string // for observers
	ID        string // of the work: seeds the jitter; empty = a new one for each Execute
	Retry     Retry  // with MaxAttempts 0 there are no retries, and errors come back as they are
	Breaker   *CircuitBreaker
	Fallbacks []Fallback[T]
	Classify  func(error) Class // nil = [ClassOf]
	Observe   Observer
	Clock     Clock // nil = the system's
}

// Fallback is another way to a result. It is tried once, and passed over while its own breaker refuses.
type Fallback[T any] struct {
	Name    string
	Breaker *CircuitBreaker // may be nil
	Run     func(ctx context.Context, cause error) (T, error)
}

// Execute calls work until it succeeds, as s says. It returns
//
//   - the error itself if it is permanent,
//   - a [*MaxRetriesExceededError] when no attempt or no time is left,
//   - a [*CircuitOpenError] when the breaker refuses a call; it is not asked again,
//   - an [*AllFallbacksFailedError] when there are fallbacks and none helped,
//   - as soon as ctx ends, an error that wraps its cause and the last error; fallbacks are not tried then.
func Execute[T any](ctx context.Context, s Strategy[T], work func(context.Context) (T, error)) (T, error) {
	if ctx.Err() != nil {
		var none T
		return none, context.Cause(ctx)
	}
	permit, refusal := s.allow(s.Breaker, s.Name)
	if refusal != nil {
		return fallBack(ctx, s, refusal)
	}
	value, class, err := s.call(ctx, permit, 1, work)
	if err == nil {
		return value, nil
	}
	return afterFailure(ctx, s, class, err, work)
}

// afterFailure is apart from Execute to keep what it needs off the path of a call that succeeds.
func afterFailure[T any](ctx context.Context, s Strategy[T], class Class, err error, work func(context.Context) (T, error)) (T, error) {
	value, err := s.retry(ctx, class, err, work)
	if err == nil || ctx.Err() != nil {
		return value, err
	}
	return fallBack(ctx, s, err)
}

// retry goes on after the first call has failed with err.
func (s *Strategy[T]) retry(ctx context.Context, class Class, err error, work func(context.Context) (T, error)) (value T, _ error) {
	clock := s.clock()
	f := Failure{ID: s.id(), Attempt: 1, Delivery: 1, FirstFailedAt: clock.Now()}
	for {
		f.Class, f.At = class, clock.Now()
		f.Hint, f.HasHint = hintOf(err)
		decision := s.Retry.Decide(f)
		if !decision.Retry {
			return value, s.gaveUp(f, decision, err)
		}
		s.tell(Event{Kind: EventDelay, Name: s.Name, Attempt: decision.NextAttempt, Delay: decision.Delay, Class: class, Err: err})
		if ended := clock.Sleep(ctx, decision.Delay); ended != nil {
			return value, fmt.Errorf("stopped waiting after %d calls: %w; last error: %w", f.Delivery, ended, unmarked(err))
		}
		permit, refusal := s.allow(s.Breaker, s.Name)
		if refusal != nil {
			refusal.Last = unmarked(err)
			return value, refusal
		}
		f.Attempt, f.Delivery = decision.NextAttempt, f.Delivery+1
		if value, class, err = s.call(ctx, permit, f.Attempt, work); err == nil {
			return value, nil
		}
	}
}

func (s *Strategy[T]) gaveUp(f Failure, d RetryDecision, err error) error {
	if d.Reason == ReasonPermanent || s.Retry.MaxAttempts == 0 {
		return unmarked(err)
	}
	return &MaxRetriesExceededError{Attempts: f.Delivery, Reason: d.Reason, Last: unmarked(err)}
}

// fallBack tries the fallbacks in order, each with the error of the step before.
func fallBack[T any](ctx context.Context, s Strategy[T], cause error) (value T, _ error) {
	if len(s.Fallbacks) == 0 {
		return value, cause
	}
	failed := &AllFallbacksFailedError{Cause: cause}
	last := cause
	fail := func(i int, skipped bool, err error) {
		last = unmarked(err)
		failed.Fallbacks = append(failed.Fallbacks, &FallbackError{Name: s.Fallbacks[i].Name, Skipped: skipped, Err: last})
	}
	var permit Permit
	skip := func(i int) bool {
		allowed, refusal := s.allow(s.Fallbacks[i].Breaker, s.Fallbacks[i].Name)
		permit = allowed
		if refusal != nil {
			fail(i, true, refusal)
		}
		return refusal != nil
	}
	for n := -1; ; {
		next, _, ok := NextFallback(n, s.names(), skip)
		if !ok {
			return value, failed
		}
		if ctx.Err() != nil {
			permit.Failure(ClassIgnored, 0)
			return value, fmt.Errorf("stopped before fallback %q: %w; last error: %w", s.Fallbacks[next].Name, context.Cause(ctx), last)
		}
		value, err := s.callFallback(ctx, permit, s.Fallbacks[next], last)
		if err == nil {
			return value, nil
		}
		fail(next, false, err)
		n = next
	}
}

func (s *Strategy[T]) callFallback(ctx context.Context, permit Permit, f Fallback[T], cause error) (T, error) {
	value, class, err := guard(ctx, permit, s.Classify, func(ctx context.Context) (T, error) { return f.Run(ctx, cause) })
	s.tell(Event{Kind: EventFallback, Name: f.Name, Class: class, Err: err})
	return value, err
}

func (s *Strategy[T]) call(ctx context.Context, permit Permit, attempt int, work func(context.Context) (T, error)) (T, Class, error) {
	value, class, err := guard(ctx, permit, s.Classify, work)
	s.tell(Event{Kind: EventAttempt, Name: s.Name, Attempt: attempt, Class: class, Err: err})
	return value, class, err
}

// guard makes one call and tells the breaker behind permit how it ended.
func guard[T any](ctx context.Context, permit Permit, classify func(error) Class, work func(context.Context) (T, error)) (value T, class Class, err error) {
	returned := false
	defer func() {
		if !returned { // a panic; the slot of a probe must not be lost with it
			permit.Failure(ClassTransient, 0)
		}
	}()
	value, err = work(ctx)
	returned = true
	if err == nil {
		permit.Success()
		return value, "", nil
	}
	class = classOfCall(ctx, classify, err)
	hint, _ := hintOf(err)
	permit.Failure(class, hint)
	return value, class, err
}

// classOfCall leaves what the caller's own context has ended out of the account of the callee.
func classOfCall(ctx context.Context, classify func(error) Class, err error) Class {
	switch {
	case ctx.Err() != nil:
		return ClassIgnored
	case classify != nil:
		return classify(err)
	}
	return ClassOf(err)
}

// allow asks a breaker, if there is one.
func (s *Strategy[T]) allow(b *CircuitBreaker, name string) (Permit, *CircuitOpenError) {
	if b == nil {
		return Permit{}, nil
	}
	permit, refusal := b.ask()
	if refusal != nil {
		s.tell(Event{Kind: EventRefused, Name: name, Err: refusal})
	}
	return permit, refusal
}

func (s *Strategy[T]) tell(e Event) {
	if s.Observe != nil {
		s.Observe(e)
	}
}

func (s *Strategy[T]) clock() Clock {
	if s.Clock != nil {
		return s.Clock
	}
	return systemClock{}
}

func (s *Strategy[T]) id() string {
	if s.ID != "" {
		return s.ID
	}
	return strconv.FormatUint(rand.Uint64(), 36)
}

func (s *Strategy[T]) names() []string {
	names := make([]string, len(s.Fallbacks))
	for i := range s.Fallbacks {
		names[i] = s.Fallbacks[i].Name
	}
	return names
}
