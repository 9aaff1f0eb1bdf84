package strategies

import (
	"fmt"
	"slices"
)

// reference is the breaker of one key in run mode as the specification tells it: it keeps every record and every
// release by name and counts them anew whenever it is asked. It is slow, unbounded and never forgets a key.
type reference struct {
	c          BreakerConfig
	key        string
	state      State
	generation int64
	level      int
	until      int64
	levelAt    int64
	idle       int64

	failures []refFailure
	success  int64
	away     []refRelease // whose outcome is awaited

	ok, failed, unknown, tried int
	limit, good                int
	slow                       bool
	cut                        int64
	wave                       []string // failures since the limit was cut
	crest                      int
}

type refFailure struct {
	id   string
	name string // id and delivery
	at   int64
}

type refRelease struct {
	name      string
	at, until int64
}

func name(in Input) string { return fmt.Sprintf("%s/%d", in.ID, in.Delivery) }

func (m *reference) step(in Input) (out Output) {
	switch in.Kind {
	case InDue:
		out.Verdict = VerdictHold
		if in.Lane == 0 && (m.state == Closed || m.state == Disabled) {
			out.Verdict = VerdictRelease
		}
	case InReleased:
		m.release(in)
	case InOperator:
		m.operator(in)
	case InTick:
		out.ProbeResult = m.tick(in)
		out.Want = m.want(in.Lane)
	default:
		if out.Late = in.Generation != 0 && in.Generation < m.generation; !out.Late {
			out.ProbeResult, out.Duplicate = m.outcome(in)
		}
	}
	return out
}

func (m *reference) enter(s State, in Input) {
	m.state, m.generation = s, max(m.generation+1, in.Now/1_000_000)
	m.away, m.until = nil, 0
	if s != Open && s != ForcedOpen && s != Disabled {
		m.failures, m.success = nil, 0
	}
	switch s {
	case Closed:
		m.levelAt = in.Now + int64(m.c.ResetTimeout)
	case HalfOpen:
		m.ok, m.failed, m.unknown, m.tried, m.idle = 0, 0, 0, 0, in.Now
	case Recovering:
		m.limit, m.good, m.slow, m.cut, m.wave = 1, 0, false, 0, nil
	}
}

func (m *reference) open(in Input, level int) {
	m.enter(Open, in)
	m.level = level
	length := m.c.openFor(m.key, m.generation, level) // its bounds have a test of their own
	if in.Kind == InFailure && in.Class == ClassThrottled && in.Hint >= m.c.TripOnHint {
		length = min(in.Hint, m.c.MaxOpen)
	}
	m.until = in.Now + int64(length)
}

// run returns the failures that count now.
func (m *reference) run() (run []refFailure, messages map[string]bool) {
	var newest int64
	for _, f := range m.failures {
		newest = max(newest, f.at)
	}
	messages = map[string]bool{}
	for _, f := range m.failures {
		if f.at >= m.success && (m.c.Evidence != EvidenceSilence || newest-f.at <= int64(m.c.Window)) {
			run, messages[f.id] = append(run, f), true
		}
	}
	return run, messages
}

// count adds a failure unless it is known, and says whether it is among the latest of the run.
func (m *reference) count(in Input) (known, latest bool) {
	at := min(in.OccurredAt, in.Now)
	for _, f := range m.failures {
		if f.name == name(in) {
			return true, false
		}
	}
	m.failures = append(m.failures, refFailure{in.ID, name(in), at})
	run, _ := m.run()
	later, within := 0, false
	for _, f := range run {
		within = within || f.name == name(in)
		if f.at > at || f.at == at && workHashOf(f) > workHash(in.ID, in.Delivery) {
			later++
		}
	}
	return false, within && later < m.c.FailureThreshold
}

func workHashOf(f refFailure) Hash {
	var delivery int
	if _, err := fmt.Sscanf(f.name[len(f.id)+1:], "%d", &delivery); err != nil {
		panic(err)
	}
	return workHash(f.id, delivery)
}

func (m *reference) tripIfDue(in Input, fresh bool) {
	run, messages := m.run()
	if fresh && in.Class == ClassThrottled && in.Hint >= m.c.TripOnHint || len(run) >= m.c.FailureThreshold && len(messages) >= m.c.MinDistinct {
		m.open(in, m.level+1)
	}
}

func (m *reference) outcome(in Input) (probe string, duplicate bool) {
	failed := in.Kind == InFailure
	countable := failed && in.Class != ClassPermanent && in.Class != ClassIgnored
	switch m.state {
	case Closed:
		m.fall(in.Now)
		switch {
		case !failed:
			m.success = max(m.success, min(in.OccurredAt, in.Now))
		case countable:
			known, latest := m.count(in)
			if known {
				return "", true
			}
			if latest {
				m.levelAt = in.Now + int64(m.c.ResetTimeout)
			}
			m.tripIfDue(in, latest)
		}
	case Open:
		if countable {
			known, _ := m.count(in)
			return "", known
		}
	case HalfOpen:
		return m.probe(in, countable), false
	case Recovering:
		return "", m.ramp(in, countable)
	}
	return "", false
}

func (m *reference) settle(in Input) (released int64, live bool) {
	for i, r := range m.away {
		if r.name == name(in) && r.until > in.Now {
			m.away = append(m.away[:i:i], m.away[i+1:]...)
			return r.at, true
		}
	}
	return in.Now - m.lease(), false
}

func (m *reference) lease() int64 {
	if m.state == Recovering && m.c.Evidence == EvidenceSilence {
		return int64(m.c.HalfOpenTimeout)
	}
	return int64(max(m.c.HalfOpenTimeout, m.c.OutcomeTimeout))
}

func (m *reference) probe(in Input, countable bool) (result string) {
	if _, live := m.settle(in); !live {
		return ""
	}
	m.idle = in.Now
	switch {
	case in.Kind == InSuccess:
		m.ok++
		result = "success"
	case countable:
		m.failed++
		m.count(in)
		result = "failure"
	case m.tried < 3*m.c.Probes:
		return "reassigned"
	default:
		m.unknown++
		result = "unknown"
	}
	m.judge(in)
	return result
}

func (m *reference) judge(in Input) {
	if m.ok >= m.c.Successes {
		m.enter(Recovering, in)
	} else if m.c.Probes-m.failed < m.c.Successes {
		m.open(in, m.level+1)
	} else if m.ok+m.failed+m.unknown >= m.c.Probes {
		m.open(in, m.level)
	}
}

func (m *reference) ramp(in Input, countable bool) (duplicate bool) {
	if in.Generation == 0 {
		return false
	}
	released, live := m.settle(in)
	if in.Kind == InSuccess {
		if live {
			m.success = max(m.success, min(in.OccurredAt, in.Now))
			m.goodRelease()
		}
		return false
	}
	if !countable {
		return false
	}
	known, latest := m.count(in)
	if known {
		return true
	}
	if latest || live {
		if m.good = 0; released > m.cut {
			m.crest, m.limit, m.slow, m.cut, m.wave = m.limit, max(1, m.limit/2), true, in.Now, nil
		}
		m.wave = append(m.wave, in.ID)
		if pause := in.Class == ClassThrottled && in.Hint >= m.c.TripOnHint; pause || float64(len(m.wave)) > float64(m.crest)/2 {
			m.tripIfDue(in, true)
		}
	}
	return false
}

func (m *reference) goodRelease() {
	if m.good++; m.good >= m.limit {
		m.good = 0
		if m.limit *= 2; m.slow {
			m.limit = m.limit/2 + 1
		}
		m.limit = min(m.limit, m.c.RampMax)
	}
}

func (m *reference) fall(now int64) {
	for m.level > 0 && now >= m.levelAt {
		m.level, m.levelAt = m.level-1, m.levelAt+int64(m.c.ResetTimeout)
	}
}

func (m *reference) tick(in Input) (probe string) {
	silent := m.c.Evidence == EvidenceSilence
	expired := len(m.away) > 0 && m.away[0].until <= in.Now
	switch m.state {
	case Closed:
		if m.fall(in.Now); in.Lane > 0 {
			m.enter(Recovering, in)
		}
	case Open:
		if in.Now >= m.until {
			m.enter(HalfOpen, in)
		}
	case HalfOpen:
		if expired {
			m.away, m.idle, probe = m.away[1:], in.Now, "unknown"
			if silent {
				m.ok, probe = m.ok+1, "success"
			} else if m.tried >= 3*m.c.Probes {
				m.unknown++
			}
			m.judge(in)
		} else if len(m.away) == 0 && in.Lane == 0 && in.Now >= m.idle+int64(m.c.HalfOpenTimeout) {
			m.enter(Recovering, in)
		}
	case Recovering:
		for len(m.away) > 0 && m.away[0].until <= in.Now {
			if m.away = m.away[1:]; silent {
				m.goodRelease()
			}
		}
		if in.Lane == 0 {
			m.enter(Closed, in)
		}
	case ForcedOpen, Disabled:
		if m.until != 0 && in.Now >= m.until {
			next := Recovering
			if in.Lane == 0 {
				next = Closed
			}
			m.enter(next, in)
		}
	}
	return probe
}

func (m *reference) want(lane int) int {
	free := 0
	switch m.state {
	case HalfOpen:
		free = m.c.Probes - m.ok - m.failed - m.unknown - len(m.away)
	case Recovering:
		free = m.limit - len(m.away)
	case Disabled:
		free = m.c.RampMax
	}
	return max(0, min(free, lane))
}

func (m *reference) release(in Input) {
	switch {
	case slices.ContainsFunc(m.away, func(r refRelease) bool { return r.name == name(in) }):
		return
	case m.state == HalfOpen && m.want(1) == 1:
		m.tried++
	case m.state != Recovering:
		return
	}
	m.away = append(m.away, refRelease{name(in), in.Now, in.Now + m.lease()})
}

func (m *reference) operator(in Input) {
	switch in.Op.To {
	case ForcedOpen, Disabled:
		m.enter(in.Op.To, in)
		m.until = in.Op.Until
	case HalfOpen:
		m.enter(HalfOpen, in)
	case Closed:
		m.level = 0
		m.enter(Closed, in)
	}
}
