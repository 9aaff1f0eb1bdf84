package handlers

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// command has an operator cancel something that waits, or try it now. What was found is
// acted on a while later, as when it was read from the ledger.
func (w *simWorld) command() {
	o := w.owners[w.rng.IntN(len(w.owners))]
	if !o.alive || !o.fed {
		return
	}
	c := &command{cancel: w.chance(0.5), actor: "operator", note: "because"}
	if near := slices.Collect(o.loop.shard.nearItems()); len(near) > 0 && w.chance(0.5) {
		slices.SortFunc(near, func(a, b *item) int { return int(a.source) - int(b.source) })
		it := near[w.rng.IntN(len(near))]
		source, id, failed := it.source, it.work.ID, it.work.Delivery
		w.after(w.latency(), func() {
			w.obeyed(o, id, failed, c, func(s *shard, now time.Time) error {
				found, err := s.commandReport(now, source, c)
				if !found {
					return conflict("gone")
				}
				return err
			})
		})
		return
	}
	var lanes []string
	for _, subject := range slices.Sorted(maps.Keys(w.streams.ledger.lanes)) {
		if lane, err := simSubjects.ParseLedger(subject); err == nil && lane.Shard == o.shard {
			lanes = append(lanes, subject)
		}
	}
	if len(lanes) == 0 {
		return
	}
	subject := lanes[w.rng.IntN(len(lanes))]
	lane := w.streams.ledger.lanes[subject]
	found := appendEntries(nil, &lane[w.rng.IntN(len(lane))])
	e := &found[w.rng.IntN(len(found))]
	w.after(w.latency(), func() {
		w.obeyed(o, e.item.work.ID, e.item.work.Delivery, c, func(s *shard, now time.Time) error { return s.commandEntry(now, subject, e, c) })
	})
}

// obeyed carries out a command and takes note of what became of it.
func (w *simWorld) obeyed(o *simOwner, id string, failed int, c *command, act func(*shard, time.Time) error) {
	what := "now"
	if c.cancel {
		what = "cancel"
	}
	l := w.check.byID[id]
	c.done = func(kind string) {
		w.tracef("%s: command %s of delivery %d is done: %s", l.name, what, failed, kind)
		w.check.counts["command "+what+" "+kind]++
		switch {
		case c.cancel && kind != schemas.KindDiscarded:
			w.check.failf(l.name, "cancelled, but it is %q", kind)
		case c.cancel:
			l.cancelled[failed] = w.now
		case kind == schemas.KindDiscarded, kind == schemas.KindRecovered:
			w.check.failf(l.name, "tried now, but it is %q", kind)
		}
	}
	o.do(func(s *shard, now time.Time) {
		err := act(s, now)
		var refused *schemas.APIError
		switch {
		case errors.As(err, &refused) && refused.Code == 409:
			w.check.counts["command refused"]++
			w.tracef("command %s of %s: %v", what, id, err)
			return
		case err != nil:
			w.check.failf(id, "command %s: %v", what, err)
			return
		}
		w.tracef("%s: command %s of delivery %d", l.name, what, failed)
		l.hastened[failed] = l.hastened[failed] || !c.cancel
		// Until a checkpoint says that it is cancelled the next owner may try it all the same.
		l.loose = l.loose || c.cancel && !w.cfg.single()
	})
}

// cancelledSince says whether something was cancelled so long ago that nobody may act on it
// any more: not a former owner, and nothing that was on its way.
func (l *simLife) cancelledSince(failed int, now time.Time) bool {
	at, is := l.cancelled[failed]
	return is && !l.repeated && now.Sub(at) > time.Minute
}
