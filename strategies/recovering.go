package strategies

// ramp limits the releases in flight after an outage, by the rule of TCP's slow start (V. Jacobson, "Congestion
// Avoidance and Control", 1988): doubling until the first failure, from then on one more per round, and half of it
// when releases fail. As there, the failures of one wave, released before the limit was cut, cut it once.
type ramp struct {
	limit  int
	ok     int // releases that succeeded since the limit last changed
	slowed bool
	cutAt  int64
	crest  int // limit before the last cut
	failed int // failures of the wave that caused it
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

func (r *ramp) fail(releasedAt, now int64) {
	if releasedAt > r.cutAt {
		*r = ramp{limit: max(1, r.limit/2), slowed: true, cutAt: now, crest: r.limit}
	}
	r.ok = 0
	r.failed++
}

// down reports whether more of a wave failed than doubling can explain: a handler that is merely at its capacity
// fails at most half of it, and must not be taken for one that is down.
func (r *ramp) down() bool { return 2*r.failed > r.crest }

// settleRelease takes the outcome of a delivery of this very recovery. One without a generation may be older than
// the outage and says nothing about the ramp.
func (b *breaker) settleRelease(c *BreakerConfig, in *Input, out *Output) {
	if in.Generation == 0 {
		return
	}
	until, live := b.more.settle(in)
	switch {
	case in.Kind == InSuccess:
		if live {
			b.count(c, in)
			b.more.ramp.succeed(c)
		}
	case in.Class.Counts():
		if !live {
			until = in.Now // its lease has ended, at the latest now
		}
		b.failRelease(c, in, live, until-c.rampLease(), out)
	}
}

func (b *breaker) failRelease(c *BreakerConfig, in *Input, live bool, releasedAt int64, out *Output) {
	how := b.count(c, in)
	if out.Duplicate = how == countedTwice; out.Duplicate || how == countedNot && !live {
		return
	}
	b.sample(in.ID)
	b.more.ramp.fail(releasedAt, in.Now)
	if b.more.ramp.down() || c.asksForPause(in) {
		b.tripIfDue(c, in, true, out)
	}
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
