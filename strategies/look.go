package strategies

import "time"

const (
	// drainPause is how soon a disabled breaker looks at what is left of its lane.
	drainPause = 10 * time.Millisecond
	// runMemory is how long a key that trips on successive failures, however far apart, is kept without one.
	runMemory = time.Hour
)

// look returns when the next Tick is needed; 0 = never. Only a Tick or a transition answers a Tick that is due by now:
// what an outcome asked for must not be lost to the input after it.
func (b *breaker) look(c *BreakerConfig, in *Input, out *Output) int64 {
	if asked := b.next != 0 && b.next <= in.Now; asked && in.Kind != InTick && !out.Changed {
		return b.next
	}
	return b.nextLook(c, in, out)
}

// nextLook returns when the next Tick can bring something, as far as this input knows.
func (b *breaker) nextLook(c *BreakerConfig, in *Input, out *Output) int64 {
	ticked := in.Kind == InTick
	switch b.state {
	case Closed:
		return b.nextClosed(c, in, out)
	case Open:
		return b.more.until
	case ForcedOpen, Disabled:
		return b.nextOperator(in, out)
	}
	// The lane is known only to a Tick, so what frees a slot asks for one.
	if !ticked && (out.Changed || in.Kind == InFailure || in.Kind == InSuccess || in.Kind == InWithdrawn) {
		return in.Now
	}
	if leases := b.more.leases; len(leases) > 0 {
		return leases[0].Until
	}
	pause := int64(c.HalfOpenTimeout)
	if idle := b.more.idleSince + pause; b.state == HalfOpen && idle > in.Now {
		return idle
	}
	return in.Now + pause
}

func (b *breaker) nextClosed(c *BreakerConfig, in *Input, out *Output) int64 {
	switch {
	case in.Kind == InTick:
	case out.Changed:
		return in.Now
	case b.next != 0: // early, but then the queue need not move for every failure
		return b.next
	}
	if b.level > 0 {
		return b.more.levelAt
	}
	return b.forgetAt(c)
}

// nextOperator polls a lane that drains; a lane that is held waits for the limit.
func (b *breaker) nextOperator(in *Input, out *Output) int64 {
	switch {
	case in.Kind == InOperator && b.state == Disabled:
		return in.Now
	case b.state == Disabled && in.Lane > 0:
		return in.Now + int64(drainPause)
	}
	return b.more.until
}

// forgetAt is when a closed key without a level is as good as unknown.
func (b *breaker) forgetAt(c *BreakerConfig) int64 {
	idle := c.Window
	if c.Evidence.Reported() && c.Mode == ModeRun {
		idle = max(idle, runMemory)
	}
	return b.touched + int64(idle)
}

func (b *breaker) forgettable(c *BreakerConfig, now int64) bool {
	return b.state == Closed && b.level == 0 && now >= b.forgetAt(c)
}
