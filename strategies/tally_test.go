package strategies

import (
	"fmt"
	"slices"
	"testing"
)

// From resilience4j, FixedSizeSlidingWindowMetricsTest.
func TestCallWindowPublishedElsewhere(t *testing.T) {
	t.Parallel()
	w := newCallWindow(4)
	var got []string
	for _, failed := range []bool{true, false, false, false, false} {
		w.add(Mark{}, failed)
		total, failures := w.totals()
		got = append(got, fmt.Sprintf("%.1f", 100*float64(failures)/float64(total)))
	}
	if want := []string{"100.0", "50.0", "33.3", "25.0", "0.0"}; !slices.Equal(got, want) {
		t.Errorf("failure rates %v, want %v", got, want)
	}
}

// From resilience4j, CircuitBreakerMetricsTest: below the minimum number of calls there is no rate.
func TestRateIsUnknownBelowItsVolume(t *testing.T) {
	t.Parallel()
	w := newCallWindow(10)
	for i, failed := range []bool{false, false, true, true} {
		w.add(Mark{}, failed)
		if rate, known := permille(w, 10); known {
			t.Errorf("after %d calls the rate is %d", i+1, rate)
		}
	}
	for range 6 {
		w.add(Mark{}, false)
	}
	if rate, known := permille(w, 10); rate != 200 || !known {
		t.Errorf("rate %d, known %v; want 200", rate, known)
	}
}

// From resilience4j, SlidingTimeWindowMetricsTest: five windows of a second.
func TestTimeWindowPublishedElsewhere(t *testing.T) {
	t.Parallel()
	w := newTimeWindow(5_000)
	outcomes := []struct {
		at     int64 // ms
		failed bool
	}{{0, true}, {100, false}, {200, false}, {1_200, false}, {2_200, false}, {3_200, true}, {4_200, false}, {5_200, false}, {6_200, false}}
	var totals, failures []int
	for i, o := range outcomes {
		w.add(Mark{o.at, Hash(i)}, o.failed)
		total, failed := w.totals()
		totals, failures = append(totals, total), append(failures, failed)
	}
	if want := []int{1, 2, 3, 4, 5, 6, 7, 5, 5}; !slices.Equal(totals, want) {
		t.Errorf("totals %v, want %v", totals, want)
	}
	if want := []int{1, 1, 1, 1, 1, 2, 2, 1, 1}; !slices.Equal(failures, want) {
		t.Errorf("failures %v, want %v", failures, want)
	}
}

func TestTimeWindowKnowsItsLatestOutcomes(t *testing.T) {
	t.Parallel()
	w := newTimeWindow(1_000)
	for i := range 2 * mostRecent {
		if how := w.add(Mark{500, Hash(i)}, false); how != countedNow {
			t.Fatalf("outcome %d: %d", i, how)
		}
	}
	for i := mostRecent; i < 2*mostRecent; i++ {
		if how := w.add(Mark{500, Hash(i)}, false); how != countedTwice {
			t.Fatalf("outcome %d again: %d", i, how)
		}
	}
	if how := w.add(Mark{5_000, 1}, true); how != countedNow {
		t.Errorf("an outcome of the next window: %d", how)
	}
	if how := w.add(Mark{500, 10_000}, true); how != countedNot {
		t.Errorf("an outcome of the window before: %d", how)
	}
}
