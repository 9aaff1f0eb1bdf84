package handlers

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestOnlyABusyLoopWaitsForTheBeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p pacer
		defer p.stop()
		ctx, cancel := context.WithCancel(t.Context())
		// turns takes them for a time, one as soon as something comes, and returns how many
		// there were and the longest wait.
		turns := func(every, span time.Duration) (n int, longest time.Duration) {
			t.Helper()
			for end := time.Now().Add(span); time.Now().Before(end); n++ {
				time.Sleep(every)
				start := time.Now()
				if !p.wait(ctx) {
					t.Fatal("it gave up")
				}
				wait := time.Since(start)
				longest = max(longest, wait)
				if wait > 0 && time.Now().Truncate(tact) != time.Now() {
					t.Errorf("a turn begins beside the beat, at %s", time.Now())
				}
				p.began()
			}
			return n, longest
		}
		if n, longest := turns(2*time.Millisecond, time.Second); longest != 0 {
			t.Errorf("the longest of %d waits of a loop that is not busy is %s", n, longest)
		}
		turns(50*time.Microsecond, 2*window)
		if n, longest := turns(50*time.Microsecond, 100*tact); n > 101 || n < 90 || longest > tact {
			t.Errorf("a busy loop takes %d turns in 100 beats and waits up to %s", n, longest)
		}
		time.Sleep(3 * window)
		if n, longest := turns(2*time.Millisecond, window); longest != 0 {
			t.Errorf("after a pause the longest of %d waits is %s", n, longest)
		}
		turns(50*time.Microsecond, 3*window)
		cancel()
		if p.wait(ctx) {
			t.Error("it turns although it was stopped")
		}
	})
}

func TestPurgesFollowOneAnotherAtADistance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(oneByOne, 1)
		start := time.Now()
		for i, c := range []struct{ lasts, begins time.Duration }{
			{10 * time.Millisecond, 0}, {time.Second, 20 * time.Millisecond}, {0, 1020*time.Millisecond + longestRest},
		} {
			done := gate.enter(t.Context())
			if began := time.Since(start); began != c.begins {
				t.Errorf("request %d begins after %s, want %s", i, began, c.begins)
			}
			time.Sleep(c.lasts)
			done()
		}
		synctest.Wait()
		defer gate.enter(t.Context())()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		gate.enter(ctx)()
		if waited := time.Since(began); waited != time.Second {
			t.Errorf("with another request under way it gave up after %s", waited)
		}
	})
}
