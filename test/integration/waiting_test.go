package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// near makes all but the shortest waits go through the ledger.
func near(c *handlers.Config) { c.Near = 200 * time.Millisecond }

// late says how long after its time a delivery was stored; the reporter asked for a delay
// from its failure on. All times are the server's.
func late(t *testing.T, m jetstream.Msg) time.Duration {
	t.Helper()
	meta, err := m.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	failed, err := time.Parse(time.RFC3339Nano, m.Headers().Get("Recovery-First-Failed-At"))
	if err != nil {
		t.Fatal(err)
	}
	delay, err := time.ParseDuration(m.Headers().Get("Delay"))
	if err != nil {
		t.Fatal(err)
	}
	return meta.Timestamp.Sub(failed.Add(delay))
}

// failAfter reports a failure that asks to be retried after a delay.
func (r *rig) failAfter(delay time.Duration, subject, id string, body []byte) *nats.Msg {
	m := nats.NewMsg(subjects.Failed(subject))
	m.Data = body
	m.Header.Set("Recovery-Id", id)
	m.Header.Set("Recovery-Retry-After", delay.String())
	m.Header.Set("Delay", delay.String())
	return m
}

// failAll reports many failures as fast as the server takes them.
func (r *rig) failAll(n int, report func(i int) *nats.Msg) {
	r.t.Helper()
	js, err := jetstream.New(r.nc, jetstream.WithPublishAsyncMaxPending(512))
	if err != nil {
		r.t.Fatal(err)
	}
	acks := make([]jetstream.PubAckFuture, n)
	for i := range n {
		if acks[i], err = js.PublishMsgAsync(report(i), jetstream.WithStallWait(patience)); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			r.t.Fatal(err)
		}
	}
}

// exactlyOnce checks that each of n works arrived once, and returns how late the latest was.
func exactlyOnce(t *testing.T, n int, all []jetstream.Msg) (worst time.Duration) {
	t.Helper()
	times := map[string]int{}
	for _, m := range all {
		times[m.Headers().Get("Recovery-Id")]++
		l := late(t, m)
		worst = max(worst, l)
		if l < 0 {
			t.Errorf("%s came %s early", m.Headers().Get("Recovery-Id"), -l)
		}
	}
	for id, k := range times {
		if k != 1 {
			t.Errorf("%s arrived %d times", id, k)
		}
	}
	if len(times) != n {
		t.Errorf("%d works arrived, want %d", len(times), n)
	}
	return worst
}

// pulse publishes all the time, and says at the end how long the slowest publish took: what
// the machine was too busy for is not the engine's fault.
func (r *rig) pulse() (slowest func() time.Duration) {
	r.stream("PULSE", "pulse")
	nc := connect(r.t, r.server.URL())
	js, err := jetstream.New(nc)
	if err != nil {
		r.t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan time.Duration, 1)
	go func() {
		var worst time.Duration
		beat := time.NewTicker(10 * time.Millisecond)
		defer beat.Stop()
		for {
			began := time.Now()
			if _, err := js.Publish(r.t.Context(), "pulse", nil); err != nil {
				r.t.Errorf("pulse: %v", err)
			}
			worst = max(worst, time.Since(began))
			select {
			case <-beat.C:
			case <-stop:
				done <- worst
				return
			}
		}
	}()
	return func() time.Duration { close(stop); return <-done }
}

// Near and far waits end never early and soon after their time.
func TestWaitsArePunctual(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, quick("orders", "orders.>")), near)
	r.stream("ORDERS", "orders.>")
	deliveries := r.watch("ORDERS")
	pulse := r.pulse()
	const n = 120
	r.failAll(n, func(i int) *nats.Msg {
		delay := time.Duration(50+i*(3500/n)) * time.Millisecond
		return r.failAfter(delay, "orders."+strconv.Itoa(i%7), strconv.Itoa(i), text("body %d", i))
	})
	all := deliveries.atLeast(t, "deliveries", n)
	slowest := pulse()
	const trips = 8 // report, append, announcement, read, release and three hops between: each may meet the pause
	if worst := exactlyOnce(t, n, all); worst > 250*time.Millisecond+trips*slowest {
		t.Errorf("the latest was %s late, while the slowest of other publishes took %s", worst, slowest)
	}
	r.settled()
}

// A burst of thousands with all kinds of waits arrives once each, and leaves nothing behind.
func TestBurstLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, quick("orders", "orders.>")), near)
	r.stream("ORDERS", "orders.>")
	deliveries := r.watch("ORDERS")
	const n = 2000
	r.failAll(n, func(i int) *nats.Msg {
		delay := time.Duration(50+i*7919%3000) * time.Millisecond
		return r.failAfter(delay, "orders."+strconv.Itoa(i%100), strconv.Itoa(i), bytes.Repeat([]byte{byte(i)}, i%300))
	})
	all := deliveries.atLeast(t, "deliveries", n)
	r.settled()
	t.Logf("the latest of %d was %s late", n, exactlyOnce(t, n, deliveries.list()))
	for _, m := range all {
		i, err := strconv.Atoi(m.Headers().Get("Recovery-Id"))
		if err != nil || !bytes.Equal(m.Data(), bytes.Repeat([]byte{byte(i)}, i%300)) {
			t.Errorf("%s came with another body", m.Headers().Get("Recovery-Id"))
		}
	}
}

// With hardly any memory all is delivered, and the bound holds.
func TestLittleMemory(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	r := newRig(t, policies(t, quick("orders", "orders.>")), func(c *handlers.Config) { c.Memory = limit })
	r.stream("ORDERS", "orders.>")
	deliveries := r.watch("ORDERS")
	const n = 5000
	most := make(chan int64, 1)
	done := make(chan struct{})
	go func() {
		look := time.NewTicker(5 * time.Millisecond)
		defer look.Stop()
		worst := int64(0)
		for {
			select {
			case <-look.C:
				bytes := int64(0)
				for _, st := range r.engine.Stats() {
					bytes += st.NearBytes
				}
				worst = max(worst, bytes)
			case <-done:
				most <- worst
				return
			}
		}
	}()
	body := make([]byte, 1024)
	r.failAll(n, func(i int) *nats.Msg {
		delay := time.Duration(500+i*7919%4000) * time.Millisecond
		return r.failAfter(delay, "orders."+strconv.Itoa(i%100), strconv.Itoa(i), body)
	})
	deliveries.atLeast(t, "deliveries", n)
	close(done)
	r.settled()
	worst := <-most
	t.Logf("the latest of %d was %s late, at most %d bytes were in memory", n, exactlyOnce(t, n, deliveries.list()), worst)
	if worst > limit*3/2 {
		t.Errorf("%d bytes were in memory, the limit is %d", worst, limit)
	}
}

// An engine that stops and another one that goes on lose nothing, double nothing and are
// not early.
func TestWaitsSurviveARestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, quick("orders", "orders.>")), near)
	r.stream("ORDERS", "orders.>")
	deliveries := r.watch("ORDERS")
	const n = 1000
	r.failAll(n, func(i int) *nats.Msg {
		delay := time.Duration(50+i*7919%3000) * time.Millisecond
		return r.failAfter(delay, "orders."+strconv.Itoa(i%100), strconv.Itoa(i), text("body %d", i))
	})
	for _, enough := range []int{n / 10, n / 2} {
		deliveries.atLeast(t, "deliveries", enough)
		r.stop()
		r.start(r.engine.Policies(), near)
	}
	deliveries.atLeast(t, "deliveries", n)
	r.settled()
	exactlyOnce(t, n, deliveries.list())
}

// New policies decide about the next failure, not about work that was decided on.
func TestPoliciesChange(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, quick("orders", "orders.>")), near)
	r.stream("ORDERS", "orders.>")
	deliveries := r.watch("ORDERS")
	outcomes, _ := r.watchOutcomes()
	r.fail("orders.a", []byte("far"), "Recovery-Id", "far", "Recovery-Retry-After", "1.5s")
	r.fail("orders.a", []byte("before"), "Recovery-Id", "before")
	outcome(t, outcomes, "before", "redelivered")
	fallback := once("orders", "orders.>")
	fallback.Fallback = []string{"orders.fallback"}
	r.engine.SetPolicies(policies(t, fallback))
	r.fail("orders.a", []byte("after"), "Recovery-Id", "after")
	if o := outcome(t, outcomes, "after", "fallback"); o.Target != "orders.fallback" || o.MaxAttempts != 1 {
		t.Errorf("%+v", o)
	}
	r.engine.SetPolicies(policies(t, quick("others", "others.>")))
	r.fail("orders.a", []byte("unserved"), "Recovery-Id", "unserved")
	outcome(t, outcomes, "unserved", "rejected")
	r.engine.SetPolicies(policies(t, quick("orders", "orders.>")))
	r.fail("orders.a", []byte("again"), "Recovery-Id", "again")
	outcome(t, outcomes, "again", "redelivered")
	outcome(t, outcomes, "far", "redelivered")
	deliveries.atLeast(t, "deliveries", 4)
	r.settled()
	if n := len(deliveries.list()); n != 4 {
		t.Errorf("%d deliveries, want 4", n)
	}
}

// guarded is a policy whose breaker opens soon and tries again soon.
func guarded(name string, subjects ...string) schemas.PolicySpec {
	p := quick(name, subjects...)
	p.Retry.MaxAttempts, p.Retry.InitialDelay = number(5), duration(300*time.Millisecond)
	p.SuccessEvidence = "report"
	p.Breaker = schemas.BreakerSpec{
		FailureThreshold: number(2), ResetTimeout: duration(500 * time.Millisecond),
		HalfOpenTimeout: duration(500 * time.Millisecond), OutcomeTimeout: duration(30 * time.Second),
	}
	return p
}

// succeed reports that a delivery succeeded, echoing its headers as a worker does.
func (r *rig) succeed(m jetstream.Msg) {
	r.t.Helper()
	report := nats.NewMsg(subjects.Succeeded(m.Subject()))
	report.Header = maps.Clone(m.Headers())
	maps.DeleteFunc(report.Header, func(name string, _ []string) bool { return strings.HasPrefix(name, "Nats-") })
	if _, err := r.js.PublishMsg(r.t.Context(), report); err != nil && r.t.Context().Err() == nil {
		r.t.Errorf("report success of %s: %v", m.Subject(), err)
	}
}

// healthy is a worker that succeeds with everything it gets.
func (r *rig) healthy(stream string) *record[jetstream.Msg] {
	all := newRecord[jetstream.Msg]()
	r.consume(stream, func(m jetstream.Msg) { all.add(m); r.succeed(m) })
	return all
}

// held is how many messages the lanes show, and how many breakers are in a state.
func (r *rig) held(state strategies.State) (held int64, breakers int) {
	for _, st := range r.engine.Stats() {
		held += st.Held
		for _, states := range st.Breakers {
			breakers += states[state]
		}
	}
	return held, breakers
}

func states(all []schemas.BreakerEvent) string {
	var names []string
	for _, b := range all {
		names = append(names, b.To)
	}
	return strings.Join(names, " ")
}

func ids(all []jetstream.Msg) []string {
	var ids []string
	for _, m := range all {
		ids = append(ids, m.Headers().Get("Recovery-Id"))
	}
	return ids
}

// While a breaker is open, what is due is held; a probe that succeeds lets the lane drain in
// order, and everybody is told.
func TestBreakerHoldsAndDrains(t *testing.T) {
	t.Parallel()
	spec := guarded("orders", "orders.>")
	spec.Breaker.ResetTimeout = duration(time.Minute)
	spec.Retry.InitialDelay = duration(2 * time.Second) // nothing is due before the breaker opens
	r := newRig(t, policies(t, spec), nil)
	r.stream("ORDERS", "orders.>")
	deliveries := r.healthy("ORDERS")
	outcomes, breakers := r.watchOutcomes()
	const n = 40
	var want []string
	for i := range n {
		id := fmt.Sprintf("work-%02d", i)
		want = append(want, id)
		r.fail("orders.a", text("body %d", i), "Recovery-Id", id)
	}
	opened := breakers.atLeast(t, "opening", 1)[0]
	if opened.To != "open" || opened.Key != "orders.a" || opened.Policy != "orders" || opened.OpenUntil == "" || opened.Reason != strategies.ReasonFailures {
		t.Errorf("opened as %+v", opened)
	}
	outcomes.until(t, "all are held", func(all []told) bool {
		return len(slices.DeleteFunc(slices.Clone(all), func(o told) bool { return o.Kind != "held" })) == n
	})
	eventually(t, "the lane is seen", func() bool { held, open := r.held(strategies.Open); return held == n && open == 1 })
	if got := len(deliveries.list()); got != 0 {
		t.Errorf("%d deliveries while the breaker is open", got)
	}
	r.probeNow("orders.a")
	all := deliveries.atLeast(t, "the lane drains", n)
	breakers.until(t, "closing", func(all []schemas.BreakerEvent) bool { return all[len(all)-1].To == "closed" })
	if got := states(breakers.list()); got != "open half_open recovering closed" {
		t.Errorf("the breaker went through %s", got)
	}
	if got := ids(all); !slices.Equal(got, want) {
		t.Errorf("drained as %v", got)
	}
	stream, err := r.js.Stream(t.Context(), "RECOVERY_OUTCOMES")
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{"opened", "half_open", "recovering", "closed"} {
		if _, err := stream.GetLastMsgForSubject(t.Context(), "recovery.breakers."+state+".orders.a"); err != nil {
			t.Errorf("event %s: %v", state, err)
		}
	}
	for i, m := range all {
		h := m.Headers()
		if probe := h.Get("Recovery-Probe") != ""; probe != (i == 0) {
			t.Errorf("delivery %d: probe %v", i, probe)
		}
		if h.Get("Recovery-Attempt") != "2" || h.Get("Recovery-Held") == "" || h.Get("Recovery-Generation") == "" {
			t.Errorf("delivery %d: %v", i, h)
		}
	}
	for _, id := range want {
		outcome(t, outcomes, id, "recovered")
	}
	r.settled()
	eventually(t, "the lane is empty", func() bool { held, open := r.held(strategies.Open); return held == 0 && open == 0 })
	kinds := map[string]int{}
	for _, o := range outcomes.list() {
		kinds[o.Kind]++
	}
	if want := map[string]int{"held": n, "redelivered": n, "recovered": n}; !maps.Equal(kinds, want) {
		t.Errorf("outcomes %v, want %v", kinds, want)
	}
}

// probeNow ends the opening of a breaker as an operator does.
func (r *rig) probeNow(key string) {
	r.t.Helper()
	request := fmt.Appendf(nil, `{"policy":"orders","key":%q}`, key)
	if _, err := r.engine.API()["breaker.probe"](r.t.Context(), request); err != nil {
		r.t.Fatalf("probe %s: %v", key, err)
	}
}

// A message that becomes due while the breaker probes or recovers joins the lane and is
// neither lost nor overtakes.
func TestDueWhileTheBreakerRecovers(t *testing.T) {
	t.Parallel()
	spec := guarded("orders", "orders.>")
	spec.Breaker.ResetTimeout = duration(200 * time.Millisecond)
	r := newRig(t, policies(t, spec), nil)
	r.stream("ORDERS", "orders.>")
	deliveries := r.healthy("ORDERS")
	outcomes, breakers := r.watchOutcomes()
	const n = 300
	r.fail("orders.a", nil, "Recovery-Id", "first-0")
	r.fail("orders.a", nil, "Recovery-Id", "first-1")
	breakers.atLeast(t, "opening", 1)
	r.failAll(n, func(i int) *nats.Msg { // due one after the other while it opens, probes and recovers
		return r.failAfter(300*time.Millisecond+time.Duration(i)*5*time.Millisecond, "orders.a", strconv.Itoa(i), text("%d", i))
	})
	deliveries.atLeast(t, "deliveries", n+2)
	r.settled()
	times := map[string]int{}
	for _, id := range ids(deliveries.list()) {
		times[id]++
	}
	for id, k := range times {
		if k != 1 {
			t.Errorf("%s arrived %d times", id, k)
		}
	}
	outcomes.until(t, "all have recovered", func(all []told) bool {
		return len(slices.DeleteFunc(slices.Clone(all), func(o told) bool { return o.Kind != "recovered" })) == n+2
	})
}

// Engines that stop while a breaker opens, probes and drains leave a state from which the
// next one goes on at once: what was released before is recognised and probes for nobody.
func TestDrainSurvivesRestarts(t *testing.T) {
	t.Parallel()
	spec := guarded("orders", "orders.>")
	spec.Breaker.ResetTimeout = duration(200 * time.Millisecond)
	spec.Breaker.OutcomeTimeout = duration(10 * time.Minute) // a probe without an answer would end the test
	spec.Breaker.Key = "all"
	r := newRig(t, policies(t, spec), near)
	r.stream("ORDERS", "orders.>")
	deliveries := r.healthy("ORDERS")
	outcomes, breakers := r.watchOutcomes()
	const n = 400
	r.fail("orders.a", nil, "Recovery-Id", "first-0")
	r.fail("orders.b", nil, "Recovery-Id", "first-1")
	breakers.atLeast(t, "opening", 1)
	r.failAll(n, func(i int) *nats.Msg {
		delay := 100*time.Millisecond + time.Duration(i)*8*time.Millisecond
		return r.failAfter(delay, "orders."+strconv.Itoa(i%9), strconv.Itoa(i), text("%d", i))
	})
	for _, enough := range []int{5, 60, 150, 300} {
		deliveries.atLeast(t, "deliveries", enough)
		r.stop()
		r.start(r.engine.Policies(), near)
	}
	deliveries.atLeast(t, "deliveries", n+2)
	r.settled()
	times := map[string]int{}
	for _, id := range ids(deliveries.list()) {
		times[id]++
	}
	for id, k := range times {
		if k != 1 {
			t.Errorf("%s arrived %d times", id, k)
		}
	}
	outcomes.until(t, "all have recovered", func(all []told) bool {
		return len(slices.DeleteFunc(slices.Clone(all), func(o told) bool { return o.Kind != "recovered" })) == n+2
	})
}

// A probe that fails keeps the breaker open and costs its message no attempt.
func TestProbeFails(t *testing.T) {
	t.Parallel()
	spec := guarded("orders", "orders.>")
	spec.Retry.InitialDelay = duration(2 * time.Second)   // nothing is due before the breaker opens
	spec.Breaker.ResetTimeout = duration(4 * time.Second) // nor half open before something waits to probe with
	r := newRig(t, policies(t, spec), nil)
	r.stream("ORDERS", "orders.>")
	deliveries := r.watch("ORDERS")
	_, breakers := r.watchOutcomes()
	r.fail("orders.a", []byte("a"), "Recovery-Id", "a")
	r.fail("orders.a", []byte("b"), "Recovery-Id", "b")
	probe := deliveries.atLeast(t, "probe", 1)[0]
	r.failAgain(probe, "still down")
	again := deliveries.atLeast(t, "second probe", 2)[1]
	breakers.until(t, "the way of the breaker", func(all []schemas.BreakerEvent) bool {
		return states(all) == "open half_open open half_open"
	})
	if again.Headers().Get("Recovery-Id") == probe.Headers().Get("Recovery-Id") {
		t.Errorf("%s probed twice in a row", probe.Headers().Get("Recovery-Id"))
	}
	r.succeed(again)
	third := deliveries.atLeast(t, "the rest", 3)[2]
	if h := third.Headers(); h.Get("Recovery-Id") != probe.Headers().Get("Recovery-Id") || h.Get("Recovery-Attempt") != "2" || h.Get("Recovery-Delivery") != "3" {
		t.Errorf("after a failed probe it comes as %v", h)
	}
	r.succeed(third)
	breakers.until(t, "closing", func(all []schemas.BreakerEvent) bool { return all[len(all)-1].To == "closed" })
	r.settled()
}

// Nobody can close a breaker by forging a probe's success.
func TestForgedProbe(t *testing.T) {
	t.Parallel()
	spec := guarded("orders", "orders.>")
	spec.Retry.InitialDelay = duration(2 * time.Second)   // nothing is due before the breaker opens
	spec.Breaker.ResetTimeout = duration(4 * time.Second) // nor half open before something waits to probe with
	r := newRig(t, policies(t, spec), nil)
	r.stream("ORDERS", "orders.>")
	deliveries := r.watch("ORDERS")
	outcomes, breakers := r.watchOutcomes()
	r.fail("orders.a", []byte("a"), "Recovery-Id", "a")
	r.fail("orders.a", []byte("b"), "Recovery-Id", "b")
	probe := deliveries.atLeast(t, "probe", 1)[0]
	other := "b" // than the probe, which may be either of them
	if probe.Headers().Get("Recovery-Id") == other {
		other = "a"
	}
	for _, id := range []string{other, "stranger"} {
		m := nats.NewMsg(subjects.Succeeded("orders.a"))
		m.Header = maps.Clone(probe.Headers())
		m.Header.Set("Recovery-Id", id)
		delete(m.Header, "Nats-Msg-Id")
		if _, err := r.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the reports of success are read", func() bool { return r.stored("RECOVERY_SUCCEEDED") == 0 })
	r.failAgain(probe, "still down")
	breakers.until(t, "second opening", func(all []schemas.BreakerEvent) bool {
		return strings.HasPrefix(states(all), "open half_open open")
	})
	if got := len(outcomes.where(func(o told) bool { return o.Kind == "recovered" })); got != 0 {
		t.Errorf("%d recoveries were told", got)
	}
}

// An open breaker survives a restart as it was: not a moment shorter, nothing let through.
func TestBreakerSurvivesARestart(t *testing.T) {
	t.Parallel()
	spec := guarded("orders", "orders.>")
	spec.Breaker.ResetTimeout = duration(8 * time.Second) // for all that must be seen before its end
	spec.Retry.InitialDelay = duration(2 * time.Second)   // nothing is due before the breaker opens
	r := newRig(t, policies(t, spec), nil)
	r.stream("ORDERS", "orders.>")
	deliveries := r.healthy("ORDERS")
	outcomes, breakers := r.watchOutcomes()
	const n = 10
	for i := range n {
		r.fail("orders.a", text("%d", i), "Recovery-Id", strconv.Itoa(i))
	}
	opened := breakers.atLeast(t, "opening", 1)[0]
	outcomes.until(t, "all are held", func(all []told) bool { return len(all) == n })
	state := func() (s strategies.Snapshot) {
		kv, err := r.js.KeyValue(t.Context(), "RECOVERY_STATE")
		if err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("breaker.%d.orders.%s", subjects.Partition("orders.a", 4), "orders.a")
		entry, err := kv.Get(t.Context(), key)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		if err := json.Unmarshal(entry.Value(), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	before := state()
	until, err := time.Parse(time.RFC3339Nano, opened.OpenUntil)
	if err != nil || before.State != strategies.Open || before.OpenUntil != until.UnixNano() || before.Generation != opened.Generation {
		t.Errorf("stored as %+v, told as %+v", before, opened)
	}
	r.stop()
	r.start(r.engine.Policies(), nil)
	eventually(t, "the lane is seen again", func() bool { held, open := r.held(strategies.Open); return held == n && open == 1 })
	if after := state(); after.OpenUntil != before.OpenUntil || after.Generation != before.Generation || after.State != before.State {
		t.Errorf("restarted as %+v, was %+v", after, before)
	}
	r.fail("orders.a", []byte("later"), "Recovery-Id", "later")
	outcome(t, outcomes, "later", "held")
	all := deliveries.atLeast(t, "the lane drains", n+1)
	for _, m := range all {
		if meta, err := m.Metadata(); err != nil || meta.Timestamp.Before(until) {
			t.Errorf("released at %s, open until %s: %v", meta.Timestamp, until, err)
		}
	}
	if id := ids(all)[n]; id != "later" {
		t.Errorf("drained as %v", ids(all))
	}
	breakers.until(t, "closing", func(all []schemas.BreakerEvent) bool { return all[len(all)-1].To == "closed" })
	r.settled()
	if got := states(breakers.list()); got != "open half_open recovering closed" {
		t.Errorf("the breaker went through %s", got)
	}
}

// A breaker may guard many subjects, whose failures arrive in other shards: they are handed
// over, counted and held at home.
func TestGroupedBreaker(t *testing.T) {
	t.Parallel()
	spec := guarded("orders", "orders.>")
	spec.Breaker.Key = "orders"
	spec.Breaker.ResetTimeout = duration(time.Minute)
	spec.Breaker.FailureThreshold = number(8)
	spec.Retry.InitialDelay = duration(2 * time.Second) // nothing is due before the breaker opens
	r := newRig(t, policies(t, spec), near)
	r.stream("ORDERS", "orders.>")
	deliveries := r.healthy("ORDERS")
	outcomes, breakers := r.watchOutcomes()
	home, foreign := subjects.Partition("orders", 4), 0
	const n = 8
	for i := range n {
		subject := "orders." + strconv.Itoa(i)
		if subjects.Partition(subject, 4) != home {
			foreign++
		}
		r.fail(subject, text("%d", i), "Recovery-Id", strconv.Itoa(i))
	}
	if foreign == 0 || foreign == n {
		t.Fatalf("%d of %d subjects are at home elsewhere", foreign, n)
	}
	opened := breakers.atLeast(t, "opening", 1)[0]
	if opened.Key != "orders" || opened.To != "open" {
		t.Errorf("opened as %+v", opened)
	}
	outcomes.until(t, "all are held", func(all []told) bool {
		return len(slices.DeleteFunc(slices.Clone(all), func(o told) bool { return o.Kind != "held" || o.Key != "orders" })) == n
	})
	eventually(t, "one lane holds all", func() bool { held, open := r.held(strategies.Open); return held == n && open == 1 })
	r.probeNow("orders")
	for _, m := range deliveries.atLeast(t, "the lane drains", n) {
		if m.Subject() != "orders."+m.Headers().Get("Recovery-Id") || string(m.Data()) != m.Headers().Get("Recovery-Id") {
			t.Errorf("%s on %s with %q", m.Headers().Get("Recovery-Id"), m.Subject(), m.Data())
		}
	}
	breakers.until(t, "closing", func(all []schemas.BreakerEvent) bool { return all[len(all)-1].To == "closed" })
	r.settled()
	if got := len(deliveries.list()); got != n {
		t.Errorf("%d deliveries, want %d", got, n)
	}
	for _, b := range breakers.list() {
		if b.Key != "orders" {
			t.Errorf("another breaker changed: %+v", b)
		}
	}
}

// A fallback whose own breaker is open is passed over.
func TestFallbackWithOpenBreaker(t *testing.T) {
	t.Parallel()
	spec := guarded("orders", "orders.>")
	spec.Fallback = []string{"manual.first", "manual.second"}
	spec.Breaker.ResetTimeout = duration(time.Minute)
	r := newRig(t, policies(t, spec), nil)
	r.stream("MANUAL", "manual.>")
	manual := r.watch("MANUAL")
	outcomes, breakers := r.watchOutcomes()
	for _, id := range []string{"a", "b"} {
		r.fail("orders."+id, []byte(id), "Recovery-Id", id, "Recovery-Class", "permanent")
	}
	for _, m := range manual.atLeast(t, "fallbacks", 2) {
		r.failAgain(m, "the first fallback is down")
	}
	if b := breakers.atLeast(t, "opening", 1)[0]; b.Key != "manual.first" {
		t.Errorf("%+v", b)
	}
	r.fail("orders.c", []byte("c"), "Recovery-Id", "c", "Recovery-Class", "permanent")
	o := outcome(t, outcomes, "c", "fallback")
	if o.Target != "manual.second" || !slices.Equal(o.Skipped, []int{0}) || *o.Fallback != 1 {
		t.Errorf("%+v", o)
	}
	r.settled()
}

// The success of a redelivery is told once, that of anything else not at all.
func TestSuccessReports(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, quick("orders", "orders.>")), nil)
	r.stream("ORDERS", "orders.>")
	deliveries := r.watch("ORDERS")
	outcomes, _ := r.watchOutcomes()
	r.fail("orders.a", []byte("body"), "Recovery-Id", "work")
	m := deliveries.atLeast(t, "redelivery", 1)[0]
	for _, forged := range []map[string]string{
		{}, {"Recovery-Id": "work", "Recovery-Attempt": "2"}, {"Recovery-Id": "work", "Recovery-Seal": "AAAAAAAAAAAAAAAAAAAAAA", "Recovery-Subject": "orders.a"},
	} {
		report := nats.NewMsg(subjects.Succeeded("orders.a"))
		for name, value := range forged {
			report.Header.Set(name, value)
		}
		if _, err := r.js.PublishMsg(t.Context(), report); err != nil {
			t.Fatal(err)
		}
	}
	for _, subject := range []string{"orders.*", "$JS.API.INFO", "recovery.failed.x", "nobody.serves.this", "orders.elsewhere"} {
		report := nats.NewMsg(subjects.Succeeded(subject))
		report.Header = maps.Clone(m.Headers())
		delete(report.Header, "Nats-Msg-Id")
		if _, err := r.js.PublishMsg(t.Context(), report); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the reports are read", func() bool { return r.stored("RECOVERY_SUCCEEDED") == 0 })
	if got := outcomes.where(func(o told) bool { return o.Kind == "recovered" }); len(got) != 0 {
		t.Errorf("recovered without a seal: %+v", got)
	}
	r.succeed(m)
	r.succeed(m)
	o := outcome(t, outcomes, "work", "recovered")
	if o.Attempt != 2 || o.Evidence != "report" || o.Policy != "orders" || o.Subject != "orders.a" || o.on != "recovery.outcomes.recovered.orders.a" {
		t.Errorf("%+v", o)
	}
	eventually(t, "the reports are read", func() bool { return r.stored("RECOVERY_SUCCEEDED") == 0 })
	if got := outcomes.where(func(o told) bool { return o.Kind == "recovered" }); len(got) != 1 || r.count("recovered") != 1 {
		t.Errorf("told %d times, observed %d times, want once", len(got), r.count("recovered"))
	}
	r.settled()
}
