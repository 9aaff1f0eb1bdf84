package strategies

import "time"

// Jitter spreads the delays of work that failed together.
type Jitter string

const (
	JitterNone         Jitter = "none"         // d
	JitterProportional Jitter = "proportional" // d·[0.5, 1.5)
	JitterFull         Jitter = "full"         // d·[0, 1)
	JitterEqual        Jitter = "equal"        // d·[0.5, 1)
)

func (j Jitter) known() bool {
	switch j {
	case JitterNone, JitterProportional, JitterFull, JitterEqual:
		return true
	}
	return false
}

// apply spreads d with u from [0, 1). Full and equal jitter are those of M. Brooker,
// "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
func (j Jitter) apply(d time.Duration, u float64) time.Duration {
	switch j {
	case JitterProportional:
		return saturate(float64(d) * (0.5 + u))
	case JitterFull:
		return saturate(float64(d) * u)
	case JitterEqual:
		return saturate(float64(d) * (1 + u) / 2)
	}
	return d
}
