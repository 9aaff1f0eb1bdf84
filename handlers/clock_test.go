package handlers

import (
	"testing"
	"time"
)

// local is the clock of a machine.
type local struct{ at time.Time }

func (l *local) now() time.Time { return l.at }

func TestClockTakesTheLargestDifference(t *testing.T) {
	t.Parallel()
	w := &local{time.Now()}
	c := NewClock(w.now)
	for _, transit := range []time.Duration{30, 5, 80} {
		c.Saw(w.now().Add(time.Second-transit*time.Millisecond), w.now())
	}
	if d := c.Difference(); d != 995*time.Millisecond {
		t.Errorf("the difference is %v, want 995ms, that of the shortest way", d)
	}
}

func TestClockFollowsAServerThatIsSetBack(t *testing.T) {
	t.Parallel()
	w := &local{time.Now()}
	c := NewClock(w.now)
	c.Saw(w.now().Add(time.Minute), w.now())
	for range 3 {
		w.at = w.at.Add(clockWindow)
		c.Saw(w.now(), w.now())
	}
	if d := c.Difference(); d != 0 {
		t.Errorf("the difference is %v, want none after two windows", d)
	}
}

func TestClockNeverRunsAheadOfTheServer(t *testing.T) {
	t.Parallel()
	w := &local{time.Now()}
	c := NewClock(w.now)
	server := func() time.Time { return w.at.Round(0).Add(-3 * time.Second) }
	c.Saw(server(), w.now())
	w.at = w.at.Add(10 * time.Second)
	if now := c.Now(); now.After(server()) {
		t.Errorf("it shows %v, the server's is %v", now, server())
	}
	if d := c.Difference(); d != -3*time.Second {
		t.Errorf("the difference is %v, want -3s", d)
	}
}
