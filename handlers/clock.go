package handlers

import (
	"sync"
	"time"
)

// Clock estimates the server's clock. Due times are stream times, so a local clock that is
// wrong must not make a release early or late.
//
// Every stored message that is read tells the server's time of a moment that is certainly
// past, so the largest difference seen is the best estimate from below: it errs by the
// shortest way a message took, never towards early. The difference is kept over two
// windows, so that it follows a server whose clock is set back, or another leader's.
//
// Between two readings time passes as the monotonic clock says: setting the local clock
// while the daemon runs moves nothing.
type Clock struct {
	mu      sync.Mutex
	now     func() time.Time
	origin  time.Time
	known   bool
	current time.Duration // largest difference in this window
	former  time.Duration // and in the one before
	since   time.Time
}

// clockWindow is how long a difference is trusted.
const clockWindow = 30 * time.Second

// NewClock returns an estimate over a local clock, normally time.Now.
func NewClock(now func() time.Time) *Clock { return &Clock{now: now, origin: now()} }

// steady is a local time as it would be if nobody had set the clock since the beginning.
func (c *Clock) steady(local time.Time) time.Time { return c.origin.Round(0).Add(local.Sub(c.origin)) }

// Saw takes note that the server wrote a time, and that it was read at the local time.
func (c *Clock) Saw(server, local time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	local = c.steady(local)
	difference := server.Sub(local)
	switch {
	case !c.known:
		c.known, c.current, c.former, c.since = true, difference, difference, local
	case local.Sub(c.since) >= clockWindow:
		c.former, c.current, c.since = c.current, difference, local
	case difference > c.current:
		c.current = difference
	}
}

// Now is the server's time as far as known, at most the real one.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.steady(c.now()).Add(max(c.current, c.former))
}

// Difference is how far the server's clock is ahead of what the local one shows now.
func (c *Clock) Difference() time.Duration { return c.Now().Sub(c.now().Round(0)) }
