package handlers

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// publishing holds that work which is due is not sent while its breaker is not closed.
func (c *simCheck) publishing(o *simOwner, e *effect) {
	s, it := o.loop.shard, e.item
	if it.stage != stageMoving || it.move != moveDeliver || it.tries != 1 || it.step != schemas.StepRetry ||
		it.lane != nil && it.lane.kind == schemas.LaneHeld || it.policy.Breaker.Disabled || len(c.w.cfg.reloads) > 0 {
		return
	}
	if state := s.set(it.policy.Name).State(it.key); state != strategies.Closed && state != strategies.Disabled {
		c.failf(it.work.Header.Get(headerWork), "sent while breaker %s is %s", it.key, state)
	}
}

// released counts what is on its way along the ramp of a breaker.
func (c *simCheck) released(m *schemas.Stored) {
	generation, _ := strconv.ParseInt(m.Header.Get(schemas.HeaderGeneration), 10, 64)
	if !c.w.cfg.punctual || generation == 0 || m.Header.Get(schemas.HeaderProbe) != "" {
		return
	}
	work := schemas.Work{Subject: m.Header.Get(schemas.HeaderSubject)}
	p := c.w.engine.policies.Load().For(work.Subject)
	ramp := c.ramps[simRampOf{breakerKey{p.Name, p.BreakerKey(&work)}, generation}]
	if ramp == nil || p.Breaker.Evidence != strategies.EvidenceReport || p.Breaker.OutcomeTimeout < 3*time.Second {
		return
	}
	away := simAway{m.Header.Get(headerWork), headerNumber(m.Header, schemas.HeaderDelivery)}
	ramp.away[away] = true
	c.ramped[away] = ramp
	if len(ramp.away) > ramp.peak {
		c.failf(away.name, "%d releases of generation %d are on their way, the limit was at most %d", len(ramp.away), generation, ramp.peak)
	}
}

func (c *simCheck) settled(name string, delivery int) {
	away := simAway{name, delivery}
	if ramp := c.ramped[away]; ramp != nil {
		delete(ramp.away, away)
		delete(c.ramped, away)
	}
}

// simRamp is what is on its way of one recovery, and the highest limit it had so far.
type simRamp struct {
	peak int
	away map[simAway]bool
}

type simRampOf struct {
	key        breakerKey
	generation int64
}

type simAway struct {
	name     string
	delivery int
}

// observe follows the breakers: what an owner was told of a key must stay what it knows.
func (c *simCheck) observe(o *simOwner, e Event) {
	switch e.Kind {
	case EventAlarm:
		c.counts["alarm "+e.Op]++
		c.w.tracef("owner %d: alarm %s %s: %v", o.name, e.Op, e.Subject, e.Err)
		if !c.w.cfg.zombies {
			c.failf("", "alarm: %s %s: %v", e.Op, e.Subject, e.Err)
		}
	case EventFault:
		c.counts["fault "+e.Op]++
		c.w.tracef("owner %d: fault %s %s %s: %v", o.name, e.Op, e.Subject, e.ID, e.Err)
	case EventBreaker:
		b := e.Breaker
		c.counts["breaker "+b.To]++
		c.w.tracef("owner %d: breaker %s: %s to %s, generation %d (%s)", o.name, b.Key, b.From, b.To, b.Generation, b.Reason)
		at := simStateOf{o.name, breakerKey{b.Policy, b.Key}}
		to, err := strategies.ParseState(b.To)
		if seen := c.states[at]; err != nil || b.Generation <= seen.generation {
			c.failf("", "breaker %s goes from generation %d to %d: %v", b.Key, seen.generation, b.Generation, err)
		}
		c.states[at] = simSeen{to, b.Generation}
	}
}

// stored checks what is written to the state store.
func (c *simCheck) stored(key string, data []byte) {
	var s strategies.Snapshot
	if err := json.Unmarshal(data, &s); err != nil {
		c.failf("", "stored %s: %v", key, err)
	}
	c.w.tracef("stored %s: %s generation %d", key, s.State, s.Generation)
	if s.State == strategies.Closed {
		c.failf("", "stored %s: closed", key)
	}
	if s.Generation < c.put[key] && !c.w.cfg.zombies { // a former owner may close, which deletes the key
		c.failf("", "stored %s: generation %d after %d", key, s.Generation, c.put[key])
	}
	c.put[key] = max(c.put[key], s.Generation)
}

// shard checks what must be so whenever a shard has finished a step.
func (c *simCheck) shard(o *simOwner) {
	s := o.loop.shard
	if s.flying < 0 || s.near < 0 || s.bytes < 0 || s.unnamed < 0 {
		c.failf("", "shard %d: flying %d, near %d, bytes %d, unnamed %d", s.index, s.flying, s.near, s.bytes, s.unnamed)
	}
	if len(s.dirty) > 0 && o.leased {
		c.failf("", "shard %d: %d breakers were not looked at", s.index, len(s.dirty))
	}
	for _, l := range s.lanes {
		if l.coming < 0 || l.settled < 0 || l.settled > len(l.entries) || l.open < len(l.entries)-l.settled {
			c.failf("", "lane %s: coming %d, settled %d of %d, open %d", l.subject, l.coming, l.settled, len(l.entries), l.open)
		}
	}
	if c.w.cfg.zombies {
		return // another owner's state may have been taken over
	}
	if len(c.states) > 100 && c.w.rng.IntN(len(c.states)) > 100 {
		return // many keys are looked at now and then
	}
	for at, seen := range c.states {
		if at.owner != o.name || seen.state == strategies.Closed {
			continue // a closed one may be forgotten, and share the overflow breaker from then on
		}
		if state := s.set(at.key.policy).State(at.key.key); state != seen.state {
			c.failf("", "breaker %s is %s, it was last %s", at.key.key, state, seen.state)
		}
		if seen.state == strategies.Recovering && c.w.cfg.punctual {
			snapshot, _ := s.set(at.key.policy).Snapshot(at.key.key)
			of := simRampOf{at.key, seen.generation}
			if c.ramps[of] == nil {
				c.ramps[of] = &simRamp{away: map[simAway]bool{}}
			}
			ramp := c.ramps[of]
			ramp.peak = max(ramp.peak, snapshot.RampLimit)
		}
	}
}
