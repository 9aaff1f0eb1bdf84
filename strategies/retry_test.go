package strategies

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func preset(t testing.TB, name string) Retry {
	t.Helper()
	r, err := RetryPreset(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The vectors of the specification, section 2.
func TestDelayVectors(t *testing.T) {
	t.Parallel()
	r := Retry{InitialDelay: time.Second, MaxDelay: 30 * time.Second, Base: 2, Jitter: JitterProportional}
	tests := []struct {
		id      string
		attempt int
		u       float64
		want    time.Duration
	}{
		{"msg-1", 1, 0.3719880164875432, 871_988_016},
		{"msg-1", 2, 0.9774270675899636, 2_954_854_135},
		{"orders:42", 1, 0.914773762967755, 1_414_773_762},
		{"orders:42", 3, 0.37153000446818785, 3_486_120_017},
	}
	for _, tt := range tests {
		if u := uniform(keyed(tt.id, int64(tt.attempt))); u != tt.u {
			t.Errorf("%s, attempt %d: u = %v, want %v", tt.id, tt.attempt, u, tt.u)
		}
		if got := r.Delay(tt.id, tt.attempt); got != tt.want {
			t.Errorf("%s, attempt %d: %d ns, want %d", tt.id, tt.attempt, got, tt.want)
		}
	}
}

func TestDelaysPublishedElsewhere(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	tests := []struct {
		source            string
		initial, maxDelay time.Duration
		want              []time.Duration
	}{
		{"failsafe-go", 2000 * ms, 30_000 * ms, []time.Duration{2000 * ms, 4000 * ms, 8000 * ms, 16_000 * ms, 30_000 * ms}},
		{"cenkalti/backoff v5", 500 * ms, 5000 * ms, []time.Duration{500 * ms, 1000 * ms, 2000 * ms, 4000 * ms, 5000 * ms, 5000 * ms}},
		{"seed", 1000 * ms, 30_000 * ms, []time.Duration{1000 * ms, 2000 * ms, 4000 * ms, 8000 * ms, 16_000 * ms, 30_000 * ms, 30_000 * ms}},
	}
	for _, tt := range tests {
		r := Retry{InitialDelay: tt.initial, MaxDelay: tt.maxDelay, Base: 2, Jitter: JitterNone}
		var got []time.Duration
		for a := range tt.want {
			got = append(got, r.Delay("any", a+1))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.source, got, tt.want)
		}
	}
}

// AWS Architecture Blog: the cap comes before the jitter.
func TestCapComesBeforeJitter(t *testing.T) {
	t.Parallel()
	r := Retry{InitialDelay: 50 * time.Millisecond, MaxDelay: 20 * time.Second, Base: 2, Jitter: JitterNone}
	capped := r.Delay("any", 21)
	for jitter, want := range map[Jitter]time.Duration{
		JitterNone: 20 * time.Second, JitterFull: 10 * time.Second,
		JitterEqual: 15 * time.Second, JitterProportional: 20 * time.Second,
	} {
		if got := jitter.apply(capped, 0.5); got != want {
			t.Errorf("%s: %v, want %v", jitter, got, want)
		}
	}
}

func TestPresets(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		attempts   int
		sum        time.Duration // of all delays without jitter
		maxElapsed time.Duration
	}{
		{"seed", 3, 3 * time.Second, 0},
		{"fast", 5, 1500 * time.Millisecond, 0},
		{"patient", 20, 14*time.Hour + 16*time.Minute + 31*time.Second, 24 * time.Hour},
		{"days", 33, 20*24*time.Hour + 10*time.Hour + 7*time.Minute + 45*time.Second, 32 * 24 * time.Hour},
	}
	for _, tt := range tests {
		r := preset(t, tt.name)
		if err := r.Validate(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if r.MaxAttempts != tt.attempts || r.MaxElapsed != tt.maxElapsed || r.Jitter != JitterProportional ||
			r.MaxHint != 5*time.Minute || r.ThrottledDelay != 5*time.Second || r.MaxIgnored != 100 {
			t.Errorf("%s: %+v", tt.name, r)
		}
		r.Jitter = JitterNone
		var sum time.Duration
		for a := 1; a < r.MaxAttempts; a++ {
			sum += r.Delay("any", a)
		}
		if sum != tt.sum {
			t.Errorf("%s: delays add up to %v, want %v", tt.name, sum, tt.sum)
		}
	}
	if _, err := RetryPreset("slow"); err == nil || !strings.Contains(err.Error(), `"slow"`) {
		t.Errorf("unknown preset: %v", err)
	}
}

func TestRetryValidateNamesEveryField(t *testing.T) {
	t.Parallel()
	err := Retry{InitialDelay: -1, MaxDelay: -2, Base: math.NaN(), Jitter: "some", MaxElapsed: -1, MaxHint: -1, ThrottledDelay: -1, MaxIgnored: -1}.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, field := range []string{"max_attempts", "initial_delay", "max_delay", "base", "jitter", "max_elapsed", "max_hint", "throttled_delay", "max_ignored"} {
		if !strings.Contains(err.Error(), "retry."+field+": ") {
			t.Errorf("%s is not named in:\n%v", field, err)
		}
	}
}

func genRetry(t *rapid.T) Retry {
	initial := rapid.Int64Range(1, math.MaxInt64).Draw(t, "initial")
	return Retry{
		MaxAttempts:  rapid.IntRange(1, math.MaxInt32).Draw(t, "max_attempts"),
		InitialDelay: time.Duration(initial),
		MaxDelay:     time.Duration(rapid.Int64Range(initial, math.MaxInt64).Draw(t, "max_delay")),
		Base:         rapid.Float64Range(1, math.MaxFloat64).Draw(t, "base"),
		Jitter:       rapid.SampledFrom([]Jitter{JitterNone, JitterProportional, JitterFull, JitterEqual}).Draw(t, "jitter"),
		MaxHint:      time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "max_hint")),
		MaxIgnored:   100,
	}
}

// Invariant 13: delays stay within their bounds and are equal for equal (id, attempt).
func TestDelayBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := genRetry(t)
		id := rapid.String().Draw(t, "id")
		attempt := rapid.IntRange(math.MinInt32, math.MaxInt32).Draw(t, "attempt")
		checkDelay(t, r, id, attempt)
		if err := r.Validate(); err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
	})
}

func checkDelay(t interface{ Fatalf(string, ...any) }, r Retry, id string, attempt int) {
	plain := r
	plain.Jitter = JitterNone
	base := plain.Delay(id, attempt)
	if base < 0 || base > r.MaxDelay {
		t.Fatalf("%v is not within 0 and %v", base, r.MaxDelay)
	}
	if more := plain.Delay(id, attempt+1); more < base {
		t.Fatalf("the delay falls from %v to %v", base, more)
	}
	var low, high float64
	switch r.Jitter {
	case JitterNone:
		low, high = 0, math.Inf(1) // compared below
	case JitterProportional:
		low, high = 0.5, 1.5
	case JitterFull:
		low, high = 0, 1
	case JitterEqual:
		low, high = 0.5, 1
	}
	got := r.Delay(id, attempt)
	if r.Jitter == JitterNone && got != base {
		t.Fatalf("%v without jitter, then %v", base, got)
	}
	if got < saturate(float64(base)*low)-1 || got > saturate(float64(base)*high) {
		t.Fatalf("%s: %v is not within %v and %v of %v", r.Jitter, got, low, high, base)
	}
	if again := r.Delay(id, attempt); again != got {
		t.Fatalf("%v, then %v", got, again)
	}
}

func FuzzDelay(f *testing.F) {
	f.Add("msg-1", int64(time.Second), int64(30*time.Second), 2.0, 3, "proportional")
	f.Add("", int64(1), int64(math.MaxInt64), math.MaxFloat64, math.MaxInt32, "full")
	f.Add("x", int64(0), int64(5), math.Inf(1), 1, "equal")
	f.Fuzz(func(t *testing.T, id string, initial, maxDelay int64, base float64, attempt int, jitter string) {
		r := Retry{MaxAttempts: 1, InitialDelay: time.Duration(initial), MaxDelay: time.Duration(maxDelay), Base: base, Jitter: Jitter(jitter)}
		if r.Validate() == nil && attempt < math.MaxInt32 {
			checkDelay(t, r, id, attempt)
		}
	})
}
