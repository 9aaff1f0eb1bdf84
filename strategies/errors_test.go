package strategies

import (
	"errors"
	"testing"
	"time"
)

func TestErrorsSayWhatHappened(t *testing.T) {
	t.Parallel()
	refused := &CircuitOpenError{Name: "db", State: Open, Remaining: 3 * time.Second, Last: errBoom}
	tests := []struct {
		err  error
		want string
	}{
		{refused, `circuit breaker "db" is open, ask again in 3s: boom`},
		{&CircuitOpenError{Name: "db", State: ForcedOpen}, `circuit breaker "db" is forced_open`},
		{&MaxRetriesExceededError{Attempts: 3, Reason: ReasonExhausted, Last: errBoom}, "gave up after 3 attempts (exhausted): boom"},
		{&FallbackError{Name: "cache", Err: errBoom}, `fallback "cache": boom`},
		{&AllFallbacksFailedError{Cause: errBoom, Fallbacks: []*FallbackError{{Name: "cache", Skipped: true, Err: errors.New("no")}}},
			"all 1 fallbacks failed: boom\nfallback \"cache\" skipped: no"},
		{Permanent(errBoom), "boom"},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	if !errors.Is(refused, ErrCircuitOpen) || !errors.Is(refused, errBoom) {
		t.Error("a refusal is neither an open circuit nor the last error")
	}
}
