package strategies

import "slices"

// step applies one input. Only a Tick moves the machine by time, so that one step makes at most one transition.
func (b *breaker) step(c *BreakerConfig, in *Input, out *Output) {
	switch in.Kind {
	case InFailure, InSuccess:
		b.outcome(c, in, out)
	case InDue:
		out.Verdict = b.verdict(c, in)
	case InTick:
		b.tick(c, in, out)
	case InReleased:
		b.released(c, in)
	case InOperator:
		b.operate(c, in, out)
	case InWithdrawn:
		b.withdraw(in)
	}
	b.next = b.look(c, in, out)
	out.Generation, out.Next = b.generation, b.next
}

// tick does what time alone, or a look at the lane, brings.
func (b *breaker) tick(c *BreakerConfig, in *Input, out *Output) {
	if c.Disabled && b.state != Disabled && b.state != ForcedOpen && (in.Lane > 0 || b.state != Closed) {
		b.change(Disabled, in, ReasonPolicy, out)
	}
	switch b.state {
	case Closed:
		b.tickClosed(c, in, out)
	case Open:
		if in.Now >= b.more.until {
			b.halfOpen(c, in, ReasonResetTimeout, out)
		}
	case HalfOpen:
		b.tickHalfOpen(c, in, out)
	case Recovering:
		b.tickRecovering(c, in, out)
	case ForcedOpen, Disabled:
		b.tickOperator(c, in, out)
	}
	out.Want, out.Probing = b.want(c, in.Lane), b.state == HalfOpen
}

// tickClosed finds a lane without a breaker, as after a take-over: nobody knows what its handler can take.
func (b *breaker) tickClosed(c *BreakerConfig, in *Input, out *Output) {
	b.fallLevel(c, in.Now)
	if in.Lane > 0 {
		b.recover(in, ReasonLaneFound, out)
	}
}

// tickOperator ends what an operator or the policy asked for.
func (b *breaker) tickOperator(c *BreakerConfig, in *Input, out *Output) {
	over, reason := b.more.until != 0 && in.Now >= b.more.until, ReasonLimit
	if b.more.reason == ReasonPolicy && b.more.actor == "" {
		over, reason = !c.Disabled || in.Lane == 0, ReasonPolicy
	}
	switch {
	case !over:
	case in.Lane == 0:
		b.close(c, in, reason, out)
	case c.Disabled:
		b.change(Disabled, in, ReasonPolicy, out)
	default:
		b.recover(in, reason, out)
	}
}

// close ends an outage. The level stays for a while, so that one that comes back at once opens for longer.
func (b *breaker) close(c *BreakerConfig, in *Input, reason string, out *Output) {
	b.clearWindows()
	b.change(Closed, in, reason, out)
	b.more.samples, b.more.levelAt = nil, in.Now+int64(c.ResetTimeout)
}

// fallLevel takes one level off for every healthy reset_timeout.
func (b *breaker) fallLevel(c *BreakerConfig, now int64) {
	for b.level > 0 && now >= b.more.levelAt {
		b.level--
		b.more.levelAt += int64(c.ResetTimeout)
	}
}

// want is how many messages of the lane may go now.
func (b *breaker) want(c *BreakerConfig, lane int) int {
	free := 0
	switch b.state {
	case HalfOpen:
		free = b.more.round.free(c) - len(b.more.leases)
	case Recovering:
		free = min(b.more.ramp.limit, c.RampMax) - len(b.more.leases)
	case Disabled:
		free = c.RampMax
	}
	return max(0, min(free, lane))
}

// released notes a lane message that went out, and until when its outcome is awaited. Doing it twice changes nothing.
func (b *breaker) released(c *BreakerConfig, in *Input) {
	if b.state != HalfOpen && b.state != Recovering {
		return
	}
	work := workHash(in.ID, in.Delivery)
	switch {
	case slices.ContainsFunc(b.more.leases, func(l Lease) bool { return l.Work == work }):
	case b.state == HalfOpen:
		b.more.probe(c, in, work)
	case len(b.more.leases) < mostRamp:
		b.more.leases = append(b.more.leases, Lease{work, in.Now + c.rampLease()})
	}
}
