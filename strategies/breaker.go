package strategies

import (
	"slices"
	"strings"
)

// breaker is the record of one key. Most keys have failed a few times and never trip, so what only a tripped breaker
// needs is kept apart.
type breaker struct {
	key        string
	generation int64
	changedAt  int64
	touched    int64 // last outcome that mattered
	next       int64 // when to look again; while closed it may be early
	run        run
	tally      tally // nil in run mode
	more       *trip // nil until the first transition
	slot       int32 // place in the queue, −1 = in none
	level      int32
	state      State
}

// mostLevel is far beyond the level at which every opening lasts max_open.
const mostLevel = 1 << 16

// trip is what a breaker needs from its first transition on.
type trip struct {
	until     int64 // end of open, forced_open, disabled
	levelAt   int64 // closed: when the level falls by one
	idleSince int64 // half open: since when nothing probes
	reason    string
	actor     string
	cause     string   // id of the record that caused the last transition
	samples   []string // ids that failed since the breaker was last closed, at most mostSamples
	leases    []Lease
	round     probing
	last      []Hash // messages that probed in the round before
	ramp      ramp
}

const mostSamples = 4

// Lease is a release whose outcome is awaited: a probe, or in flight while recovering.
type Lease struct {
	Work  Hash  `json:"work"` // of (id, delivery)
	Until int64 `json:"until"`
}

// verdict keeps order: whatever is due joins a lane that is not empty, in every state.
func (b *breaker) verdict(c *BreakerConfig, in *Input) Verdict {
	passes := b.state == Closed || b.state == Disabled || c.Disabled && b.state != ForcedOpen
	if in.Lane == 0 && passes {
		return VerdictRelease
	}
	return VerdictHold
}

func (b *breaker) outcome(c *BreakerConfig, in *Input, out *Output) {
	if in.Generation != 0 && in.Generation < b.generation {
		out.Late = true
		return
	}
	if c.Disabled {
		return
	}
	switch b.state {
	case Closed:
		b.countClosed(c, in, out)
	case Open:
		b.countOpen(c, in, out)
	case HalfOpen:
		b.settleProbe(c, in, out)
	case Recovering:
		b.settleRelease(c, in, out)
	}
}

func (b *breaker) countClosed(c *BreakerConfig, in *Input, out *Output) {
	b.fallLevel(c, in.Now)
	if in.Kind == InFailure && !in.Class.Counts() {
		return
	}
	how := b.count(c, in)
	if out.Duplicate = how == countedTwice; out.Duplicate || in.Kind == InSuccess {
		return
	}
	if how == countedNow && b.level > 0 {
		b.more.levelAt = in.Now + int64(c.ResetTimeout)
	}
	b.tripIfDue(c, in, how == countedNow, out)
}

// countOpen keeps account of an outage without consequence.
func (b *breaker) countOpen(c *BreakerConfig, in *Input, out *Output) {
	if in.Kind == InSuccess || !in.Class.Counts() {
		return
	}
	how := b.count(c, in)
	out.Duplicate = how == countedTwice
	if how == countedNow {
		b.sample(in.ID)
	}
}

// count adds an outcome to the run or the rate. Its time comes from a reporter's clock, so it is held between one
// window before the state began and now.
func (b *breaker) count(c *BreakerConfig, in *Input) counted {
	at := in.OccurredAt
	if at == 0 || at > in.Now {
		at = in.Now
	}
	at = max(at, b.changedAt-int64(c.Window), 0)
	how := b.add(c, in, Mark{at, workHash(in.ID, in.Delivery)})
	if how == countedNow {
		b.touched = in.Now
	}
	return how
}

func (b *breaker) add(c *BreakerConfig, in *Input, m Mark) counted {
	if c.Mode == ModeRate {
		if b.tally == nil {
			b.tally = c.newTally()
		}
		return b.tally.add(m, in.Kind == InFailure)
	}
	if in.Kind == InSuccess {
		b.run.succeed(m.At)
		return countedNow
	}
	return b.run.fail(m, idHash(in.ID), c)
}

// tripIfDue opens if the evidence suffices. A hint alone does only if it is fresh: not from before a success.
func (b *breaker) tripIfDue(c *BreakerConfig, in *Input, fresh bool, out *Output) {
	switch {
	case fresh && c.asksForPause(in):
		b.open(c, in, b.level+1, ReasonHint, out)
	case c.Mode == ModeRun && b.run.tripped(c):
		b.open(c, in, b.level+1, ReasonFailures, out)
	case c.Mode == ModeRate && c.rateTripped(b.tally):
		b.open(c, in, b.level+1, ReasonRate, out)
	}
}

func (b *breaker) open(c *BreakerConfig, in *Input, level int32, reason string, out *Output) {
	b.level = min(level, mostLevel)
	b.change(Open, in, reason, out)
	length := c.openFor(b.key, b.generation, int(b.level))
	if c.asksForPause(in) {
		length = min(in.Hint, c.MaxOpen)
	}
	b.more.until = in.Now + int64(length)
	out.Change.OpenUntil = b.more.until
	if in.Kind == InFailure {
		b.sample(in.ID)
	}
}

// change enters a state with a new generation. Taking at least the stream time in milliseconds lets the generation
// rise even after the key was forgotten in between.
func (b *breaker) change(to State, in *Input, reason string, out *Output) {
	if b.more == nil {
		b.more = &trip{}
	}
	from := b.state
	b.generation = max(b.generation+1, in.Now/1_000_000)
	b.state, b.changedAt, b.touched = to, in.Now, in.Now
	t := b.more
	t.until, t.reason, t.actor, t.cause, t.leases = 0, reason, "", "", nil
	if in.Kind == InFailure || in.Kind == InSuccess {
		t.cause = strings.Clone(in.ID)
	}
	if in.Kind == InOperator {
		t.actor = in.Op.Actor
	}
	out.Changed = true
	out.Change = Transition{
		From: from, To: to, Generation: b.generation, Level: int(b.level), At: in.Now,
		ID: t.cause, Reason: reason, Actor: t.actor,
	}
}

func (b *breaker) sample(id string) {
	t := b.more
	if len(t.samples) < mostSamples && !slices.Contains(t.samples, id) {
		t.samples = append(t.samples, strings.Clone(id))
	}
}

// clearWindows forgets the evidence of the state before.
func (b *breaker) clearWindows() {
	b.run, b.tally = run{}, nil
}

// settle ends the live lease of a delivery, if there is one, and returns until when it would have lasted.
func (t *trip) settle(in *Input) (until int64, live bool) {
	work := workHash(in.ID, in.Delivery)
	i := slices.IndexFunc(t.leases, func(l Lease) bool { return l.Work == work && l.Until > in.Now })
	if i < 0 {
		return 0, false
	}
	until = t.leases[i].Until
	t.leases = slices.Delete(t.leases, i, i+1)
	return until, true
}

// expire ends the oldest lease if it has run out and reports whether it did.
func (t *trip) expire(now int64) bool {
	if len(t.leases) == 0 || t.leases[0].Until > now {
		return false
	}
	t.leases = slices.Delete(t.leases, 0, 1)
	return true
}
