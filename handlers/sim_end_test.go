package handlers

import (
	"slices"
	"strings"

	"github.com/recoveryd/recoveryd/schemas"
)

// end checks what must be so when nothing happens any more.
func (c *simCheck) end() {
	if len(c.failures) > 0 {
		return
	}
	st := c.w.streams
	for shard, q := range st.intake {
		for _, m := range q.reports {
			c.failf(m.Header.Get(headerWork), "report %d of shard %d was never settled", m.Sequence, shard)
		}
	}
	for subject, lane := range st.ledger.lanes {
		c.failf(lane[0].Header.Get(headerWork), "%d entries stay on %s", len(lane), subject)
	}
	for key := range st.state.values {
		if c.w.cfg.zombies {
			break // a former owner may write what the next one has deleted
		}
		if strings.HasPrefix(key, "intake.") {
			continue
		}
		c.failf("", "%s stays in the state store", key)
	}
	for _, o := range c.w.owners {
		c.idle(o.loop.shard)
	}
	if c.w.workers.pending != 0 {
		c.failf("", "%d deliveries or reports are still with the workers", c.w.workers.pending)
	}
	for _, l := range c.lives {
		c.accounted(l)
	}
}

// accounted holds that something followed from every accepted report: nothing is lost.
func (c *simCheck) accounted(l *simLife) {
	deliveries := make([]int, 0, len(l.reports))
	for n := range l.reports {
		deliveries = append(deliveries, n)
	}
	slices.Sort(deliveries)
	for _, n := range deliveries {
		refused := c.w.cfg.unserved && l.letter == schemas.ReasonRefused // its state was not believed
		if len(l.follows[n]) == 0 && !refused {
			c.failf(l.name, "nothing followed from the failure of delivery %d", n)
		}
	}
}

// idle holds that a shard without work keeps nothing.
func (c *simCheck) idle(s *shard) {
	for what, n := range map[string]int{
		"bytes": int(s.bytes), "near": s.near, "flying": s.flying, "items by source": len(s.bySource), "waiting": len(s.waiting),
		"slots": len(s.slots), "wanting": len(s.wanting), "held lanes": len(s.held), "unnamed lanes": s.unnamed,
		"breakers to look at": len(s.dirty), "breaker records": len(s.records), "faults": len(s.faults), "entries taken by commands": len(s.ahead.taken), "commands": len(s.commands) + len(s.intake.commands),
	} {
		if n != 0 {
			c.failf("", "shard %d is idle and keeps %d %s", s.index, n, what)
		}
	}
	for subject, l := range s.lanes {
		if l.kind == schemas.LaneDue || l.kind == schemas.LaneHeld || !l.idle() {
			c.failf("", "shard %d is idle and keeps lane %s: %+v", s.index, subject, *l)
		}
	}
	for policy, set := range s.sets {
		if set.Len() > 0 {
			c.failf("", "shard %d is idle and policy %s keeps %d breakers", s.index, policy, set.Len())
		}
	}
}
