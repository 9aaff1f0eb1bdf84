package load

import (
	"context"
	"time"
)

// Pace says when a message may be sent. The zero value sends as fast as it can.
type Pace struct {
	Rate   float64    // messages per second; 0 = no limit
	Window int        // messages sent and not finished; 0 = no limit
	Done   func() int // how many are finished, with a Window
}

// at is when message i of a load that began at start should be sent.
func (p Pace) at(start time.Time, i int) time.Time {
	if p.Rate <= 0 {
		return start
	}
	return start.Add(time.Duration(float64(i) / p.Rate * float64(time.Second)))
}

// look is how often a full window is looked at again.
const look = time.Millisecond

// wait returns when message i may be sent, or false when ctx has ended. A sender that was
// held up does not wait until it has caught up.
func (p Pace) wait(ctx context.Context, start time.Time, i int) bool {
	if p.Rate > 0 && !sleep(ctx, time.Until(p.at(start, i))) {
		return false
	}
	for p.Window > 0 && i-p.Done() >= p.Window {
		if !sleep(ctx, look) {
			return false
		}
	}
	return ctx.Err() == nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
