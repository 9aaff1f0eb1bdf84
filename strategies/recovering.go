package strategies

// ramp limits the releases in flight after an outage, by the rule of TCP's slow start (V. Jacobson, "Congestion
// Avoidance and Control", 1988): doubling until the first failure, from then on one more per round, and half of it
// for each failure.
type ramp struct {
	limit  int
	ok     int // releases that succeeded since the limit last changed
	slowed bool
}

func (b *breaker) recover(in *Input, reason string, out *Output) {
	b.clearWindows()
	b.change(Recovering, in, reason, out)
	b.more.ramp = ramp{limit: 1}
}

func (r *ramp) succeed(c *BreakerConfig) {
	r.ok++
	if r.ok < r.limit {
		return
	}
	r.ok = 0
	if r.slowed {
		r.limit++
	} else {
		r.limit *= 2
	}
	r.limit = min(r.limit, c.RampMax)
}

func (r *ramp) fail() { *r = ramp{limit: max(1, r.limit/2), slowed: true} }

// settleRelease takes the outcome of a delivery of this very recovery. One without a generation may be older than
// the outage and says nothing about the ramp.
func (b *breaker) settleRelease(c *BreakerConfig, in *Input, out *Output) {
	if in.Generation == 0 {
		return
	}
	live := b.more.settle(in)
	switch {
	case in.Kind == InSuccess:
		if live {
			b.count(c, in)
			b.more.ramp.succeed(c)
		}
	case in.Class.Counts():
		b.failRelease(c, in, live, out)
	}
}

func (b *breaker) failRelease(c *BreakerConfig, in *Input, live bool, out *Output) {
	how := b.count(c, in)
	if out.Duplicate = how == countedTwice; out.Duplicate || how == countedNot && !live {
		return
	}
	b.sample(in.ID)
	b.more.ramp.fail()
	b.tripIfDue(c, in, true, out)
}

// tickRecovering ends leases: with silent evidence the absence of a failure is the success.
func (b *breaker) tickRecovering(c *BreakerConfig, in *Input, out *Output) {
	for b.more.expire(in.Now) {
		if !c.Evidence.Reported() {
			b.more.ramp.succeed(c)
		}
	}
	if in.Lane == 0 {
		b.close(c, in, ReasonLaneEmpty, out)
	}
}
