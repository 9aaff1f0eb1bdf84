package strategies

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var errBoom = errors.New("boom")

// failing returns work that fails n times with err, then returns its number of calls.
func failing(n int, err error, calls *int) func(context.Context) (int, error) {
	return func(context.Context) (int, error) {
		if *calls++; *calls <= n {
			return 0, err
		}
		return *calls, nil
	}
}

func plain(attempts int) Retry {
	return Retry{MaxAttempts: attempts, InitialDelay: time.Second, MaxDelay: time.Minute, Base: 2, Jitter: JitterNone, MaxHint: time.Minute, ThrottledDelay: 5 * time.Second, MaxIgnored: 3}
}

func TestExecuteRetries(t *testing.T) {
	t.Parallel()
	const s = time.Second
	tests := []struct {
		name     string
		strategy Strategy[int]
		fails    int
		err      error
		calls    int
		elapsed  time.Duration
		check    func(error) bool
	}{
		{"success at once", Strategy[int]{Retry: plain(3)}, 0, errBoom, 1, 0, isNil},
		{"success at last", Strategy[int]{Retry: plain(4)}, 3, errBoom, 4, 7 * s, isNil},
		{"exhausted", Strategy[int]{Retry: plain(3)}, 9, errBoom, 3, 3 * s, func(err error) bool {
			e, ok := err.(*MaxRetriesExceededError)
			return ok && e.Attempts == 3 && e.Reason == ReasonExhausted && e.Last == errBoom && errors.Is(err, errBoom)
		}},
		{"no retries", Strategy[int]{}, 9, errBoom, 1, 0, isBoom},
		{"permanent", Strategy[int]{Retry: plain(3)}, 9, Permanent(errBoom), 1, 0, isBoom},
		{"wrapped permanent", Strategy[int]{Retry: plain(3)}, 9, fmt.Errorf("in a step: %w", Permanent(errBoom)), 1, 0, func(err error) bool {
			return errors.Is(err, errBoom) && err.Error() == "in a step: boom"
		}},
		{"permanent by classifier", Strategy[int]{Retry: plain(3), Classify: func(error) Class { return ClassPermanent }}, 9, errBoom, 1, 0, isBoom},
		{"throttled", Strategy[int]{Retry: plain(3)}, 1, Throttled(errBoom, 20*s), 2, 20 * s, isNil},
		{"throttled without a pause", Strategy[int]{Retry: plain(3)}, 1, Throttled(errBoom, 0), 2, 5 * s, isNil},
		{"throttled for ever", Strategy[int]{Retry: plain(3)}, 9, Throttled(errBoom, -1), 1, 0, isBoom},
		{"ignored uses no attempt", Strategy[int]{Retry: plain(1), Classify: func(error) Class { return ClassIgnored }}, 3, errBoom, 4, 3 * s, isNil},
		{"expired", Strategy[int]{Retry: expiring(plain(9))}, 9, errBoom, 3, 3 * s, func(err error) bool {
			e, ok := err.(*MaxRetriesExceededError)
			return ok && e.Reason == ReasonExpired
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start, calls := time.Now(), 0
				value, err := Execute(t.Context(), tt.strategy, failing(tt.fails, tt.err, &calls))
				if calls != tt.calls || time.Since(start) != tt.elapsed || !tt.check(err) || err == nil && value != calls {
					t.Errorf("%d, %v after %d calls and %v; want %d calls and %v", value, err, calls, time.Since(start), tt.calls, tt.elapsed)
				}
			})
		})
	}
}

func isNil(err error) bool  { return err == nil }
func isBoom(err error) bool { return err == errBoom }

func expiring(r Retry) Retry {
	r.MaxElapsed = 5 * time.Second
	return r
}

func TestExecuteStopsWaitingAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("shutting down")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(1500*time.Millisecond, func() { cancel(why) })
		start, calls := time.Now(), 0
		s := Strategy[int]{Retry: plain(9), Fallbacks: []Fallback[int]{{Name: "never", Run: func(context.Context, error) (int, error) {
			t.Error("a fallback ran after the end")
			return 0, nil
		}}}}
		_, err := Execute(ctx, s, failing(9, errBoom, &calls))
		if time.Since(start) != 1500*time.Millisecond || calls != 2 || !errors.Is(err, why) || !errors.Is(err, errBoom) {
			t.Errorf("%v after %d calls and %v", err, calls, time.Since(start))
		}
		if _, err := Execute(ctx, s, failing(0, nil, &calls)); !errors.Is(err, why) || calls != 2 {
			t.Errorf("begun after the end: %v, %d calls", err, calls)
		}
	})
}

func TestExecuteDoesNotBlameTheCalleeForTheCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		circuit := newCircuit(t, func(c *CircuitConfig) { c.Breaker.FailureThreshold = 1 })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := Execute(ctx, Strategy[int]{Retry: plain(3), Breaker: circuit}, func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		wantState(t, circuit, Closed)
	})
}

func TestExecuteRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		circuit := newCircuit(t, func(c *CircuitConfig) { c.Breaker.FailureThreshold = 2 })
		s := Strategy[int]{Retry: plain(9), Breaker: circuit}
		calls := 0
		_, err := Execute(t.Context(), s, failing(9, errBoom, &calls))
		refused, ok := err.(*CircuitOpenError)
		if !ok || calls != 2 || !errors.Is(err, ErrCircuitOpen) || !errors.Is(err, errBoom) || refused.Remaining <= 0 {
			t.Errorf("%v after %d calls", err, calls)
		}
		_, err = Execute(t.Context(), s, failing(9, errBoom, &calls))
		if calls != 2 || !errors.Is(err, ErrCircuitOpen) || errors.Is(err, errBoom) {
			t.Errorf("%v after %d calls", err, calls)
		}
	})
}

func TestExecuteFallsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		open := newCircuit(t, nil)
		open.Operate(Operation{To: ForcedOpen})
		guarded := newCircuit(t, func(c *CircuitConfig) { c.Breaker.FailureThreshold = 1 })
		errCache := errors.New("cache is cold")
		var causes []error
		cache := Fallback[int]{Name: "cache", Breaker: guarded, Run: func(_ context.Context, cause error) (int, error) {
			causes = append(causes, cause)
			return 0, errCache
		}}
		replica := Fallback[int]{Name: "replica", Breaker: open}
		static := Fallback[int]{Name: "static", Run: func(_ context.Context, cause error) (int, error) {
			causes = append(causes, cause)
			return 42, nil
		}}
		calls := 0
		value, err := Execute(t.Context(), Strategy[int]{Retry: plain(2), Fallbacks: []Fallback[int]{cache, replica, static}}, failing(9, errBoom, &calls))
		if value != 42 || err != nil || len(causes) != 2 || !errors.Is(causes[0], errBoom) || !errors.Is(causes[1], ErrCircuitOpen) {
			t.Errorf("%d, %v, causes %v", value, err, causes)
		}
		wantState(t, guarded, Open)
		guarded.Operate(Operation{To: Closed})

		_, err = Execute(t.Context(), Strategy[int]{Fallbacks: []Fallback[int]{cache, replica}}, failing(99, Permanent(errBoom), &calls))
		all, ok := err.(*AllFallbacksFailedError)
		if !ok || len(all.Fallbacks) != 2 || all.Fallbacks[0].Skipped || !all.Fallbacks[1].Skipped {
			t.Fatalf("%v", err)
		}
		for _, want := range []error{errBoom, errCache, ErrCircuitOpen} {
			if !errors.Is(err, want) {
				t.Errorf("%v is not in %v", want, err)
			}
		}
		if !strings.Contains(err.Error(), `fallback "replica" skipped`) {
			t.Error(err)
		}
	})
}

func TestExecuteSettlesAPanic(t *testing.T) {
	t.Parallel()
	circuit := newCircuit(t, func(c *CircuitConfig) { c.Breaker.FailureThreshold = 1 })
	func() {
		defer func() {
			if got := recover(); got != "oops" {
				t.Errorf("recovered %v", got)
			}
		}()
		_, err := Execute(t.Context(), Strategy[int]{Breaker: circuit}, func(context.Context) (int, error) { panic("oops") })
		t.Errorf("returned %v", err)
	}()
	wantState(t, circuit, Open)
}

func TestExecuteTellsEverything(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		observe := func(e Event) {
			switch e.Kind {
			case EventAttempt:
				seen = append(seen, fmt.Sprintf("%s attempt %d: %s %v", e.Name, e.Attempt, e.Class, e.Err))
			case EventDelay:
				seen = append(seen, fmt.Sprintf("%s waits %v for attempt %d", e.Name, e.Delay, e.Attempt))
			case EventRefused:
				seen = append(seen, fmt.Sprintf("%s refused", e.Name))
			case EventFallback:
				seen = append(seen, fmt.Sprintf("fallback %s: %v", e.Name, e.Err))
			case EventTransition:
				seen = append(seen, fmt.Sprintf("%s is %s", e.Name, e.Transition.To))
			}
		}
		circuit := newCircuit(t, func(c *CircuitConfig) { c.Breaker.FailureThreshold, c.Observe = 2, observe })
		calls := 0
		value, err := Execute(t.Context(), Strategy[int]{
			Name: "load", Retry: plain(9), Breaker: circuit, Observe: observe,
			Fallbacks: []Fallback[int]{{Name: "cache", Run: func(context.Context, error) (int, error) { return 7, nil }}},
		}, failing(9, errBoom, &calls))
		if value != 7 || err != nil {
			t.Errorf("%d, %v", value, err)
		}
		want := []string{
			"load attempt 1: transient boom", "load waits 1s for attempt 2", "db is open", "load attempt 2: transient boom",
			"load waits 2s for attempt 3", "load refused", "fallback cache: <nil>",
		}
		if !slices.Equal(seen, want) {
			t.Errorf("seen\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
		}
	})
}

// fakeClock stands in for the system's: it does not wait.
type fakeClock struct {
	now    time.Time
	slept  []time.Duration
	refuse error
}

func (c *fakeClock) Now() time.Time { return c.now }

func (c *fakeClock) Sleep(_ context.Context, d time.Duration) error {
	c.now, c.slept = c.now.Add(d), append(c.slept, d)
	return c.refuse
}

func TestExecuteWithAnotherClock(t *testing.T) {
	t.Parallel()
	r := preset(t, "seed")
	clock, calls := &fakeClock{}, 0
	s := Strategy[int]{ID: "msg-1", Retry: r, Clock: clock}
	if _, err := Execute(t.Context(), s, failing(2, errBoom, &calls)); err != nil {
		t.Fatal(err)
	}
	if want := []time.Duration{871_988_016, 2_954_854_135}; !slices.Equal(clock.slept, want) { // as in section 2
		t.Errorf("slept %v, want %v", clock.slept, want)
	}
	one, other := &fakeClock{}, &fakeClock{}
	for _, clock := range []*fakeClock{one, other} {
		calls = 0
		if _, err := Execute(t.Context(), Strategy[int]{Retry: r, Clock: clock}, failing(2, errBoom, &calls)); err != nil {
			t.Fatal(err)
		}
	}
	if slices.Equal(one.slept, other.slept) {
		t.Errorf("without an id two executions wait for the same %v", one.slept)
	}
}

type slowError struct{}

func (slowError) Error() string { return "slow" }
func (slowError) Timeout() bool { return true }

func TestClassOf(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err  error
		want Class
	}{
		{errBoom, ClassTransient},
		{Permanent(errBoom), ClassPermanent},
		{fmt.Errorf("deep: %w", Throttled(errBoom, 1)), ClassThrottled},
		{context.DeadlineExceeded, ClassTimeout},
		{fmt.Errorf("deep: %w", slowError{}), ClassTimeout},
		{context.Canceled, ClassTransient},
	}
	for _, tt := range tests {
		if got := ClassOf(tt.err); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.err, got, tt.want)
		}
	}
	if Permanent(nil) != nil || Throttled(nil, 1) != nil {
		t.Error("no error was made into one")
	}
}
