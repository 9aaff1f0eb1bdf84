package strategies

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func newCircuit(t testing.TB, edit func(*CircuitConfig)) *CircuitBreaker {
	t.Helper()
	c := CircuitConfig{Name: "db", Breaker: DefaultBreaker()}
	if edit != nil {
		edit(&c)
	}
	circuit, err := NewCircuitBreaker(c)
	if err != nil {
		t.Fatal(err)
	}
	return circuit
}

// play makes one call for each letter, S or F, and stops where the breaker refuses.
func play(t testing.TB, c *CircuitBreaker, calls string) {
	t.Helper()
	for i, call := range calls {
		permit, err := c.Allow()
		if err != nil {
			t.Fatalf("call %d of %s: %v", i+1, calls, err)
		}
		if call == 'S' {
			permit.Success()
		} else {
			permit.Failure(ClassTransient, 0)
		}
	}
}

func wantState(t testing.TB, c *CircuitBreaker, want State) {
	t.Helper()
	if got := c.State(); got != want {
		t.Fatalf("%s, want %s", got, want)
	}
}

// Expectations of failsafe-go and gobreaker.
func TestCircuitPublishedElsewhere(t *testing.T) {
	t.Parallel()
	tests := []struct {
		source    string
		threshold int
		calls     string
		want      State
	}{
		{"gobreaker: three in a row", 3, "FSFF", Closed},
		{"gobreaker: three in a row", 3, "FSFFF", Open},
		{"failsafe-go: successes in between", 2, strings.Repeat("SF", 20), Closed},
		{"failsafe-go: two in a row", 2, "SFF", Open},
	}
	for _, tt := range tests {
		t.Run(tt.source+" "+tt.calls, func(t *testing.T) {
			t.Parallel()
			stopped := time.Unix(1, 0) // even when the clock stands still the order of calls counts
			c := newCircuit(t, func(c *CircuitConfig) {
				c.Breaker.FailureThreshold = tt.threshold
				c.Now = func() time.Time { return stopped }
			})
			play(t, c, tt.calls)
			wantState(t, c, tt.want)
		})
	}
}

// failsafe-go: half open with a success threshold of three out of three.
func TestCircuitHalfOpenPublishedElsewhere(t *testing.T) {
	t.Parallel()
	for calls, want := range map[string]State{"SSF": Open, "SSS": Closed} {
		synctest.Test(t, func(t *testing.T) {
			c := newCircuit(t, func(c *CircuitConfig) {
				c.Breaker.FailureThreshold, c.Breaker.Probes, c.Breaker.Successes = 1, 3, 3
			})
			play(t, c, "F")
			time.Sleep(67 * time.Second)
			play(t, c, calls[:2])
			wantState(t, c, HalfOpen)
			play(t, c, calls[2:])
			wantState(t, c, want)
		})
	}
}

// gobreaker: open for 5 s, refused at 3 s, permitted at 6 s.
func TestCircuitOpensForItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCircuit(t, func(c *CircuitConfig) { c.Breaker.FailureThreshold, c.Breaker.ResetTimeout = 1, 5*time.Second })
		play(t, c, "F")
		time.Sleep(3 * time.Second)
		_, err := c.Allow()
		refused, ok := errors.AsType[*CircuitOpenError](err)
		if !ok || !errors.Is(err, ErrCircuitOpen) || refused.Remaining < 1500*time.Millisecond || refused.Remaining > 2500*time.Millisecond {
			t.Fatalf("at 3 s: %v", err)
		}
		time.Sleep(3 * time.Second)
		probe, err := c.Allow()
		if err != nil {
			t.Fatalf("at 6 s: %v", err)
		}
		if _, err := c.Allow(); !errors.Is(err, ErrCircuitOpen) || !strings.Contains(err.Error(), `"db" is half_open`) {
			t.Fatalf("beside the only probe: %v", err)
		}
		probe.Success()
		play(t, c, "SSF")
	})
}

func TestCircuitForgetsALostProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCircuit(t, func(c *CircuitConfig) { c.Breaker.FailureThreshold = 1 })
		play(t, c, "F")
		time.Sleep(67 * time.Second)
		lost, err := c.Allow()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(31 * time.Second)
		play(t, c, "S")
		wantState(t, c, Closed)
		for range 9 {
			lost.Failure(ClassTransient, 0) // of an older generation
		}
		wantState(t, c, Closed)
	})
}

func TestCircuitIgnoresCallsFromBeforeTheOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCircuit(t, func(c *CircuitConfig) { c.Breaker.FailureThreshold = 1 })
		slow, err := c.Allow()
		if err != nil {
			t.Fatal(err)
		}
		play(t, c, "F")
		time.Sleep(67 * time.Second)
		play(t, c, "S")
		slow.Failure(ClassTransient, 0)
		wantState(t, c, Closed)
	})
}

func TestCircuitRateOverCalls(t *testing.T) {
	t.Parallel()
	c := newCircuit(t, func(c *CircuitConfig) {
		c.LastCalls, c.Breaker.Mode, c.Breaker.MinVolume, c.Breaker.RatePermille = 4, ModeRate, 4, 500
	})
	play(t, c, "FFFSSSFSSSFSSF")
	wantState(t, c, Open)
}

func TestCircuitOperate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCircuit(t, nil)
		c.Operate(Operation{To: Disabled, Until: time.Now().Add(time.Minute).UnixNano()})
		play(t, c, strings.Repeat("F", 50))
		time.Sleep(time.Minute)
		play(t, c, "SFFFF")
		wantState(t, c, Closed)
		c.Operate(Operation{To: ForcedOpen})
		time.Sleep(time.Hour)
		if _, err := c.Allow(); !errors.Is(err, ErrCircuitOpen) || strings.Contains(err.Error(), "ask again") {
			t.Fatalf("forced open without a limit: %v", err)
		}
		c.Operate(Operation{To: Closed})
		play(t, c, "SF")
		c.Operate(Operation{To: ForcedOpen, Until: time.Now().Add(time.Minute).UnixNano()})
		time.Sleep(time.Minute)
		play(t, c, "S")
		wantState(t, c, Closed)
	})
}

func TestCircuitTellsOfTransitions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		var c *CircuitBreaker
		c = newCircuit(t, func(config *CircuitConfig) {
			config.Breaker.FailureThreshold = 1
			config.Observe = func(e Event) {
				// An observer may ask the breaker: it is told outside the lock.
				seen = append(seen, fmt.Sprintf("%s %s→%s %s %s", e.Name, e.Transition.From, e.Transition.To, e.Transition.Reason, c.State()))
			}
		})
		play(t, c, "F")
		time.Sleep(67 * time.Second)
		play(t, c, "S")
		want := []string{
			"db closed→open failures open",
			"db open→half_open reset_timeout half_open",
			"db half_open→recovering probes_succeeded closed",
			"db recovering→closed lane_empty closed",
		}
		if fmt.Sprint(seen) != fmt.Sprint(want) {
			t.Errorf("seen %q, want %q", seen, want)
		}
	})
}

func TestCircuitConfigNamesItsFaults(t *testing.T) {
	t.Parallel()
	_, err := NewCircuitBreaker(CircuitConfig{LastCalls: -1})
	for _, field := range []string{"circuit.last_calls", "breaker.mode", "breaker.failure_threshold"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not named: %v", field, err)
		}
	}
}

// Run with -race. Whatever the interleaving, at most one probe is out.
func TestCircuitIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCircuit(t, func(c *CircuitConfig) { c.Breaker.FailureThreshold = 3 })
		var mu sync.Mutex
		out, most := 0, 0
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				for i := range 200 {
					time.Sleep(time.Duration(worker+1) * 100 * time.Millisecond)
					permit, err := c.Allow()
					if err != nil {
						continue
					}
					if c.State() == HalfOpen {
						mu.Lock()
						out++
						most = max(most, out)
						mu.Unlock()
						time.Sleep(time.Second)
						mu.Lock()
						out--
						mu.Unlock()
					}
					if i%2 == 0 {
						permit.Failure(ClassTimeout, 0)
					} else {
						permit.Success()
					}
				}
			})
		}
		wg.Wait()
		if most > 2 { // the state may change between Allow and State
			t.Errorf("%d probes at once", most)
		}
	})
}
