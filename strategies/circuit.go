package strategies

import (
	"errors"
	"sync"
	"time"
)

// CircuitConfig configures a [CircuitBreaker].
type CircuitConfig struct {
	Name      string        // for errors and observers, and the seed of the spread of openings
	Breaker   BreakerConfig // see [DefaultBreaker]; min_distinct is taken as 1, and success as reported
	LastCalls int           // rate mode: over so many of the latest calls instead of Window; 0 = Window
	Now       func() time.Time
	Observe   Observer
}

const mostLastCalls = 1_000_000

func (c *CircuitConfig) validate() error {
	f := faults{section: "circuit"}
	f.check(c.LastCalls >= 0 && c.LastCalls <= mostLastCalls, "last_calls", "must be from 0 to %d, is %d", mostLastCalls, c.LastCalls)
	f.check(c.LastCalls == 0 || c.Breaker.Mode == ModeRate, "last_calls", "needs breaker.mode rate, which is %q", c.Breaker.Mode)
	f.check(c.LastCalls == 0 || c.Breaker.MinVolume <= c.LastCalls, "last_calls",
		"must not be less than breaker.min_volume (%d), is %d", c.Breaker.MinVolume, c.LastCalls)
	return errors.Join(c.Breaker.Validate(), f.err())
}

// CircuitBreaker is the breaker around function calls in one process: the machine of a [BreakerSet] for one key
// without a lane, so it refuses what it cannot let through, and closes as soon as its probes have succeeded.
// It is safe for concurrent use.
type CircuitBreaker struct {
	name    string
	now     func() time.Time
	observe Observer

	mu      sync.Mutex
	cfg     BreakerConfig
	breaker breaker
	calls   int
	last    int64
	changes []Transition
}

// NewCircuitBreaker returns a closed breaker, or all that is wrong with c.
func NewCircuitBreaker(c CircuitConfig) (*CircuitBreaker, error) {
	c.Breaker.MinDistinct, c.Breaker.Evidence = 1, EvidenceReport
	if err := c.validate(); err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Breaker.lastCalls = c.LastCalls
	return &CircuitBreaker{
		name: c.Name, now: c.Now, observe: c.Observe, cfg: c.Breaker,
		// Not 0, which means "no generation": a call from before the first opening must be known as late.
		breaker: breaker{key: c.Name, slot: -1, generation: 1},
	}, nil
}

// Permit is leave for one call. It must be ended once, with Success or Failure. The zero Permit belongs to no breaker.
type Permit struct {
	circuit    *CircuitBreaker
	generation int64
	call       int
}

// Allow asks for one call. The error is a [*CircuitOpenError].
func (c *CircuitBreaker) Allow() (Permit, error) {
	permit, refusal := c.ask()
	if refusal != nil {
		return Permit{}, refusal
	}
	return permit, nil
}

func (c *CircuitBreaker) ask() (Permit, *CircuitOpenError) {
	c.mu.Lock()
	c.calls++
	permit := Permit{circuit: c, call: c.calls}
	refusal := c.admit(&permit)
	c.unlock()
	return permit, refusal
}

// Success ends the call as a success.
func (p Permit) Success() { p.end(Input{Kind: InSuccess}) }

// Failure ends the call as a failure. A permanent or ignored one says nothing about the callee. hint is how long a
// throttled callee asked to be left alone.
func (p Permit) Failure(class Class, hint time.Duration) {
	p.end(Input{Kind: InFailure, Class: class, Hint: hint})
}

func (p Permit) end(in Input) {
	c := p.circuit
	if c == nil {
		return
	}
	in.Generation, in.Delivery = p.generation, p.call
	c.mu.Lock()
	if in.Kind == InSuccess && c.untroubled() {
		c.mu.Unlock()
		return
	}
	c.apply(in)
	if c.breaker.state == Recovering {
		c.apply(Input{Kind: InTick}) // there is no lane to drain
	}
	c.unlock()
}

// untroubled reports whether a success would tell the breaker nothing, which spares the usual call a look at the clock.
func (c *CircuitBreaker) untroubled() bool {
	b := &c.breaker
	return b.state == Closed && b.level == 0 && c.cfg.Mode == ModeRun && len(b.run.deliveries) == 0
}

// Operate forces the breaker open or closed, disables it, or lets it probe now.
func (c *CircuitBreaker) Operate(op Operation) {
	c.mu.Lock()
	c.apply(Input{Kind: InOperator, Op: op})
	c.unlock()
}

// State returns the state as of the last call; it changes nothing.
func (c *CircuitBreaker) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.breaker.state
}

func (c *CircuitBreaker) admit(p *Permit) *CircuitOpenError {
	for c.breaker.state != Closed {
		out := c.apply(Input{Kind: InTick, Lane: c.lane()})
		switch {
		case out.Changed:
		case out.Want > 0 && out.Probing:
			c.apply(Input{Kind: InReleased, Delivery: p.call})
			p.generation = out.Generation
			return nil
		case c.breaker.state == Disabled:
			p.generation = out.Generation
			return nil
		default:
			return c.refusal(out.Next)
		}
	}
	p.generation = c.breaker.generation
	return nil
}

// lane is 1 for the call that asks where it could be held, or could probe.
func (c *CircuitBreaker) lane() int {
	if c.breaker.state == Recovering || c.breaker.state == Disabled {
		return 0
	}
	return 1
}

func (c *CircuitBreaker) apply(in Input) (out Output) {
	// Strictly rising, so that calls which a coarse clock puts at one instant keep their order.
	c.last = max(c.last+1, c.now().UnixNano())
	in.Now = c.last
	c.breaker.step(&c.cfg, &in, &out)
	if out.Changed && c.observe != nil {
		c.changes = append(c.changes, out.Change)
	}
	return out
}

// unlock tells of the changes after letting go of the lock, so that an observer may call the breaker.
func (c *CircuitBreaker) unlock() {
	changes := c.changes
	c.changes = nil
	c.mu.Unlock()
	for _, t := range changes {
		c.observe(Event{Kind: EventTransition, Name: c.name, Transition: t})
	}
}

func (c *CircuitBreaker) refusal(next int64) *CircuitOpenError {
	e := &CircuitOpenError{Name: c.name, State: c.breaker.state}
	if next > c.last {
		e.Remaining = time.Duration(next - c.last)
	}
	return e
}
