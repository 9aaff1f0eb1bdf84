// Package lateness counts how late things were without keeping every sample.
package lateness

import (
	"math"
	"math/bits"
	"time"
)

const (
	exact   = 64                   // values below are counted one by one, in nanoseconds
	steps   = exact / 2            // buckets of each power of two above
	buckets = exact + (63-6)*steps // up to the longest time.Duration
)

// Histogram counts durations in buckets that are at most 1/32 of their value wide. The
// zero value is empty.
type Histogram struct {
	counts [buckets]uint64
	n      uint64
	max    time.Duration
}

// Add counts a duration; a negative one counts as zero.
func (h *Histogram) Add(d time.Duration) {
	d = max(0, d)
	h.counts[bucket(d)]++
	h.n++
	h.max = max(h.max, d)
}

// Count is how many durations were added.
func (h *Histogram) Count() uint64 { return h.n }

// Max is the longest, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile is the duration that a share q (0 to 1) does not exceed, at most 1/32 too long
// and never too short; 0 if there is none.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	want := min(h.n, max(1, uint64(math.Ceil(q*float64(h.n)))))
	for i, seen := 0, uint64(0); i < buckets; i++ {
		if seen += h.counts[i]; seen >= want {
			return min(h.max, longest(i))
		}
	}
	return h.max
}

func bucket(d time.Duration) int {
	v := uint64(d)
	if v < exact {
		return int(v)
	}
	shift := bits.Len64(v) - bits.Len(steps)
	return exact + (shift-1)*steps + int(v>>shift) - steps
}

// longest is the longest duration of a bucket.
func longest(i int) time.Duration {
	if i < exact {
		return time.Duration(i)
	}
	shift, step := (i-exact)/steps+1, (i-exact)%steps+steps
	return time.Duration(uint64(step+1)<<shift - 1)
}
