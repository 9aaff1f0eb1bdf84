package strategies

import "slices"

// Snapshot is the whole record of one key, to be stored and shown. Times are Unix nanoseconds of stream time.
// What a rate counted is shown but not restored: its window starts anew.
type Snapshot struct {
	Policy     string `json:"policy"`
	Key        string `json:"key"`
	State      State  `json:"state"`
	Generation int64  `json:"generation"`
	Level      int    `json:"level,omitempty"`
	OpenUntil  int64  `json:"open_until,omitempty"` // of open
	Until      int64  `json:"until,omitempty"`      // of forced_open and disabled
	ChangedAt  int64  `json:"changed_at,omitempty"`
	LevelAt    int64  `json:"level_at,omitempty"` // closed: when the level falls
	Reason     string `json:"reason,omitempty"`
	Actor      string `json:"actor,omitempty"`
	Cause      string `json:"cause,omitempty"` // id of the record behind the last change

	Failures    int      `json:"failures"` // in the run, counted up to the threshold; or in the rate's window
	Distinct    int      `json:"distinct"` // messages they came from, counted up to min_distinct
	Total       int      `json:"total,omitempty"`
	LastSuccess int64    `json:"last_success,omitempty"`
	Samples     []string `json:"samples,omitempty"` // some ids that failed

	Run      []Mark  `json:"run,omitempty"`
	Messages []Mark  `json:"messages,omitempty"`
	Touched  int64   `json:"touched,omitempty"`
	Leases   []Lease `json:"leases,omitempty"`

	ProbesOK      int    `json:"probes_ok,omitempty"`
	ProbesFailed  int    `json:"probes_failed,omitempty"`
	ProbesUnknown int    `json:"probes_unknown,omitempty"`
	IdleSince     int64  `json:"idle_since,omitempty"`
	Tried         []Hash `json:"tried,omitempty"`
	TriedBefore   []Hash `json:"tried_before,omitempty"`
	RampLimit     int    `json:"ramp_limit,omitempty"`
	RampOK        int    `json:"ramp_ok,omitempty"`
	RampSlowed    bool   `json:"ramp_slowed,omitempty"`
	RampCutAt     int64  `json:"ramp_cut_at,omitempty"`
	RampCrest     int    `json:"ramp_crest,omitempty"`
	RampFailed    int    `json:"ramp_failed,omitempty"`
}

// Snapshot returns the record of key, if it has one.
func (s *BreakerSet) Snapshot(key string) (Snapshot, bool) {
	b := s.keys[key]
	if b == nil {
		return Snapshot{}, false
	}
	return b.snapshot(s.policy), true
}

// Each calls f with every record, in no particular order.
func (s *BreakerSet) Each(f func(Snapshot)) {
	for _, b := range s.keys {
		f(b.snapshot(s.policy))
	}
}

// Restore puts a stored record back, unless a newer generation of it is known. It is due at once.
func (s *BreakerSet) Restore(from Snapshot) {
	b := s.keys[from.Key]
	if b != nil && b.generation > from.Generation {
		return
	}
	if b == nil {
		b = s.add(from.Key)
	}
	if from.Key == OverflowKey {
		s.overflow = b
	}
	s.counts[b.state]--
	b.restore(from)
	s.counts[b.state]++
	b.next = max(1, s.now)
	s.queue.place(b)
}

func (b *breaker) snapshot(policy string) Snapshot {
	out := Snapshot{
		Policy: policy, Key: b.key, State: b.state, Generation: b.generation, Level: int(b.level),
		ChangedAt: b.changedAt, Touched: b.touched,
		Failures: len(b.run.deliveries), Distinct: len(b.run.messages), LastSuccess: b.run.success,
		Run: slices.Clone(b.run.deliveries), Messages: slices.Clone(b.run.messages),
	}
	if b.tally != nil {
		out.Total, out.Failures = b.tally.totals()
	}
	if b.more != nil {
		b.more.describe(&out)
	}
	return out
}

func (t *trip) describe(out *Snapshot) {
	if out.State == Open {
		out.OpenUntil = t.until
	} else {
		out.Until = t.until
	}
	out.Reason, out.Actor, out.Cause, out.Samples = t.reason, t.actor, t.cause, slices.Clone(t.samples)
	out.LevelAt, out.IdleSince, out.Leases = t.levelAt, t.idleSince, slices.Clone(t.leases)
	out.ProbesOK, out.ProbesFailed, out.ProbesUnknown = t.round.ok, t.round.failed, t.round.unknown
	out.Tried, out.TriedBefore = slices.Clone(t.round.tried), slices.Clone(t.last)
	out.RampLimit, out.RampOK, out.RampSlowed = t.ramp.limit, t.ramp.ok, t.ramp.slowed
	out.RampCutAt, out.RampCrest, out.RampFailed = t.ramp.cutAt, t.ramp.crest, t.ramp.failed
}

func (b *breaker) restore(from Snapshot) {
	b.state, b.generation, b.level = from.State, from.Generation, int32(from.Level)
	b.changedAt, b.touched = from.ChangedAt, from.Touched
	b.run = run{success: from.LastSuccess, deliveries: slices.Clone(from.Run), messages: slices.Clone(from.Messages)}
	b.tally = nil
	if from.State == Recovering {
		from.RampLimit = max(1, from.RampLimit) // a ramp of 0 would never end
	}
	b.more = &trip{
		until: max(from.OpenUntil, from.Until), levelAt: from.LevelAt, idleSince: from.IdleSince,
		reason: from.Reason, actor: from.Actor, cause: from.Cause, samples: slices.Clone(from.Samples),
		leases: slices.Clone(from.Leases), last: slices.Clone(from.TriedBefore),
		round: probing{from.ProbesOK, from.ProbesFailed, from.ProbesUnknown, slices.Clone(from.Tried)},
		ramp:  ramp{from.RampLimit, from.RampOK, from.RampSlowed, from.RampCutAt, from.RampCrest, from.RampFailed},
	}
}
