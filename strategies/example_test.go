package strategies_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/recoveryd/recoveryd/strategies"
)

func ExampleRetry_Decide() {
	retry, err := strategies.RetryPreset("seed")
	if err != nil {
		panic(err)
	}
	failedAt := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for attempt := 1; attempt <= 3; attempt++ {
		d := retry.Decide(strategies.Failure{ID: "msg-1", Attempt: attempt, Delivery: attempt, At: failedAt})
		if d.Retry {
			fmt.Printf("attempt %d at %s\n", d.NextAttempt, d.Due.Format("15:04:05.000"))
		} else {
			fmt.Println(d.Reason)
		}
	}
	// Output:
	// attempt 2 at 12:00:00.871
	// attempt 3 at 12:00:02.954
	// exhausted
}

func ExampleClassifier() {
	rules := strategies.Classifier{
		{Codes: []string{"429", "503"}, Class: strategies.ClassThrottled},
		{Error: regexp.MustCompile(`(?i)invalid|malformed`), Class: strategies.ClassPermanent},
	}
	fmt.Println(rules.Classify("", "503", "service unavailable", nil))
	fmt.Println(rules.Classify("", "", "Malformed body", nil))
	fmt.Println(rules.Classify("", "", "connection refused", nil))
	// Output:
	// throttled
	// permanent
	// transient
}

// An outage of the handler behind one subject, from the first failure to the last held message.
func ExampleBreakerSet() {
	config := strategies.DefaultBreaker()
	config.Evidence = strategies.EvidenceReport
	breakers := strategies.NewBreakerSet("payments", config)
	const key = "payments.eu"
	second := func(s int64) int64 { return s * int64(time.Second) }

	step := func(in strategies.Input) strategies.Output {
		out := breakers.Step(key, in)
		if out.Changed {
			fmt.Printf("%s → %s (%s)\n", out.Change.From, out.Change.To, out.Change.Reason)
		}
		return out
	}
	for i := range 5 {
		step(strategies.Input{Kind: strategies.InFailure, Now: second(1), ID: fmt.Sprint("pay-", i), Delivery: 1})
	}
	due := step(strategies.Input{Kind: strategies.InDue, Now: second(2), ID: "pay-0"})
	fmt.Println("held:", due.Verdict == strategies.VerdictHold)

	lane := 1
	for now := breakers.Next(); lane > 0; {
		out := step(strategies.Input{Kind: strategies.InTick, Now: now, Lane: lane})
		for range out.Want {
			lane--
			step(strategies.Input{Kind: strategies.InReleased, Now: now, ID: "pay-0", Delivery: 2})
			step(strategies.Input{Kind: strategies.InSuccess, Now: now, ID: "pay-0", Delivery: 2, Generation: out.Generation})
		}
	}
	step(strategies.Input{Kind: strategies.InTick, Now: breakers.Next()})
	// Output:
	// closed → open (failures)
	// held: true
	// open → half_open (reset_timeout)
	// half_open → recovering (probes_succeeded)
	// recovering → closed (lane_empty)
}

func ExampleExecute() {
	retry, err := strategies.RetryPreset("fast")
	if err != nil {
		panic(err)
	}
	breaker, err := strategies.NewCircuitBreaker(strategies.CircuitConfig{Name: "prices", Breaker: strategies.DefaultBreaker()})
	if err != nil {
		panic(err)
	}
	calls := 0
	price, err := strategies.Execute(context.Background(), strategies.Strategy[float64]{Retry: retry, Breaker: breaker},
		func(context.Context) (float64, error) {
			if calls++; calls < 3 {
				return 0, errors.New("connection refused")
			}
			return 9.99, nil
		})
	fmt.Println(price, err, "after", calls, "calls")
	// Output: 9.99 <nil> after 3 calls
}

func ExampleExecute_fallback() {
	strategy := strategies.Strategy[string]{
		Fallbacks: []strategies.Fallback[string]{{
			Name: "cache",
			Run:  func(_ context.Context, cause error) (string, error) { return "cached, because " + cause.Error(), nil },
		}},
	}
	answer, err := strategies.Execute(context.Background(), strategy, func(context.Context) (string, error) {
		return "", strategies.Permanent(errors.New("the service is gone"))
	})
	fmt.Println(answer, err)
	// Output: cached, because the service is gone <nil>
}
