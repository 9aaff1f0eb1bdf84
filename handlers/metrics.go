package handlers

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// Metrics counts events. No label ever holds a subject or an id.
type Metrics struct {
	failures    *prometheus.CounterVec   // policy, class, source
	duplicates  prometheus.Counter       //
	redelivered *prometheus.CounterVec   // policy, result
	delay       prometheus.Histogram     // seconds
	lateness    prometheus.Histogram     // seconds
	duration    *prometheus.HistogramVec // policy, outcome
	outcomes    *prometheus.CounterVec   // policy, kind, reason
	transitions *prometheus.CounterVec   // policy, from, to
	probes      *prometheus.CounterVec   // policy, result
	late        prometheus.Counter       //
	fallbacks   *prometheus.CounterVec   // policy, target, result
	faults      *prometheus.CounterVec   // op
	alarms      *prometheus.CounterVec   // op
	replays     *prometheus.CounterVec   // result
	advisories  *prometheus.CounterVec   // kind, result
	swept       prometheus.Counter       //
}

// Results of redeliveries and fallbacks.
const (
	resultStored  = "stored"
	resultFailed  = "failed"  // and tried again
	resultSkipped = "skipped" // a fallback whose breaker is not closed
)

// What becomes of replayed letters.
const (
	replayStored    = "stored"
	replayRepeated  = "repeated" // stored by an earlier try
	replaySkipped   = "skipped"
	replayRecovered = "recovered"
	replayPresumed  = "presumed_recovered"
	replayFailed    = "failed_again"
	replayOpen      = "open"
)

var replayResults = [...]string{replayStored, replayRepeated, replaySkipped, replayRecovered, replayPresumed, replayFailed, replayOpen}

// opRedeliver is the operation of faults that are failed redeliveries.
const opRedeliver = "redeliver"

var failureClasses = [...]string{schemas.ClassTransient, schemas.ClassThrottled, schemas.ClassTimeout, schemas.ClassPermanent, schemas.ClassIgnored}

// NewMetrics registers the metrics of events. The error says which one is taken already.
func NewMetrics(registerer prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		failures:    counters("failures_total", "Failed deliveries that were reported.", "policy", "class", "source"),
		duplicates:  counter("duplicate_reports_total", "Reports that were read again while they were being handled."),
		redelivered: counters("redeliveries_total", "Attempts to store a redelivery on its subject.", "policy", "result"),
		delay:       histogram("retry_delay_seconds", "Delay that was decided before a retry.", .1, .25, .5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400),
		lateness:    histogram("release_lateness_seconds", "From the due time of a release until it was stored.", .0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "recoveryd", Name: "recovery_duration_seconds", Help: "From the first failure of work until its terminal outcome.",
			Buckets: []float64{.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400, 604800},
		}, []string{"policy", "outcome"}),
		outcomes:    counters("outcomes_total", "Outcomes, published or not.", "policy", "kind", "reason"),
		transitions: counters("breaker_transitions_total", "Changes of breakers.", "policy", "from", "to"),
		probes:      counters("probes_total", "Settled probes of half open breakers.", "policy", "result"),
		late:        counter("late_outcomes_total", "Outcomes of an older generation of their breaker."),
		fallbacks:   counters("fallbacks_total", "Fallbacks tried or passed over, by their index.", "policy", "target", "result"),
		faults:      counters("faults_total", "Operations that failed and are tried again.", "operation"),
		replays:     counters("replay_messages_total", "Dead letters that jobs replayed, and what became of them.", "result"),
		advisories:  counters("advisories_total", "Advisories of messages that consumers gave up, and what became of them.", "kind", "result"),
		swept:       counter("advisory_sweep_found_total", "Messages that a consumer gave up and whose advisory did not come."),
		alarms:      counters("alarms_total", "Events that must not happen.", "operation"),
	}
	for _, result := range replayResults {
		m.replays.WithLabelValues(result)
	}
	for _, kind := range []string{advisoryMaxDeliveries, advisoryTerminated} {
		for _, result := range adviceResults {
			if result != adviceMalformed && (kind == advisoryTerminated || result != adviceDeleted) {
				m.advisories.WithLabelValues(kind, result)
			}
		}
	}
	m.advisories.WithLabelValues(advisoryUnknown, adviceMalformed)
	var faults []error
	for _, c := range m.collectors() {
		faults = append(faults, registerer.Register(c))
	}
	return m, errors.Join(faults...)
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.failures, m.duplicates, m.redelivered, m.delay, m.lateness, m.duration, m.outcomes,
		m.transitions, m.probes, m.late, m.fallbacks, m.faults, m.alarms, m.replays, m.advisories, m.swept,
	}
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "recoveryd", Name: name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "recoveryd", Name: name, Help: help}, labels)
}

func histogram(name, help string, buckets ...float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "recoveryd", Name: name, Help: help, Buckets: buckets})
}

// Prepare makes the series of these policies exist at zero, so that a rate sees the very
// first event. Call it again when the policies change.
func (m *Metrics) Prepare(policies *Policies) {
	for _, p := range policies.All() {
		for _, class := range failureClasses {
			m.failures.WithLabelValues(p.Name, class, "intake")
		}
		for _, result := range []string{resultStored, resultFailed} {
			m.redelivered.WithLabelValues(p.Name, result)
		}
		m.prepareOutcomes(p.Name)
		m.prepareBreaker(p)
		for i := range p.Fallback {
			for _, result := range []string{resultStored, resultSkipped} {
				m.fallbacks.WithLabelValues(p.Name, strconv.Itoa(i), result)
			}
		}
	}
}

func (m *Metrics) prepareOutcomes(policy string) {
	for _, kind := range schemas.Kinds {
		switch kind {
		case schemas.KindDead, schemas.KindRejected:
		default:
			m.outcomes.WithLabelValues(policy, kind, "")
		}
		if schemas.Terminal(kind) {
			m.duration.WithLabelValues(policy, kind)
		}
	}
	for _, reason := range schemas.Reasons {
		if reason != schemas.ReasonRefused {
			m.outcomes.WithLabelValues(policy, schemas.KindDead, reason)
		}
	}
	m.outcomes.WithLabelValues(policy, schemas.KindRejected, schemas.ReasonRefused)
}

func (m *Metrics) prepareBreaker(p *Policy) {
	if p.Breaker.Disabled {
		return
	}
	for _, step := range [][2]strategies.State{
		{strategies.Closed, strategies.Open}, {strategies.Open, strategies.HalfOpen}, {strategies.HalfOpen, strategies.Open},
		{strategies.HalfOpen, strategies.Recovering}, {strategies.Recovering, strategies.Open}, {strategies.Recovering, strategies.Closed},
	} {
		m.transitions.WithLabelValues(p.Name, step[0].String(), step[1].String())
	}
	for _, result := range []string{strategies.ProbeSuccess, strategies.ProbeFailure, strategies.ProbeUnknown, strategies.ProbeReassigned} {
		m.probes.WithLabelValues(p.Name, result)
	}
}

// Observe implements Observer.
func (m *Metrics) Observe(e Event) {
	policy := e.Policy
	if policy == "" {
		policy = orphan
	}
	switch e.Kind {
	case EventFailure:
		class := ""
		if e.Outcome != nil {
			class = e.Outcome.Class
		}
		m.failures.WithLabelValues(policy, class, e.Source).Inc()
	case EventDuplicate:
		m.duplicates.Inc()
	case EventOutcome:
		m.outcome(policy, e)
	case EventBreaker:
		m.transitions.WithLabelValues(policy, e.Breaker.From, e.Breaker.To).Inc()
	case EventProbe:
		m.probes.WithLabelValues(policy, e.Result).Inc()
	case EventReplay:
		m.replays.WithLabelValues(e.Result).Add(float64(e.Count))
	case EventAdvisory:
		m.advisory(e)
	case EventLate:
		m.late.Inc()
	case EventFault:
		m.faults.WithLabelValues(e.Op).Inc()
		if e.Op == opRedeliver {
			m.redelivered.WithLabelValues(policy, resultFailed).Inc()
		}
	case EventAlarm:
		m.alarms.WithLabelValues(e.Op).Inc()
	}
}

func (m *Metrics) advisory(e Event) {
	switch {
	case e.Source != sourceSweep:
		m.advisories.WithLabelValues(e.Source, e.Result).Inc()
	case e.Result == adviceReported:
		m.swept.Inc()
	}
}

func (m *Metrics) outcome(policy string, e Event) {
	o := e.Outcome
	m.outcomes.WithLabelValues(policy, o.Kind, o.Reason).Inc()
	switch o.Kind {
	case schemas.KindScheduled:
		m.delay.Observe(e.Delay.Seconds())
	case schemas.KindRedelivered:
		m.redelivered.WithLabelValues(policy, resultStored).Inc()
		m.lateness.Observe(max(e.Lateness, 0).Seconds())
	case schemas.KindFallback:
		if o.Fallback != nil {
			m.fallbacks.WithLabelValues(policy, strconv.Itoa(*o.Fallback), resultStored).Inc()
		}
	}
	for _, i := range o.Skipped {
		m.fallbacks.WithLabelValues(policy, strconv.Itoa(i), resultSkipped).Inc()
	}
	if schemas.Terminal(o.Kind) && e.Elapsed > 0 {
		m.duration.WithLabelValues(policy, o.Kind).Observe(e.Elapsed.Seconds())
	}
}
