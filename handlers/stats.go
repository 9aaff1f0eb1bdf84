package handlers

import (
	"maps"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// full says whether no further report should be read for now: memory is short, or what is
// due, or about to be, leaves no room for more.
func (s *shard) full() bool {
	return s.behind || s.crowded || s.bytes+s.reserved > s.memory+s.memory/4 || s.near > s.maxNear+s.maxNear/4
}

// stats is a picture of the shard.
func (s *shard) stats() Stats {
	st := Stats{
		Shard: s.index, Owned: true, Near: s.near, NearBytes: s.bytes, Loaded: len(s.bySource) - s.near, InFlight: s.flying,
		Breakers: map[string]map[strategies.State]int{}, Faults: maps.Clone(s.faults),
	}
	ahead := s.unreadAhead()
	for _, l := range s.lanes {
		n := int64(l.length()) - ahead[l]
		switch l.kind {
		case schemas.LaneHeld:
			st.Held += n
		case schemas.LaneDead:
			st.DeadWait += n
		default:
			st.Far += n
		}
	}
	if st.Far > 0 {
		st.Far += s.unseen
	}
	if it := s.waiting.first(); it != nil && !it.onlyTell {
		st.OldestDue = it.due
	}
	if len(s.slots) > 0 {
		if t := time.Unix(s.slots[0].second, 0); st.OldestDue.IsZero() || t.Before(st.OldestDue) {
			st.OldestDue = t
		}
	}
	for policy, set := range s.sets {
		st.Breakers[policy] = set.Counts()
		if set.Overflowed() {
			st.Overflowed = append(st.Overflowed, policy)
		}
	}
	return st
}

// removed takes the answer to the deletion of one entry.
func (s *shard) removed(now time.Time, sequence uint64, err error) {
	if err != nil {
		s.observe(Event{Kind: EventFault, At: now, Op: "delete ledger entry", Err: err})
		s.emit(effect{kind: effRemove, sequence: sequence})
	}
}
