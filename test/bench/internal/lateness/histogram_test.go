package lateness

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestEveryDurationHasItsBucket(t *testing.T) {
	t.Parallel()
	last := -1
	for _, d := range []time.Duration{0, 1, 63, 64, 65, 66, 127, 128, 129, 1000, time.Microsecond, time.Millisecond, time.Second, time.Hour, math.MaxInt64} {
		i := bucket(d)
		if i < last || i >= buckets {
			t.Fatalf("%d is in bucket %d after %d", d, i, last)
		}
		if top := longest(i); top < d || float64(top-d) > float64(d)/steps {
			t.Errorf("the bucket of %d reaches up to %d", d, top)
		}
		if d < math.MaxInt64 && bucket(longest(i)) != i || i > 0 && longest(i-1) >= d {
			t.Errorf("%d: bucket %d overlaps its neighbours", d, i)
		}
		last = i
	}
}

func TestQuantiles(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	all := make([]time.Duration, 10_000)
	for i := range all {
		all[i] = time.Duration(math.Exp(random.Float64() * 23))
		h.Add(all[i])
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[max(0, int(math.Ceil(q*float64(len(all))))-1)]
		if got := h.Quantile(q); got < want || float64(got) > float64(want)*(1+1.0/steps) {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
	if h.Count() != 10_000 || h.Max() != all[len(all)-1] || h.Quantile(1) != h.Max() {
		t.Errorf("%d durations up to %s", h.Count(), h.Max())
	}
}

func TestNothingAndNegative(t *testing.T) {
	t.Parallel()
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Max() != 0 {
		t.Error("an empty histogram has a quantile")
	}
	h.Add(-time.Second)
	if h.Quantile(1) != 0 || h.Count() != 1 {
		t.Errorf("a negative duration counts as %s", h.Quantile(1))
	}
}
