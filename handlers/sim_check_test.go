package handlers

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// simCheck watches everything that is stored and holds it against what was promised.
type simCheck struct {
	w        *simWorld
	failures []string
	lives    map[string]*simLife // by name of the work
	byID     map[string]*simLife
	states   map[simStateOf]simSeen
	put      map[string]int64 // highest generation stored, by key of the state store
	counts   map[string]int   // what happened how often
	probes   []time.Time
	ramps    map[simRampOf]*simRamp
	ramped   map[simAway]*simRamp
	letters  int
}

type simStateOf struct {
	owner int
	key   breakerKey
}

type simSeen struct {
	state      strategies.State
	generation int64
}

// simLife is what became of one piece of work. Reports and what follows from them are kept
// by the number of the delivery that failed.
type simLife struct {
	work     *simWork
	name     string
	reports  map[int][]simReported
	copies   map[int][]simCopy // by the number of the delivery that failed
	terminal map[int]map[string]bool
	follows  map[int]map[string]bool
	handled  map[int]int
	loose    bool // what follows was decided by more than the report alone
	repeated bool // a report or a delivery was repeated
	writes   int  // to the ledger
	waiting  map[uint64]bool
	probes   int
	attempt  int // highest that was delivered
	letter   string

	cancelled map[int]time.Time // when a checkpoint said so, by the number of the delivery that failed
	hastened  map[int]bool      // tried before it was due, by the same
}

type simReported struct {
	at       time.Time
	verdict  verdict
	unserved bool // no policy served it at that moment
}

type simCopy struct {
	at time.Time
	id string
}

func newSimCheck(w *simWorld) *simCheck {
	return &simCheck{
		w: w, lives: map[string]*simLife{}, byID: map[string]*simLife{}, states: map[simStateOf]simSeen{},
		put: map[string]int64{}, counts: map[string]int{}, ramps: map[simRampOf]*simRamp{}, ramped: map[simAway]*simRamp{},
	}
}

func (c *simCheck) failf(name, format string, args ...any) {
	if len(c.failures) < 10 {
		text := fmt.Sprintf("%.6f s: ", c.w.now.Sub(c.w.start).Seconds()) + fmt.Sprintf(format, args...)
		if name != "" {
			text = name + " at " + text
		}
		c.failures = append(c.failures, text)
		c.w.tracef("FAILED %s", text)
	}
}

func (c *simCheck) life(header schemas.Header) *simLife {
	name := header.Get(headerWork)
	l := c.lives[name]
	if l == nil {
		l = &simLife{
			name: name, work: c.w.workers.works[name], reports: map[int][]simReported{}, copies: map[int][]simCopy{},
			terminal: map[int]map[string]bool{}, follows: map[int]map[string]bool{}, handled: map[int]int{}, waiting: map[uint64]bool{},
			cancelled: map[int]time.Time{}, hastened: map[int]bool{},
		}
		c.lives[name] = l
	}
	return l
}

func add(m map[int]map[string]bool, n int, kind string) int {
	if m[n] == nil {
		m[n] = map[string]bool{}
	}
	m[n][kind] = true
	return len(m[n])
}

func headerNumber(h schemas.Header, name string) int {
	n, _ := strconv.Atoi(h.Get(name))
	return n
}

// reported takes note of an accepted report and of what must follow from it.
func (c *simCheck) reported(m *schemas.Stored) {
	f := c.w.engine.reader.Failure(m)
	l := c.life(m.Header)
	c.byID[f.ID] = l
	p := c.w.engine.policies.Load().For(f.Subject)
	if f.Sealed && !delivers(p, &f.Work, f.Intake) {
		if !c.w.cfg.unserved {
			c.failf(l.name, "delivery %d came back from %s, where the policy sends nothing", f.Delivery, f.Intake)
		}
		// Whether its state is believed depends on when it is read.
		l.reports[f.Delivery] = append(l.reports[f.Delivery], simReported{at: m.Time, unserved: true})
		f.Unseal()
		p = c.w.engine.policies.Load().For(f.Subject)
	}
	if p == nil {
		l.loose = true
		l.reports[f.Delivery] = append(l.reports[f.Delivery], simReported{at: m.Time, unserved: true})
		return
	}
	c.settled(l.name, f.Delivery)
	v := decide(p, &f, classify(p, &f))
	c.w.tracef("%s: report %d of delivery %d on %s (%s, fallback %d, probe %v): %s due %v attempt %d", l.name, m.Sequence, f.Delivery, f.Intake, f.Class, f.Fallback, f.Probe,
		v.step, v.due.Sub(c.w.start).Seconds(), v.attempt)
	for _, r := range l.reports[f.Delivery] {
		l.repeated = true
		l.loose = l.loose || r.verdict.step != v.step // the later report decided by its own time
	}
	l.reports[f.Delivery] = append(l.reports[f.Delivery], simReported{at: m.Time, verdict: v})
}

// delivered checks a delivery that was stored.
func (c *simCheck) delivered(m *schemas.Stored) {
	l, h := c.life(m.Header), m.Header
	n, attempt := headerNumber(h, schemas.HeaderDelivery), headerNumber(h, schemas.HeaderAttempt)
	kind, failed := l.origin(h)
	c.released(m)
	c.w.tracef("%s: delivery %d attempt %d stored on %s (%s, generation %s, held %s)", l.name, n, attempt, m.Subject, kind,
		h.Get(schemas.HeaderGeneration), h.Get(schemas.HeaderHeld))
	reports := l.reports[failed]
	if len(reports) == 0 {
		c.failf(l.name, "delivery %d without a report of delivery %d", n, n-1)
		return
	}
	c.follow(l, failed, kind)
	if l.cancelledSince(failed, m.Time) {
		c.failf(l.name, "delivery %d was cancelled", n)
	}
	if h.Get(schemas.HeaderProbe) != "" {
		l.probes++
		c.probes = append(c.probes, m.Time)
	}
	l.attempt = max(l.attempt, attempt)
	if attempt > headerNumber(h, schemas.HeaderMaxAttempts) {
		c.failf(l.name, "attempt %d of %s", attempt, h.Get(schemas.HeaderMaxAttempts))
	}
	if kind == "fallback" {
		return
	}
	copies := l.copies[failed]
	l.copies[failed] = append(copies, simCopy{m.Time, h.Get(schemas.HeaderMsgID)})
	decided := slices.ContainsFunc(reports, func(r simReported) bool {
		return r.unserved || r.verdict.step == schemas.StepRetry && r.verdict.attempt == attempt
	})
	if !decided {
		c.failf(l.name, "delivery %d is attempt %d, the report decided for %s, attempt %d", n, attempt, reports[0].verdict.step, reports[0].verdict.attempt)
	}
	due := reports[0].verdict.due
	for _, r := range reports {
		if r.verdict.due.Before(due) {
			due = r.verdict.due
		}
	}
	if m.Time.Before(due) && !l.hastened[failed] {
		c.failf(l.name, "delivery %d came %s early", n, due.Sub(m.Time))
	}
	if late := m.Time.Sub(due); c.w.cfg.punctual && h.Get(schemas.HeaderHeld) == "" && late > 4*c.w.cfg.latency+10*time.Millisecond {
		c.failf(l.name, "delivery %d came %s late and was not held", n, late)
	}
	c.duplicate(l, n, copies, m)
}

// origin is how a delivery came about, and the number of the delivery that had failed.
func (l *simLife) origin(h schemas.Header) (kind string, failed int) {
	kind, failed = "retry", headerNumber(h, schemas.HeaderDelivery)-1
	if h.Get(schemas.HeaderFallback) != "" {
		kind = "fallback"
	}
	for kind == "fallback" && failed > 0 && len(l.reports[failed]) == 0 {
		failed-- // an undeliverable fallback is passed over with a number of its own
	}
	return kind, failed
}

// recognised takes note of a repeat that its stream held already.
func (c *simCheck) recognised(h schemas.Header) {
	l := c.life(h)
	kind, failed := l.origin(h)
	add(l.follows, failed, kind)
	c.counts["repeats recognised"]++
}

// duplicate checks a delivery that a stream already held: only a repeat that the stream
// could not recognise any more may be stored.
func (c *simCheck) duplicate(l *simLife, n int, copies []simCopy, m *schemas.Stored) {
	for _, other := range copies {
		l.loose = true
		c.counts["repeated deliveries"]++
		switch {
		case other.id != m.Header.Get(schemas.HeaderMsgID):
			c.failf(l.name, "delivery %d has two message ids", n)
		case c.w.cfg.single() && !l.repeated:
			c.failf(l.name, "delivery %d was stored twice though nothing was repeated", n)
		}
	}
}

// follow notes what followed from the failure of a delivery; there is one way only.
func (c *simCheck) follow(l *simLife, failed int, kind string) {
	if add(l.follows, failed, kind) == 1 {
		return
	}
	if !l.loose && !c.w.cfg.loose {
		c.failf(l.name, "failed delivery %d was followed by %v", failed, l.follows[failed])
	}
	l.loose = true
}

func (c *simCheck) letter(m *schemas.Stored) {
	l, h := c.life(m.Header), m.Header
	failed, reason := headerNumber(h, schemas.HeaderDelivery), h.Get(schemas.HeaderReason)
	c.w.tracef("%s: letter after delivery %d, %s: %s", l.name, failed, reason, h.Get(schemas.HeaderError))
	c.counts["letter "+reason]++
	if h.Get(headerWork) == "" && reason == schemas.ReasonMalformed {
		return // of what was no entry
	}
	l.letter = reason
	c.letters++
	switch reason {
	case schemas.ReasonUndeliverable, schemas.ReasonFallbacksFailed:
		l.loose = true
	case schemas.ReasonExpired:
		l.loose = l.loose || c.w.cfg.holdsExpire
	}
	if len(l.reports[failed]) == 0 {
		c.failf(l.name, "letter after delivery %d, of which no failure was reported", failed)
	}
	switch reason {
	case schemas.ReasonExhausted, schemas.ReasonPermanent:
		decided := slices.ContainsFunc(l.reports[failed], func(r simReported) bool {
			return r.unserved || r.verdict.step != schemas.StepRetry && r.verdict.reason == reason
		})
		if !decided {
			c.failf(l.name, "letter %s after delivery %d, the report decided otherwise", reason, failed)
		}
	case schemas.ReasonUndeliverable:
		if !c.w.faults.unownedAny() {
			c.failf(l.name, "letter %s though no subject was without a stream for long", reason)
		}
	case schemas.ReasonRefused, schemas.ReasonMalformed:
		if reason == schemas.ReasonRefused && c.w.cfg.unserved {
			l.loose = true
			break
		}
		c.failf(l.name, "letter %s: %s", reason, h.Get(schemas.HeaderError))
	}
	c.follow(l, failed, "dead")
	if l.cancelledSince(failed, m.Time) {
		c.failf(l.name, "letter after delivery %d, which was cancelled", failed)
	}
}

func (c *simCheck) outcome(m *schemas.Stored) {
	o, _, err := schemas.ParseOutcome(m.Body)
	l := c.byID[o.ID]
	if strings.HasPrefix(o.ID, "ledger-") && o.Reason == schemas.ReasonMalformed {
		return // what was no entry is kept as a letter
	}
	if err != nil || l == nil {
		c.failf("", "outcome on %s: %v", m.Subject, err)
		return
	}
	c.w.tracef("%s: outcome %s of delivery %d", l.name, o.Kind, o.Delivery)
	if o.Kind == schemas.KindDiscarded {
		c.follow(l, o.Delivery, "discard")
	}
	if o.Kind == schemas.KindFallback {
		l.loose = l.loose || c.w.cfg.loose
	}
	if !schemas.Terminal(o.Kind) {
		return
	}
	if len(l.reports[o.Delivery]) > 0 && o.Kind == schemas.KindRecovered && !l.loose {
		c.failf(l.name, "delivery %d failed and recovered", o.Delivery)
	}
	if add(l.terminal, o.Delivery, o.Kind) > 1 && !l.loose && !c.w.cfg.loose {
		c.failf(l.name, "terminal outcomes %v of delivery %d", l.terminal[o.Delivery], o.Delivery)
	}
}

func (c *simCheck) success(m *schemas.Stored) {
	c.settled(m.Header.Get(headerWork), headerNumber(m.Header, schemas.HeaderDelivery))
}

func (c *simCheck) handled(h schemas.Header) {
	l := c.life(h)
	n := headerNumber(h, schemas.HeaderDelivery)
	l.handled[n]++
	c.w.tracef("%s: delivery %d handled", l.name, n)
}

func (c *simCheck) repeated(h schemas.Header) { c.life(h).repeated = true }

func (c *simCheck) entered(m *schemas.Stored) {
	l := c.life(m.Header)
	l.writes++
	l.waiting[m.Sequence] = true
	c.w.tracef("%s: entry %d on %s", l.name, m.Sequence, m.Subject)
}

func (c *simCheck) left(m *schemas.Stored) {
	l := c.life(m.Header)
	delete(l.waiting, m.Sequence)
	c.w.tracef("%s: entry %d gone from %s", l.name, m.Sequence, m.Subject)
}
