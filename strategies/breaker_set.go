package strategies

import "strings"

// OverflowKey names the breaker that the keys beyond MaxKeys share. No subject can be "*".
const OverflowKey = "*"

// BreakerSet holds the breakers of one policy on one shard. A key without a record is closed; it gets one with its
// first failure that counts (in rate mode with its first outcome) and loses it when it is closed and idle.
// It is not safe for concurrent use: a shard is one loop.
type BreakerSet struct {
	policy   string
	cfg      BreakerConfig
	now      int64
	keys     map[string]*breaker
	queue    dueQueue
	counts   [states]int
	overflow *breaker
}

// NewBreakerSet returns an empty set. cfg must be valid.
func NewBreakerSet(policy string, cfg BreakerConfig) *BreakerSet {
	return &BreakerSet{policy: policy, cfg: cfg, keys: make(map[string]*breaker)}
}

// Configure changes the settings and keeps every state; a time already set, such as the end of an opening, stays.
// Only a rate counts anew when its window changes.
// Breakers that are not closed become due, because the new settings may mean something else for them.
func (s *BreakerSet) Configure(cfg BreakerConfig) {
	recount := cfg.Mode != s.cfg.Mode || cfg.Window != s.cfg.Window
	s.cfg = cfg
	for _, b := range s.keys {
		if recount {
			b.tally = nil
		}
		if b.state != Closed && b.state != Open {
			b.next = max(1, s.now)
			s.queue.place(b)
		}
	}
}

// Step applies one input to the breaker of key and returns all that follows from it.
func (s *BreakerSet) Step(key string, in Input) Output {
	s.now = max(s.now, in.Now)
	in.Now = s.now
	b := s.governing(key, &in)
	if b == nil {
		return unknown(key, &in)
	}
	var out Output
	before, next := b.state, b.next
	b.step(&s.cfg, &in, &out)
	out.Key = b.key
	s.counts[before]--
	s.counts[b.state]++
	switch {
	case in.Kind == InTick && in.Lane == 0 && b.forgettable(&s.cfg, s.now):
		s.forget(b)
		out.Next = 0
	case b.next != next:
		s.queue.place(b)
	}
	return out
}

// unknown answers for a key without a record.
func unknown(key string, in *Input) Output {
	out := Output{Key: key}
	if in.Kind == InDue {
		out.Verdict = VerdictRelease
		if in.Lane > 0 {
			out.Verdict = VerdictHold
		}
	}
	return out
}

// governing returns the record that answers for key, or nil if there is none and none is needed. A Tick or an
// operator means this very key; the others share the overflow breaker when keys ran out.
func (s *BreakerSet) governing(key string, in *Input) *breaker {
	if b := s.keys[key]; b != nil {
		return b
	}
	switch in.Kind {
	case InTick:
		if in.Lane > 0 {
			return s.add(key)
		}
		return nil
	case InOperator:
		if in.Op.To != Closed {
			return s.add(key)
		}
		return nil
	}
	if s.overflow != nil {
		return s.overflow
	}
	if s.cfg.Disabled || !s.evident(in) {
		return nil
	}
	return s.enter(key)
}

// evident reports whether an outcome is worth a record.
func (s *BreakerSet) evident(in *Input) bool {
	if in.Kind == InSuccess {
		return s.cfg.Mode == ModeRate // without the successes before it the first failure would be all there is
	}
	return in.Kind == InFailure && in.Class.Counts()
}

// enter gives key a record of its own while there is room, else that of all the others.
func (s *BreakerSet) enter(key string) *breaker {
	for tries := 0; len(s.keys) >= s.cfg.MaxKeys && tries < 8 && len(s.queue) > 0; tries++ {
		b := s.queue[0]
		if !b.forgettable(&s.cfg, s.now) {
			break
		}
		s.forget(b)
	}
	if len(s.keys) < s.cfg.MaxKeys {
		return s.add(key)
	}
	s.overflow = s.add(OverflowKey)
	return s.overflow
}

func (s *BreakerSet) add(key string) *breaker {
	b := &breaker{key: strings.Clone(key), slot: -1}
	s.keys[b.key] = b
	s.counts[b.state]++
	if key == OverflowKey {
		s.overflow = b
	}
	return b
}

func (s *BreakerSet) forget(b *breaker) {
	s.queue.remove(b)
	delete(s.keys, b.key)
	s.counts[b.state]--
	if b == s.overflow {
		s.overflow = nil
	}
}

// PickProbes returns the places in first of up to n messages that should probe. It looks at the first 64: least
// Delivery first, then the order of the lane; each id once; those that probed last time only if there is nothing else.
func (s *BreakerSet) PickProbes(key string, n int, first []Candidate) []int {
	if b := s.keys[s.Resolve(key)]; b != nil && b.more != nil {
		return b.more.pick(n, first)
	}
	return (&trip{}).pick(n, first)
}

// Resolve returns the key whose breaker, and so whose lane, governs key: itself, or [OverflowKey].
func (s *BreakerSet) Resolve(key string) string {
	if s.overflow != nil && s.keys[key] == nil {
		return OverflowKey
	}
	return key
}

// State returns the state of key as of its last step.
func (s *BreakerSet) State(key string) State {
	if b := s.keys[s.Resolve(key)]; b != nil {
		return b.state
	}
	return Closed
}

// Due returns the keys that need a Tick at now, in no particular order. They stay due until they had it. Closed keys
// are among them when it is time to forget them.
func (s *BreakerSet) Due(now int64) []string { return s.queue.due(0, now, nil) }

// Next returns when the first key becomes due; 0 = none does.
func (s *BreakerSet) Next() int64 {
	if len(s.queue) == 0 {
		return 0
	}
	return s.queue[0].next
}

// Counts returns how many keys are in each state; those without a record are not counted.
func (s *BreakerSet) Counts() map[State]int {
	counts := make(map[State]int, states)
	for state, n := range s.counts {
		counts[State(state)] = n
	}
	return counts
}

// Len returns the number of keys with a record.
func (s *BreakerSet) Len() int { return len(s.keys) }

// Overflowed reports whether keys share the overflow breaker.
func (s *BreakerSet) Overflowed() bool { return s.overflow != nil }
