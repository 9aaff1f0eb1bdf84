package strategies

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	r := Retry{
		MaxAttempts: 5, InitialDelay: time.Second, MaxDelay: 8 * time.Second, Base: 2, Jitter: JitterNone,
		MaxElapsed: time.Minute, MaxHint: 10 * time.Second, ThrottledDelay: 5 * time.Second, MaxIgnored: 3,
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	retry := func(delay time.Duration, next int) RetryDecision {
		return RetryDecision{Retry: true, Delay: delay, Due: at.Add(delay), NextAttempt: next}
	}
	no := func(reason string) RetryDecision { return RetryDecision{Reason: reason} }
	const s = time.Second
	tests := []struct {
		name string
		f    Failure
		want RetryDecision
	}{
		{"first failure", Failure{Attempt: 1, Delivery: 1}, retry(1*s, 2)},
		{"third failure", Failure{Attempt: 3, Delivery: 3}, retry(4*s, 4)},
		{"attempt zero is the first", Failure{}, retry(1*s, 2)},
		{"timeout", Failure{Attempt: 1, Class: ClassTimeout}, retry(1*s, 2)},
		{"last attempt", Failure{Attempt: 5, Delivery: 5}, no(ReasonExhausted)},
		{"beyond the last", Failure{Attempt: 9}, no(ReasonExhausted)},
		{"permanent", Failure{Attempt: 1, Class: ClassPermanent}, no(ReasonPermanent)},
		{"permanent trial", Failure{Attempt: 1, Class: ClassPermanent, Trial: true}, no(ReasonPermanent)},

		{"throttled starts later", Failure{Attempt: 1, Class: ClassThrottled}, retry(5*s, 2)},
		{"throttled grows to the cap", Failure{Attempt: 2, Class: ClassThrottled}, retry(8*s, 3)},

		{"hint later than the delay", Failure{Attempt: 1, HasHint: true, Hint: 7 * s}, retry(7*s, 2)},
		{"hint earlier than the delay", Failure{Attempt: 3, HasHint: true, Hint: 2 * s}, retry(4*s, 4)},
		{"hint too far", Failure{Attempt: 1, HasHint: true, Hint: time.Hour}, retry(11*s, 2)},
		{"negative hint", Failure{Attempt: 1, HasHint: true, Hint: -1}, no(ReasonPermanent)},
		{"no hint", Failure{Attempt: 1, Hint: -1}, retry(1*s, 2)},

		{"ignored uses no attempt", Failure{Attempt: 5, Delivery: 5, Class: ClassIgnored}, retry(8*s, 5)},
		{"a trial uses no attempt", Failure{Attempt: 5, Delivery: 7, Trial: true}, retry(8*s, 5)},
		{"free deliveries are bounded", Failure{Attempt: 2, Delivery: 5, Trial: true}, retry(2*s, 3)},
		{"beyond them the last attempt is the last", Failure{Attempt: 5, Delivery: 8, Class: ClassIgnored}, no(ReasonExhausted)},

		{"exactly at max_elapsed", Failure{Attempt: 1, FirstFailedAt: at.Add(-59 * s)}, retry(1*s, 2)},
		{"past max_elapsed", Failure{Attempt: 1, FirstFailedAt: at.Add(-59*s - 1)}, no(ReasonExpired)},
		{"time held does not count", Failure{Attempt: 1, FirstFailedAt: at.Add(-time.Hour), Held: time.Hour}, retry(1*s, 2)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.f.ID, tt.f.At = "any", at
			if got := r.Decide(tt.f); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// Published for a retry-after of 10,000 ms over a delay of 50 ms with 5 s of slack.
func TestHintSlackPublishedElsewhere(t *testing.T) {
	t.Parallel()
	r := Retry{MaxAttempts: 2, InitialDelay: 50 * time.Millisecond, MaxDelay: time.Second, Base: 2, Jitter: JitterNone, MaxHint: 5 * time.Second}
	got := r.Decide(Failure{Attempt: 1, HasHint: true, Hint: 10 * time.Second, At: time.Unix(0, 0)})
	if got.Delay != 5050*time.Millisecond {
		t.Errorf("got %v, want 5.05s", got.Delay)
	}
}

// Attempts never exceed the maximum, and however failures are marked, work ends.
func TestDecideEnds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := genRetry(t)
		r.MaxAttempts = rapid.IntRange(1, 20).Draw(t, "attempts")
		r.MaxIgnored = rapid.IntRange(0, 20).Draw(t, "ignored")
		f := Failure{ID: "any", Attempt: 1, Delivery: 1, At: time.Unix(0, 0)}
		for {
			f.Class = rapid.SampledFrom([]Class{ClassTransient, ClassThrottled, ClassIgnored}).Draw(t, "class")
			f.Trial = rapid.Bool().Draw(t, "probe")
			f.HasHint, f.Hint = rapid.Bool().Draw(t, "has hint"), time.Duration(rapid.Int64Min(0).Draw(t, "hint"))
			d := r.Decide(f)
			if !d.Retry {
				if d.Reason != ReasonExhausted || f.Attempt != r.MaxAttempts {
					t.Fatalf("attempt %d of %d ends as %q", f.Attempt, r.MaxAttempts, d.Reason)
				}
				return
			}
			if d.Delay < 0 || d.NextAttempt < f.Attempt || d.NextAttempt > r.MaxAttempts {
				t.Fatalf("%+v after %+v", d, f)
			}
			f.Attempt, f.Delivery = d.NextAttempt, f.Delivery+1
			if f.Delivery > r.MaxAttempts+r.MaxIgnored {
				t.Fatalf("%d deliveries for %d attempts and %d free ones", f.Delivery, r.MaxAttempts, r.MaxIgnored)
			}
		}
	})
}
