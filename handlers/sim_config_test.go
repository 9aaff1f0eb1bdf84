package handlers

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// simConfig is everything about a run that is decided before it begins.
type simConfig struct {
	shards   int
	near     time.Duration
	memory   int64
	maxNear  int
	sparse   uint64
	inflight int
	latency  time.Duration // longest way between client and server
	takeover time.Duration // longest time until a shard has another owner
	work     time.Duration // longest time a delivery takes
	capacity int           // deliveries of one subject at the same time, 0 = any
	remote   float64       // chance that another replica owns a shard, which hears of successes by the ledger

	works            int
	crowded          bool          // many fail at the same moment
	active           time.Duration // faults and new work come within this time
	poisonEverywhere bool          // also on fallbacks
	policies         *Policies
	reloads          []*Policies
	rates            simRates
	kills            int
	operations       int  // an operator's, on breakers
	commands         int  // an operator's, for what waits
	unserved         bool // some work has no policy for a while

	punctual    bool // nothing may make a release late but a breaker
	zombies     bool // shards change owners
	repeats     bool // reports or acknowledgements are repeated
	loose       bool // what follows from a report depends on when it is asked
	holdsExpire bool
}

func (c *simConfig) calmFrom(start time.Time) time.Time { return start.Add(c.active) }

// single says that each report is handled once.
func (c *simConfig) single() bool { return !c.zombies && !c.repeats }

var simTargets = []string{"a.one", "a.two", "a.two.three", "b.one", "b.two"}

// drawConfig draws one of the many ways a run can be.
func drawConfig(rng *rand.Rand) simConfig {
	pick := func(ds ...time.Duration) time.Duration { return ds[rng.IntN(len(ds))] }
	maybe := func(p float64) bool { return rng.Float64() < p }
	c := simConfig{
		shards: 1 + rng.IntN(3), near: pick(5*time.Second, 5*time.Second, time.Second, 30*time.Second),
		memory: 32 << 20, maxNear: 50_000, inflight: 64, sparse: uint64(rng.IntN(4)),
		latency: pick(0, 2*time.Millisecond, 20*time.Millisecond), takeover: pick(time.Second, 10*time.Second), work: pick(10*time.Millisecond, time.Second),
		works: 5 + rng.IntN(40), active: pick(30*time.Second, 2*time.Minute, 5*time.Minute), poisonEverywhere: maybe(0.5), remote: 0.5,
	}
	c.crowded = maybe(0.3)
	if maybe(0.2) {
		c.capacity = 1 + rng.IntN(5)
	}
	tight := maybe(0.25)
	if tight {
		c.memory, c.maxNear, c.inflight = int64(2_000+rng.IntN(20_000)), 1+rng.IntN(10), 1+rng.IntN(8)
	}
	doc := drawPolicies(rng, &c)
	c.policies = compile(doc)
	calm := maybe(0.25)
	c.punctual = calm && !tight
	if maybe(0.2) {
		c.operations = 1 + rng.IntN(3)
	}
	if maybe(0.4) {
		c.commands = 1 + rng.IntN(60)
	}
	if !calm {
		c.drawFaults(rng)
		if maybe(0.2) {
			c.drawReloads(rng, doc)
		}
	}
	return c
}

// drawReloads changes the breaker of a policy, and perhaps its name or what is served.
func (c *simConfig) drawReloads(rng *rand.Rand, doc schemas.PolicyDocument) {
	doc.Policies = slices.Clone(doc.Policies)
	drawBreaker(rng, &doc.Policies[0])
	if rng.Float64() < 0.3 {
		doc.Policies[0].Name = "renamed"
	}
	if rng.Float64() < 0.3 {
		doc.Policies[1].Subjects, c.unserved = []string{"f.>"}, true
	}
	c.reloads = append(c.reloads, compile(doc))
	if rng.Float64() < 0.5 {
		c.reloads = append(c.reloads, c.policies)
	}
}

func (c *simConfig) drawFaults(rng *rand.Rand) {
	rate := func(most float64) float64 {
		if rng.Float64() < 0.5 {
			return 0
		}
		return rng.Float64() * most
	}
	c.rates = simRates{
		lost: rate(0.1), unanswered: rate(0.1), late: rate(0.05), slow: rate(0.2), choreLost: rate(0.2), choreBlind: rate(0.2),
		staleRead: rate(0.5), lag: rate(0.5), twice: rate(0.1), lateReport: rate(0.1),
	}
	r := &c.rates
	c.repeats = r.twice+r.unanswered+r.late+r.slow+r.lost > 0
	if rng.Float64() < 0.5 {
		c.kills = 1 + rng.IntN(4)
		c.zombies = true
	}
}

func compile(doc schemas.PolicyDocument) *Policies {
	p, err := CompilePolicies(doc, simSubjects)
	if err != nil {
		panic(fmt.Sprintf("the simulator's policies: %v", err))
	}
	return p
}

func drawPolicies(rng *rand.Rand, c *simConfig) schemas.PolicyDocument {
	levels := []string{schemas.OutcomesTerminal, schemas.OutcomesAttempts, schemas.OutcomesAll}
	doc := schemas.PolicyDocument{Version: 1, Policies: []schemas.PolicySpec{
		{Name: "first", Subjects: []string{"a.>"}}, {Name: "rest", Subjects: []string{">"}},
	}}
	for i := range doc.Policies {
		p := &doc.Policies[i]
		p.Outcomes = levels[rng.IntN(3)]
		p.Retry = schemas.RetrySpec{
			MaxAttempts:  ptr(2 + rng.IntN(5)),
			InitialDelay: duration(time.Duration(50+rng.IntN(3_000)) * time.Millisecond),
			MaxDelay:     duration([]time.Duration{4 * time.Second, time.Minute, 8 * time.Hour}[rng.IntN(3)]),
			Base:         ptr(1 + rng.Float64()*3),
		}
		if *p.Retry.Base > 3.5 {
			p.Retry.Base = ptr(40.0) // far waits
		}
		if rng.Float64() < 0.2 {
			p.Retry.MaxElapsed = duration(time.Duration(5+rng.IntN(120)) * time.Second)
			c.loose = c.loose || rng.Float64() < 0 // by the report's own time only
		}
		if i == 0 && rng.Float64() < 0.4 {
			p.Fallback = []string{"f.one", "f.two"}[:1+rng.IntN(2)]
			c.loose = true // which fallback is tried depends on its breaker
		}
		if rng.Float64() < 0.2 {
			p.Discard = []string{schemas.ClassPermanent}
		}
		drawBreaker(rng, p)
		if i == 0 && rng.Float64() < 0.15 {
			p.Breaker.HeldMax, c.holdsExpire = ptr(1+rng.IntN(5)), true
		}
		if i == 0 && rng.Float64() < 0.15 {
			p.Breaker.HeldMaxAge, c.holdsExpire = duration(time.Duration(1+rng.IntN(60))*time.Second), true
		}
	}
	c.loose = c.loose || c.holdsExpire
	return doc
}

func drawBreaker(rng *rand.Rand, p *schemas.PolicySpec) {
	threshold := 1 + rng.IntN(6)
	held, age := p.Breaker.HeldMax, p.Breaker.HeldMaxAge
	p.SuccessEvidence = []string{"silence", "report"}[rng.IntN(2)]
	p.Breaker = schemas.BreakerSpec{
		Disabled: rng.Float64() < 0.1, FailureThreshold: ptr(threshold), MinDistinct: ptr(1 + rng.IntN(threshold)),
		ResetTimeout: duration(time.Duration(1+rng.IntN(60)) * time.Second), MaxOpen: duration(10 * time.Minute),
		HalfOpenTimeout: duration(time.Duration(1+rng.IntN(5)) * time.Second), OutcomeTimeout: duration(time.Duration(1+rng.IntN(30)) * time.Second),
		OpenMultiplier: ptr(1 + rng.Float64()), Probes: ptr(1 + rng.IntN(4)), RampMax: ptr(1 + rng.IntN(64)),
		HeldMax: held, HeldMaxAge: age,
	}
	p.Breaker.Successes = ptr(1 + rng.IntN(*p.Breaker.Probes))
	if p.SuccessEvidence == "report" && rng.Float64() < 0.3 {
		p.Breaker.Mode, p.Breaker.MinVolume = ptr("rate"), ptr(1+rng.IntN(5))
	}
	if rng.Float64() < 0.2 {
		p.Breaker.MaxKeys = ptr(1 + rng.IntN(3))
	}
	switch rng.IntN(5) {
	case 0:
		p.Breaker.Key = "{1}"
	case 1:
		p.Breaker.Key = "group.{2}"
	}
	if rng.Float64() < 0.2 {
		p.Breaker.TripOnHint = duration(10 * time.Second)
	}
}

func ptr[T any](v T) *T { return &v }

func duration(d time.Duration) *schemas.Duration { return ptr(schemas.Duration(d)) }
