package handlers

import (
	"errors"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

func twoPolicies(t *testing.T) *Policies {
	t.Helper()
	p, err := CompilePolicies(schemas.PolicyDocument{Version: 1, Policies: []schemas.PolicySpec{
		{Name: "payments", Subjects: []string{"payments.>"}, Fallback: []string{"payments.slow", "payments.manual"}},
		{Name: "default", Subjects: []string{">"}},
	}}, schemas.Subjects{Prefix: "recovery"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// measured is a registry with everything that can be measured.
func measured(t *testing.T, stats func() []Stats) (*prometheus.Registry, *Metrics, *Gauges) {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	m, err := NewMetrics(r)
	if err != nil {
		t.Fatal(err)
	}
	m.Prepare(twoPolicies(t))
	g, err := NewGauges(GaugesConfig{Registerer: r, Stats: stats, Connected: func() bool { return true }, Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	return r, m, g
}

func none() []Stats { return nil }

func outcomeEvent(policy string, o schemas.Outcome) Event {
	return Event{Kind: EventOutcome, Policy: policy, Outcome: &o, Subject: o.Subject, ID: o.ID}
}

func TestMetricsAreWellNamed(t *testing.T) {
	t.Parallel()
	r, _, _ := measured(t, func() []Stats {
		return []Stats{{Breakers: map[string]map[strategies.State]int{"default": {strategies.Open: 1}}}}
	})
	problems, err := testutil.GatherAndLint(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestSeriesExistAtZero(t *testing.T) {
	t.Parallel()
	r, _, _ := measured(t, none)
	text := gathered(t, r)
	for _, series := range []string{
		`recoveryd_failures_total{class="throttled",policy="payments",source="intake"} 0`,
		`recoveryd_redeliveries_total{policy="default",result="stored"} 0`,
		`recoveryd_outcomes_total{kind="dead",policy="payments",reason="exhausted"} 0`,
		`recoveryd_outcomes_total{kind="redelivered",policy="payments",reason=""} 0`,
		`recoveryd_breaker_transitions_total{from="closed",policy="default",to="open"} 0`,
		`recoveryd_probes_total{policy="default",result="success"} 0`,
		`recoveryd_fallbacks_total{policy="payments",result="stored",target="1"} 0`,
		`recoveryd_recovery_duration_seconds_count{outcome="recovered",policy="payments"} 0`,
		`recoveryd_release_lateness_seconds_count 0`,
		`recoveryd_retry_delay_seconds_count 0`,
		`recoveryd_late_outcomes_total 0`,
		`recoveryd_waiting{state="near"} 0`,
		`recoveryd_waiting{state="held"} 0`,
		`recoveryd_oldest_due_timestamp_seconds 0`,
		`recoveryd_shards_owned 0`,
		`recoveryd_policy_last_reload_successful 0`,
		`recoveryd_nats_connected 1`,
	} {
		if !strings.Contains(text, series+"\n") {
			t.Errorf("no series %s", series)
		}
	}
	if !strings.Contains(text, `recoveryd_build_info{goversion="go`) {
		t.Error("no build info")
	}
}

// gathered is the text that a scrape gets.
func gathered(t *testing.T, r *prometheus.Registry) string {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("scrape: %d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestEventsAreCounted(t *testing.T) {
	t.Parallel()
	r, m, _ := measured(t, none)
	fallback := 1
	for _, e := range []Event{
		{Kind: EventFailure, Policy: "payments", Source: "intake", Outcome: &schemas.Outcome{Class: "throttled"}},
		{Kind: EventFailure, Source: "intake", Outcome: &schemas.Outcome{Class: "transient"}},
		{Kind: EventDuplicate, Policy: "payments"},
		{Kind: EventOutcome, Policy: "payments", Outcome: &schemas.Outcome{Kind: schemas.KindScheduled}, Delay: 3 * time.Second},
		{Kind: EventOutcome, Policy: "payments", Outcome: &schemas.Outcome{Kind: schemas.KindRedelivered}, Lateness: 2 * time.Millisecond},
		{Kind: EventOutcome, Policy: "payments", Outcome: &schemas.Outcome{Kind: schemas.KindDead, Reason: "exhausted"}, Elapsed: time.Minute},
		{Kind: EventOutcome, Policy: "payments", Outcome: &schemas.Outcome{Kind: schemas.KindFallback, Fallback: &fallback, Skipped: []int{0}}},
		{Kind: EventBreaker, Policy: "default", Breaker: &schemas.BreakerEvent{From: "closed", To: "open"}},
		{Kind: EventProbe, Policy: "default", Result: "failure"},
		{Kind: EventLate, Policy: "default"},
		{Kind: EventFault, Policy: "payments", Op: "redeliver", Err: errors.New("no responders")},
		{Kind: EventAlarm, Op: "purge ledger", Err: errors.New("one too many")},
	} {
		m.Observe(e)
	}
	text := gathered(t, r)
	for _, series := range []string{
		`recoveryd_failures_total{class="throttled",policy="payments",source="intake"} 1`,
		`recoveryd_failures_total{class="transient",policy="-",source="intake"} 1`,
		`recoveryd_duplicate_reports_total 1`,
		`recoveryd_retry_delay_seconds_bucket{le="5"} 1`,
		`recoveryd_retry_delay_seconds_bucket{le="2"} 0`,
		`recoveryd_release_lateness_seconds_bucket{le="0.002"} 1`,
		`recoveryd_redeliveries_total{policy="payments",result="stored"} 1`,
		`recoveryd_redeliveries_total{policy="payments",result="failed"} 1`,
		`recoveryd_outcomes_total{kind="dead",policy="payments",reason="exhausted"} 1`,
		`recoveryd_recovery_duration_seconds_sum{outcome="dead",policy="payments"} 60`,
		`recoveryd_fallbacks_total{policy="payments",result="stored",target="1"} 1`,
		`recoveryd_fallbacks_total{policy="payments",result="skipped",target="0"} 1`,
		`recoveryd_breaker_transitions_total{from="closed",policy="default",to="open"} 1`,
		`recoveryd_probes_total{policy="default",result="failure"} 1`,
		`recoveryd_late_outcomes_total 1`,
		`recoveryd_faults_total{operation="redeliver"} 1`,
		`recoveryd_alarms_total{operation="purge ledger"} 1`,
	} {
		if !strings.Contains(text, series+"\n") {
			t.Errorf("no series %s", series)
		}
	}
}

func TestNoLabelHoldsASubjectOrAnID(t *testing.T) {
	t.Parallel()
	r, m, _ := measured(t, none)
	const id, subject = "SECRET-ID", "secret.subject"
	for kind := EventFailure; kind <= EventAlarm; kind++ {
		m.Observe(Event{
			Kind: kind, Subject: subject, ID: id, Policy: "default", Op: "redeliver", Err: errors.New(id + subject), Result: "success",
			Outcome: &schemas.Outcome{Kind: schemas.KindDead, ID: id, Subject: subject, Key: subject, Error: subject, Target: subject, Class: "transient", Reason: "exhausted"},
			Breaker: &schemas.BreakerEvent{Key: subject, From: "closed", To: "open", ID: id},
		})
	}
	if text := gathered(t, r); regexp.MustCompile(`(?i)secret`).MatchString(text) {
		t.Error("a subject or id became a label")
	}
}

func TestGaugesShowTheSumOfShards(t *testing.T) {
	t.Parallel()
	due := time.Unix(1_700_000_000, 500_000_000)
	r, _, g := measured(t, func() []Stats {
		return []Stats{
			{Shard: 0, Owned: true, Near: 2, NearBytes: 100, Far: 10, Held: 5, InFlight: 1, OldestDue: due.Add(time.Hour),
				Breakers: map[string]map[strategies.State]int{"default": {strategies.Open: 1}}, Overflowed: []string{"default"}},
			{Shard: 1, Owned: true, Near: 3, Far: 20, DeadWait: 4, OldestDue: due,
				Breakers: map[string]map[strategies.State]int{"default": {strategies.Open: 2, strategies.HalfOpen: 1}}},
			{Shard: 2},
		}
	})
	g.Reloaded(time.Unix(5, 0), nil)
	g.Reloaded(time.Unix(6, 0), errors.New("broken"))
	g.DeadStore(7, 512, 1024, time.Unix(9, 0))
	text := gathered(t, r)
	for _, series := range []string{
		`recoveryd_waiting{state="near"} 5`, `recoveryd_waiting{state="far"} 30`, `recoveryd_waiting{state="held"} 5`, `recoveryd_waiting{state="dead"} 4`,
		`recoveryd_oldest_due_timestamp_seconds 1.7000000005e+09`, `recoveryd_shards_owned 2`, `recoveryd_publishes_in_flight 1`, `recoveryd_waiting_bytes 100`,
		`recoveryd_breakers{policy="default",state="open"} 3`, `recoveryd_breakers{policy="default",state="half_open"} 1`,
		`recoveryd_breakers{policy="default",state="closed"} 0`, `recoveryd_breaker_overflow{policy="default"} 1`,
		`recoveryd_policy_last_reload_successful 0`, `recoveryd_policy_last_reload_success_timestamp_seconds 5`,
		`recoveryd_dead_letter_store_ratio 0.5`, `recoveryd_dead_letter_store_messages 7`, `recoveryd_dead_letter_oldest_timestamp_seconds 9`,
	} {
		if !strings.Contains(text, series+"\n") {
			t.Errorf("no series %s", series)
		}
	}
}

func TestMetricsRefuseToBeRegisteredTwice(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	if _, err := NewMetrics(r); err != nil {
		t.Fatal(err)
	}
	if _, err := NewMetrics(r); err == nil {
		t.Error("metrics were registered twice")
	}
	if _, err := NewGauges(GaugesConfig{Registerer: r}); err == nil || !strings.Contains(err.Error(), "Stats is missing") {
		t.Errorf("error is %v", err)
	}
}
