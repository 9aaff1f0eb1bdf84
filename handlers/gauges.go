package handlers

import (
	"errors"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/strategies"
)

// GaugesConfig says where the gauges get their values.
type GaugesConfig struct {
	Registerer prometheus.Registerer
	Stats      func() []Stats       // asked at each scrape
	Connected  func() bool          // asked at each scrape
	Clock      func() time.Duration // asked at each scrape: server minus local; nil = not told
	Replicas   func() int           // asked at each scrape; nil = not told
	Version    string
	Jobs       func() map[string]int // jobs over dead letters by state, asked at each scrape; nil = none
}

// Validate names every field that is missing.
func (c GaugesConfig) Validate() error {
	var faults []error
	for name, missing := range map[string]bool{"Registerer": c.Registerer == nil, "Stats": c.Stats == nil, "Connected": c.Connected == nil} {
		if missing {
			faults = append(faults, errors.New(name+" is missing"))
		}
	}
	return errors.Join(faults...)
}

// Gauges shows what is, where Metrics counts what happened.
type Gauges struct {
	cfg GaugesConfig

	reloadOK, reloadedAt   prometheus.Gauge
	deadRatio, deadOldest  prometheus.Gauge
	deadExpiry             prometheus.Gauge
	deadLetters, deadBytes prometheus.Gauge
}

// Descriptions of what is computed at a scrape.
var (
	waitingDesc   = description("waiting", "Work that waits: near in memory, far in the ledger, held by a breaker, dead for a place in the store of dead letters.", "state")
	oldestDesc    = description("oldest_due_timestamp_seconds", "Due time of the work that is due first, 0 if none waits.")
	breakersDesc  = description("breakers", "Breakers that are known, by state.", "policy", "state")
	overflowDesc  = description("breaker_overflow", "1 if the policy has more keys than max_keys, so that new ones share a breaker.", "policy")
	memoryDesc    = description("waiting_bytes", "Memory of the work that waits in the daemon.")
	inFlightDesc  = description("publishes_in_flight", "Publishes without an answer.")
	jobsDesc      = description("replay_jobs", "Jobs over dead letters, by state; on the replica that runs them.", "state")
	shardsDesc    = description("shards_owned", "Shards that this daemon owns.")
	connectedDesc = description("nats_connected", "1 while there is a connection to a server.")
	clockDesc     = description("clock_difference_seconds", "Clock of the server minus that of this machine; it is corrected for.")
	replicasDesc  = description("replicas", "Live daemons, this one included.")
	buildDesc     = description("build_info", "Version of recoveryd and of Go.", "version", "goversion")
)

func description(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("recoveryd_"+name, help, labels, nil)
}

// NewGauges registers the gauges.
func NewGauges(c GaugesConfig) (*Gauges, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	g := &Gauges{
		cfg:         c,
		reloadOK:    gauge("policy_last_reload_successful", "1 if the policy file could be used when it was last read."),
		reloadedAt:  gauge("policy_last_reload_success_timestamp_seconds", "When the policies in use were read."),
		deadRatio:   gauge("dead_letter_store_ratio", "Share of the store of dead letters that is used, 0 if it has no limit."),
		deadOldest:  gauge("dead_letter_oldest_timestamp_seconds", "When the oldest dead letter was stored, 0 if there is none."),
		deadExpiry:  gauge("dead_letter_expiry_timestamp_seconds", "When the oldest dead letter is dropped for its age, 0 if none is."),
		deadLetters: gauge("dead_letter_store_messages", "Dead letters in the store."),
		deadBytes:   gauge("dead_letter_store_bytes", "Size of the store of dead letters."),
	}
	var faults []error
	for _, each := range []prometheus.Collector{g, g.reloadOK, g.reloadedAt, g.deadRatio, g.deadOldest, g.deadExpiry, g.deadLetters, g.deadBytes} {
		faults = append(faults, c.Registerer.Register(each))
	}
	return g, errors.Join(faults...)
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "recoveryd", Name: name, Help: help})
}

// Reloaded notes that the policy file was read at a time, and whether it could be used.
func (g *Gauges) Reloaded(at time.Time, err error) {
	if err != nil {
		g.reloadOK.Set(0)
		return
	}
	g.reloadOK.Set(1)
	g.reloadedAt.Set(unixSeconds(at))
}

// DeadStore notes how full the store of dead letters is. limit is in bytes, 0 or less = none.
func (g *Gauges) DeadStore(messages, bytes uint64, limit int64, oldest time.Time) {
	g.deadLetters.Set(float64(messages))
	g.deadBytes.Set(float64(bytes))
	g.deadRatio.Set(FillRatio(bytes, limit))
	if messages == 0 {
		oldest = time.Time{}
	}
	g.deadOldest.Set(unixSeconds(oldest))
}

// DeadExpiry notes when the oldest dead letter is dropped for its age, zero if none is.
func (g *Gauges) DeadExpiry(at time.Time) { g.deadExpiry.Set(unixSeconds(at)) }

// FillRatio is the used share of a limit in bytes, 0 if there is no limit.
func FillRatio(bytes uint64, limit int64) float64 {
	if limit <= 0 {
		return 0
	}
	return float64(bytes) / float64(limit)
}

// Describe implements prometheus.Collector.
func (g *Gauges) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		waitingDesc, oldestDesc, breakersDesc, overflowDesc, memoryDesc, inFlightDesc, shardsDesc, jobsDesc, connectedDesc,
		clockDesc, replicasDesc, buildDesc,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (g *Gauges) Collect(out chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	t := Total(g.cfg.Stats())
	send(waitingDesc, float64(t.Near), "near")
	send(waitingDesc, float64(t.Far), "far")
	send(waitingDesc, float64(t.Held), "held")
	send(waitingDesc, float64(t.DeadWait), "dead")
	send(oldestDesc, unixSeconds(t.OldestDue))
	send(memoryDesc, float64(t.NearBytes))
	send(inFlightDesc, float64(t.InFlight))
	jobs := g.jobs()
	for _, state := range deadletter.JobStates {
		send(jobsDesc, float64(jobs[state]), state)
	}
	send(shardsDesc, float64(t.Owned))
	send(connectedDesc, number(g.cfg.Connected()))
	if g.cfg.Clock != nil {
		send(clockDesc, g.cfg.Clock().Seconds())
	}
	if g.cfg.Replicas != nil {
		send(replicasDesc, float64(g.cfg.Replicas()))
	}
	send(buildDesc, 1, g.cfg.Version, runtime.Version())
	overflowed := map[string]bool{}
	for _, policy := range t.Overflowed {
		overflowed[policy] = true
	}
	for policy, states := range t.Breakers {
		for state := strategies.Closed; state <= strategies.Disabled; state++ {
			send(breakersDesc, float64(states[state]), policy, state.String())
		}
		send(overflowDesc, number(overflowed[policy]), policy)
	}
}

func (g *Gauges) jobs() map[string]int {
	if g.cfg.Jobs == nil {
		return nil
	}
	return g.cfg.Jobs()
}

// Totals is the sum of the pictures of all shards.
type Totals struct {
	Owned      int                                 `json:"shards_owned"`
	Near       int                                 `json:"near"`
	Loaded     int                                 `json:"loaded"`
	InFlight   int                                 `json:"in_flight"`
	NearBytes  int64                               `json:"near_bytes"`
	Far        int64                               `json:"far"`
	Held       int64                               `json:"held"`
	DeadWait   int64                               `json:"dead_waiting"`
	OldestDue  time.Time                           `json:"oldest_due,omitzero"`
	Breakers   map[string]map[strategies.State]int `json:"breakers"` // by policy
	Overflowed []string                            `json:"overflowed,omitempty"`
}

// Total adds up the pictures of shards.
func Total(all []Stats) Totals {
	t := Totals{Breakers: map[string]map[strategies.State]int{}}
	for _, s := range all {
		if s.Owned {
			t.Owned++
		}
		t.Near += s.Near
		t.Loaded += s.Loaded
		t.InFlight += s.InFlight
		t.NearBytes += s.NearBytes
		t.Far += s.Far
		t.Held += s.Held
		t.DeadWait += s.DeadWait
		if !s.OldestDue.IsZero() && (t.OldestDue.IsZero() || s.OldestDue.Before(t.OldestDue)) {
			t.OldestDue = s.OldestDue
		}
		t.Overflowed = append(t.Overflowed, s.Overflowed...)
		for policy, states := range s.Breakers {
			if t.Breakers[policy] == nil {
				t.Breakers[policy] = map[strategies.State]int{}
			}
			for state, n := range states {
				t.Breakers[policy][state] += n
			}
		}
	}
	return t
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// unixSeconds is a time as metrics have it, 0 for the zero time.
func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}
