package strategies

import "slices"

// probing is the score of one half open round. Every slot, one per probe, is free, leased or settled.
type probing struct {
	ok, failed, unknown int
	tried               []Hash // hashes of the ids that probed, at most mostReassigned per slot
}

// mostReassigned bounds how many messages may probe for one slot before it counts as unknown: a lane full of
// permanent failures must not be emptied by probing.
const mostReassigned = 3

func (p *probing) free(c *BreakerConfig) int {
	return c.Probes - p.ok - p.failed - p.unknown
}

func (b *breaker) halfOpen(c *BreakerConfig, in *Input, reason string, out *Output) {
	b.clearWindows()
	b.change(HalfOpen, in, reason, out)
	t := b.more
	if len(t.round.tried) > 0 {
		t.last = t.round.tried
	}
	t.round = probing{}
	t.idleSince = in.Now
}

// probe leases a slot to a message that was released. Beyond the free slots there is no lease, hence no verdict.
func (t *trip) probe(c *BreakerConfig, in *Input, work Hash) {
	if len(t.leases) >= t.round.free(c) {
		return
	}
	t.leases = append(t.leases, Lease{work, in.Now + c.probeLease()})
	t.round.tried = append(t.round.tried, idHash(in.ID))
}

// withdraw takes back a release that reached nobody, as if it had not been made: no outcome will come for it.
func (b *breaker) withdraw(in *Input) {
	t := b.more
	if t == nil {
		return
	}
	if _, live := t.settle(in); !live {
		return
	}
	t.idleSince = in.Now
	if i := slices.Index(t.round.tried, idHash(in.ID)); i >= 0 && b.state == HalfOpen {
		t.round.tried = slices.Delete(t.round.tried, i, i+1)
	}
}

// settleProbe takes the outcome of a live lease. Any other outcome is no verdict: it may be older than the outage.
func (b *breaker) settleProbe(c *BreakerConfig, in *Input, out *Output) {
	t := b.more
	if _, live := t.settle(in); !live {
		return
	}
	t.idleSince = in.Now
	switch {
	case in.Kind == InSuccess:
		t.round.ok++
		out.ProbeResult = ProbeSuccess
	case in.Class.Counts():
		t.round.failed++
		out.ProbeResult = ProbeFailure
		b.count(c, in)
		b.sample(in.ID)
	default:
		out.ProbeResult = t.round.retry(c, ProbeReassigned)
	}
	b.judge(c, in, out)
}

// tickHalfOpen ends at most one lease, so that each has its own result in an output.
func (b *breaker) tickHalfOpen(c *BreakerConfig, in *Input, out *Output) {
	t := b.more
	if t.expire(in.Now) {
		t.idleSince = in.Now
		if c.Evidence.Reported() {
			t.round.retry(c, ProbeUnknown)
			out.ProbeResult = ProbeUnknown
		} else {
			t.round.ok++
			out.ProbeResult = ProbeSuccess
		}
		b.judge(c, in, out)
		return
	}
	if len(t.leases) == 0 && t.round.free(c) <= 0 { // new settings ask for fewer probes than were made
		b.judge(c, in, out)
		return
	}
	if len(t.leases) == 0 && in.Lane == 0 && in.Now >= t.idleSince+int64(c.HalfOpenTimeout) {
		b.recover(in, ReasonNothingToProbe, out)
	}
}

// retry frees the slot for another message, or settles it as unknown when too many had a go.
func (p *probing) retry(c *BreakerConfig, result string) string {
	if len(p.tried) < mostReassigned*c.Probes {
		return result
	}
	p.unknown++
	return ProbeUnknown
}

// judge decides the round as soon as it can be.
func (b *breaker) judge(c *BreakerConfig, in *Input, out *Output) {
	p := &b.more.round
	switch {
	case p.ok >= c.Successes:
		b.recover(in, ReasonProbesOK, out)
	case c.Probes-p.failed < c.Successes:
		b.open(c, in, b.level+1, ReasonProbesFailed, out)
	case p.free(c) <= 0:
		b.open(c, in, b.level, ReasonProbesUnknown, out)
	}
}

// pick chooses up to n probes among the first messages of the lane: least tried first, each id once. Those that
// probed in the round before come after all others, and those of this round last: another message shows more, but a
// lane that has no other must not wait for ever.
func (t *trip) pick(n int, first []Candidate) []int {
	first = first[:min(len(first), mostProbes)]
	order := make([]int, len(first))
	hashes := make([]Hash, len(first))
	for i := range first {
		order[i], hashes[i] = i, idHash(first[i].ID)
	}
	turn := func(h Hash) int {
		switch {
		case slices.Contains(t.round.tried, h):
			return 2
		case slices.Contains(t.last, h):
			return 1
		}
		return 0
	}
	slices.SortStableFunc(order, func(i, j int) int {
		if d := turn(hashes[i]) - turn(hashes[j]); d != 0 {
			return d
		}
		return first[i].Delivery - first[j].Delivery
	})
	return distinct(order, hashes, n)
}

// distinct returns the first n of order whose hashes differ.
func distinct(order []int, hashes []Hash, n int) []int {
	var picked []int
	var used []Hash
	for _, i := range order {
		if len(picked) >= n {
			break
		}
		if !slices.Contains(used, hashes[i]) {
			picked, used = append(picked, i), append(used, hashes[i])
		}
	}
	return picked
}
