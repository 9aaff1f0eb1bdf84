package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

// advised is a rig whose engine reads advisories, and sweeps several times a second.
func advised(t *testing.T, mode string, change ...func(*rig, *handlers.Config)) *rig {
	t.Helper()
	r := newRig(t, policies(t, quick("orders", "orders.>", "jobs.>", "other.>")), func(c *handlers.Config) { reads(c, mode) })
	for _, c := range change {
		r.stop()
		r.start(r.engine.Policies(), func(config *handlers.Config) { reads(config, mode); c(r, config) })
	}
	return r
}

func reads(c *handlers.Config, mode string) {
	if c.Advisories == nil {
		c.Advisories = c.Bus.(handlers.AdvisoryStore)
	}
	c.AdvisoryMode, c.SweepEvery = mode, 100*time.Millisecond
}

// call asks the control API of the engine.
func call[R any](r *rig, name string, q any) (reply R, err error) {
	r.t.Helper()
	data, err := json.Marshal(q)
	if err != nil {
		r.t.Fatal(err)
	}
	got, err := r.engine.API()[name](r.t.Context(), data)
	if err != nil {
		return reply, err
	}
	if data, err = json.Marshal(got); err == nil {
		err = json.Unmarshal(data, &reply)
	}
	return reply, err
}

func (r *rig) watchConsumer(stream, consumer string) schemas.WatchStatus {
	r.t.Helper()
	s, err := call[schemas.WatchStatus](r, "watch.add", schemas.WatchRequest{Stream: stream, Consumer: consumer, Actor: "me", Reason: "test"})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// worked is a stream with one worker of stock NATS.
type worked struct {
	*rig
	name     string
	consumer jetstream.Consumer
	handled  *record[jetstream.Msg] // what the worker did, in the end
}

// worker has a consumer with MaxDeliver 3 whose messages handle does; what it does not
// acknowledge or terminate is refused. Subjects stand beside each other.
func (r *rig) worker(name, subjects string, retention jetstream.RetentionPolicy, handle func(jetstream.Msg) bool) *worked {
	r.t.Helper()
	s, err := r.js.CreateStream(r.t.Context(), jetstream.StreamConfig{Name: name, Subjects: strings.Fields(subjects), Retention: retention})
	if err != nil {
		r.t.Fatal(err)
	}
	w := &worked{rig: r, name: name, handled: newRecord[jetstream.Msg]()}
	w.consumer, err = s.CreateConsumer(r.t.Context(), jetstream.ConsumerConfig{Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 3})
	if err != nil {
		r.t.Fatal(err)
	}
	consuming, err := w.consumer.Consume(func(m jetstream.Msg) {
		if handle(m) {
			w.handled.add(m)
		} else if err := m.Nak(); err != nil {
			r.t.Errorf("nak: %v", err)
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(consuming.Stop)
	return w
}

// redelivered works only what came back from recoveryd.
func redelivered(m jetstream.Msg) bool {
	return m.Headers().Get(schemas.HeaderAttempt) != "" && m.Ack() == nil
}

func (r *rig) publish(subject, body string, headers ...string) {
	r.t.Helper()
	m := nats.NewMsg(subject)
	m.Data = []byte(body)
	for i := 0; i+1 < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
	}
	if _, err := r.js.PublishMsg(r.t.Context(), m); err != nil {
		r.t.Fatal(err)
	}
}

func (w *worked) info() *jetstream.ConsumerInfo {
	w.t.Helper()
	info, err := w.consumer.Info(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return info
}

// advices are what became of advisories and of what sweeps found.
func (r *rig) advices(source, result string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == handlers.EventAdvisory && e.Source == source && e.Result == result {
			n++
		}
	}
	return n
}

func (r *rig) failures() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == handlers.EventFailure {
			n++
		}
	}
	return n
}

// What a consumer gives up comes back on its subject and is worked in the end, without any
// word of its worker, and is settled in its stream.
func TestExhaustedMessagesComeBack(t *testing.T) {
	t.Parallel()
	for name, retention := range map[string]jetstream.RetentionPolicy{"work queue": jetstream.WorkQueuePolicy, "limits": jetstream.LimitsPolicy, "interest": jetstream.InterestPolicy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := advised(t, "watch")
			w := r.worker("ORDERS", "orders.>", retention, redelivered)
			before := r.watchConsumer("ORDERS", "worker")
			if !before.Exists || before.MaxDeliver != 3 || before.Actor != "me" || len(before.Warnings) != map[bool]int{true: 0, false: 1}[retention == jetstream.LimitsPolicy] {
				t.Errorf("watch %+v", before)
			}
			const n = 20
			for i := range n {
				r.publish(fmt.Sprintf("orders.%d", i), fmt.Sprint(i), "User", "kept", "Nats-Msg-Id", fmt.Sprint("id-", i))
			}
			all := w.handled.atLeast(t, "redeliveries", n)
			for _, m := range all {
				h := schemas.Header(m.Headers())
				if m.Subject() != "orders."+string(m.Data()) || h.Get("User") != "kept" || h.Get(schemas.HeaderAttempt) != "2" || h.Get("Nats-Msg-Id") == "id-"+string(m.Data()) {
					t.Errorf("%s %q %v", m.Subject(), m.Data(), h)
				}
			}
			if retention != jetstream.LimitsPolicy {
				eventually(t, "the stream is empty", func() bool { return r.stored("ORDERS") == 0 })
			}
			eventually(t, "all are settled", func() bool { i := w.info(); return i.NumRedelivered == 0 && i.NumAckPending == 0 })
			r.settled()
			if got := r.advices("max_deliveries", "reported"); got != n || len(w.handled.list()) != n {
				t.Errorf("%d were reported and %d worked, want %d", got, len(w.handled.list()), n)
			}
			listed, err := call[schemas.WatchListReply](r, "watch.ls", schemas.WatchListRequest{})
			if err != nil || listed.Mode != "watch" || len(listed.Watches) != 1 || listed.Watches[0].Exhausted == nil || *listed.Watches[0].Exhausted != 0 {
				t.Errorf("%+v %v", listed, err)
			}
		})
	}
}

// A message that fails again goes on in the same life: in the end it is one dead letter.
func TestExhaustedForGood(t *testing.T) {
	t.Parallel()
	r := advised(t, "watch")
	r.worker("ORDERS", "orders.>", jetstream.WorkQueuePolicy, func(jetstream.Msg) bool { return false })
	r.watchConsumer("ORDERS", "worker")
	r.publish("orders.x", "body")
	eventually(t, "a letter", func() bool { return len(r.letters()) == 1 })
	l := r.letters()[0]
	if l.Reason != schemas.ReasonExhausted || l.Attempt != 3 || l.Error != "3 deliveries of consumer worker of stream ORDERS failed" ||
		l.Origin.Stream != "ORDERS" || l.Origin.Consumer != "worker" || l.Origin.Deliveries != 3 || string(l.Body) != "body" || l.Subject != "orders.x" {
		t.Errorf("letter %+v", l)
	}
	eventually(t, "the queue is empty", func() bool { return r.stored("ORDERS") == 0 })
}

// With a limit of one the server counts nothing as redelivered, and still all comes back, also
// what is found by the sweep.
func TestALimitOfOne(t *testing.T) {
	t.Parallel()
	for name, subjects := range map[string]string{"advisory": "orders.>", "sweep": "jobs.>"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := advised(t, "watch")
			w := r.worker("WORK", subjects, jetstream.WorkQueuePolicy, redelivered)
			c := w.info().Config
			c.MaxDeliver = 1
			if _, err := r.js.UpdateConsumer(t.Context(), "WORK", c); err != nil {
				t.Fatal(err)
			}
			subject := strings.TrimSuffix(subjects, ">") + "x"
			if name == "sweep" { // nobody watches when it is given up
				r.publish(subject, "body")
				eventually(t, "it is given up", func() bool { return r.advices("max_deliveries", "unwatched") == 1 })
			}
			r.watchConsumer("WORK", "worker")
			if name == "advisory" {
				r.publish(subject, "body")
			}
			w.handled.atLeast(t, "the redelivery", 1)
			eventually(t, "the queue is empty", func() bool { return r.stored("WORK") == 0 })
			r.settled()
			source := map[string]string{"advisory": "max_deliveries", "sweep": "sweep"}[name]
			if r.advices(source, "reported") != 1 || len(w.handled.list()) != 1 {
				t.Errorf("%d reported by %s, %d deliveries", r.advices(source, "reported"), source, len(w.handled.list()))
			}
		})
	}
}

// What a worker terminates becomes a letter with its reason where it can still be read; on a
// work queue it is gone, and that is told.
func TestTerminatedMessages(t *testing.T) {
	t.Parallel()
	r := advised(t, "watch")
	term := func(m jetstream.Msg) bool { return m.TermWithReason("no such customer") == nil }
	r.worker("ORDERS", "orders.>", jetstream.LimitsPolicy, term)
	r.worker("JOBS", "jobs.>", jetstream.WorkQueuePolicy, term)
	r.watchConsumer("ORDERS", "worker")
	r.watchConsumer("JOBS", "worker")
	r.publish("orders.x", "body")
	r.publish("jobs.x", "body")
	eventually(t, "a letter, and one that is gone", func() bool {
		return len(r.letters()) == 1 && r.advices("terminated", "gone") == 1 && r.advices("terminated", "reported") == 1
	})
	if l := r.letters()[0]; l.Reason != schemas.ReasonPermanent || l.Error != "no such customer" || l.Subject != "orders.x" || l.Class != schemas.ClassPermanent {
		t.Errorf("letter %+v", l)
	}
}

// Only consumers that are watched are served, and none if advisories are off; with all, every
// one that has max_deliver.
func TestWhoIsServed(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string][]string{"off": {}, "watch": {"orders.x"}, "all": {"jobs.x", "orders.x"}} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := advised(t, mode)
			orders := r.worker("ORDERS", "orders.>", jetstream.LimitsPolicy, redelivered)
			jobs := r.worker("JOBS", "jobs.>", jetstream.LimitsPolicy, redelivered)
			if s := r.watchConsumer("ORDERS", "worker"); (len(s.Warnings) == 1) != (mode == "off") {
				t.Errorf("warnings %q", s.Warnings)
			}
			r.publish("jobs.x", "body")
			r.publish("orders.x", "body")
			advisories, err := r.js.Stream(t.Context(), r.bus.AdvisoryStream())
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "both are given up", func() bool {
				info, err := advisories.Info(t.Context())
				return err == nil && info.State.LastSeq >= 2
			})
			if mode != "off" {
				eventually(t, "all advisories are settled", func() bool {
					c, err := advisories.Consumer(t.Context(), "recoveryd")
					return err == nil && c.CachedInfo().NumPending == 0 && c.CachedInfo().NumAckPending == 0
				})
			}
			eventually(t, "redeliveries", func() bool { return len(orders.handled.list())+len(jobs.handled.list()) == len(want) })
			r.settled()
			var got []string
			for _, m := range append(orders.handled.list(), jobs.handled.list()...) {
				got = append(got, m.Subject())
			}
			if slices.Sort(got); !slices.Equal(got, want) && len(got)+len(want) > 0 {
				t.Errorf("worked %q, want %q", got, want)
			}
			if r.failures() != len(want) {
				t.Errorf("%d failures, want %d", r.failures(), len(want))
			}
		})
	}
}

// Whoever forges advisories has nothing done to messages that were not given up.
func TestForgedAdvisories(t *testing.T) {
	t.Parallel()
	r := advised(t, "watch")
	w := r.worker("ORDERS", "orders.>", jetstream.LimitsPolicy, func(m jetstream.Msg) bool { return m.Subject() == "orders.fine" && m.Ack() == nil })
	r.watchConsumer("ORDERS", "worker")
	r.publish("orders.fine", "body")
	w.handled.atLeast(t, "the work", 1)
	forge := func(stream, consumer string, change func(map[string]any)) {
		t.Helper()
		body := map[string]any{
			"type": "io.nats.jetstream.advisory.v1.max_deliver", "id": "x", "timestamp": time.Now().UTC(),
			"stream": stream, "consumer": consumer, "stream_seq": 1, "deliveries": 3,
		}
		change(body)
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.js.Publish(t.Context(), "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES."+stream+"."+consumer, data); err != nil {
			t.Fatal(err)
		}
	}
	same := func(map[string]any) {}
	forge("ORDERS", "worker", same) // it was acknowledged
	forge("ORDERS", "worker", func(b map[string]any) { b["stream_seq"] = 2 })
	forge("ORDERS", "worker", func(b map[string]any) { b["deliveries"] = 2 })
	forge("ORDERS", "worker", func(b map[string]any) { b["timestamp"] = time.Now().Add(-time.Hour) })
	forge("ORDERS", "worker", func(b map[string]any) { b["timestamp"] = time.Now().Add(time.Hour) })
	forge("ORDERS", "worker", func(b map[string]any) { b["stream"] = "OTHER" })
	forge("RECOVERY_DEAD", "worker", same)
	eventually(t, "all are judged", func() bool {
		return r.advices("max_deliveries", "refused") == 3 && r.advices("max_deliveries", "repeated") == 1 && r.advices("unknown", "malformed") == 2 && r.advices("max_deliveries", "unwatched") == 1
	})
	r.settled()
	if r.failures() != 0 {
		t.Errorf("%d failures were reported", r.failures())
	}
}

// An advisory that comes again, of the server or of somebody else, is reported once.
func TestAdvisoriesThatComeTwice(t *testing.T) {
	t.Parallel()
	r := advised(t, "watch")
	w := r.worker("ORDERS", "orders.>", jetstream.LimitsPolicy, redelivered)
	r.watchConsumer("ORDERS", "worker")
	r.publish("orders.x", "body")
	w.handled.atLeast(t, "the redelivery", 1)
	advisories, err := r.js.Stream(t.Context(), r.bus.AdvisoryStream())
	if err != nil {
		t.Fatal(err)
	}
	first, err := advisories.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := r.js.Publish(t.Context(), first.Subject, first.Data); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the others are recognised", func() bool { return r.advices("max_deliveries", "repeated") == 3 })
	r.settled()
	if r.failures() != 1 || len(w.handled.list()) != 1 {
		t.Errorf("%d failures and %d deliveries, want 1", r.failures(), len(w.handled.list()))
	}
}

// Messages of a work queue whose advisories were lost are found by the sweep; the stream of
// advisories is made again.
func TestLostAdvisoriesAreSwept(t *testing.T) {
	t.Parallel()
	r := advised(t, "watch")
	w := r.worker("ORDERS", "orders.>", jetstream.WorkQueuePolicy, redelivered)
	const n = 150 // more than one sweep takes
	lost := r.bus.AdvisoryStream()
	if err := r.js.DeleteStream(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		r.publish(fmt.Sprintf("orders.%d", i), "body")
	}
	eventually(t, "all are given up", func() bool { i := w.info(); return i.NumRedelivered == n && i.NumAckPending == 0 })
	eventually(t, "the stream of advisories is made again", func() bool {
		_, err := r.js.Stream(t.Context(), lost)
		return err == nil
	})
	before := r.advices("sweep", "reported")
	r.watchConsumer("ORDERS", "worker")
	w.handled.atLeast(t, "redeliveries", n)
	eventually(t, "the queue is empty", func() bool { return r.stored("ORDERS") == 0 })
	r.settled()
	if got := r.advices("sweep", "reported"); before != 0 || got != n || len(w.handled.list()) != n {
		t.Errorf("%d, then %d were found, %d worked, want 0, %d, %[4]d", before, got, len(w.handled.list()), n)
	}
}

// broken is a store of advisories that settles nothing while it is broken.
type broken struct {
	handlers.AdvisoryStore
	tries atomic.Int64
}

func (b *broken) AckFor(context.Context, schemas.Origin) error {
	b.tries.Add(1)
	return errors.New("settling is broken")
}

// A daemon that ends after the report and before the message is settled leaves both to the
// next one, who repeats the report: it is the same, and so is its redelivery.
func TestRestartBetweenReportAndAck(t *testing.T) {
	t.Parallel()
	fault := &broken{}
	r := advised(t, "watch", func(r *rig, c *handlers.Config) {
		fault.AdvisoryStore = c.Advisories
		c.Advisories = fault
	})
	w := r.worker("ORDERS", "orders.>", jetstream.WorkQueuePolicy, redelivered)
	r.watchConsumer("ORDERS", "worker")
	r.publish("orders.x", "body")
	w.handled.atLeast(t, "the redelivery", 1)
	eventually(t, "a try to settle", func() bool { return fault.tries.Load() > 0 })
	eventually(t, "a complaint", func() bool {
		_, complaint := r.waitingLetters()
		return strings.Contains(complaint, "settling is broken")
	})
	eventually(t, "only the one that was given up is left", func() bool { return r.stored("ORDERS") == 1 })
	reported := r.failures()
	r.stop()
	r.start(r.engine.Policies(), func(c *handlers.Config) { reads(c, "watch") })
	eventually(t, "the queue is empty", func() bool { return r.stored("ORDERS") == 0 })
	r.settled()
	if reported != 1 || len(w.handled.list()) != 1 || len(r.letters()) != 0 {
		t.Errorf("%d reports at first, %d deliveries, %d letters, want 1, 1, 0", reported, len(w.handled.list()), len(r.letters()))
	}
}

// What cannot be reported stays where it is, and the list of watches shows it.
func TestWhatCannotBeReportedStays(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, quick("orders", "orders.>")), func(c *handlers.Config) { reads(c, "watch") })
	w := r.worker("MIXED", "nobody.> orders.>", jetstream.WorkQueuePolicy, redelivered)
	r.watchConsumer("MIXED", "worker")
	r.publish("nobody.serves.this", "body")
	r.publish("orders.x", "body")
	w.handled.atLeast(t, "the other one", 1)
	eventually(t, "it is told", func() bool { return r.advices("max_deliveries", "unreportable") == 1 })
	eventually(t, "only one is left", func() bool { return r.stored("MIXED") == 1 })
	s, err := call[schemas.WatchListReply](r, "watch.ls", schemas.WatchListRequest{})
	if err != nil || len(s.Watches) != 1 || s.Watches[0].Exhausted == nil || *s.Watches[0].Exhausted != 1 {
		t.Errorf("%+v %v", s, err)
	}
	if len(r.letters()) != 0 {
		t.Errorf("letters %+v", r.letters())
	}
	// Once a policy serves it, the sweep takes it.
	r.engine.SetPolicies(policies(t, quick("all", ">")))
	w.handled.atLeast(t, "both", 2)
	eventually(t, "the queue is empty", func() bool { return r.stored("MIXED") == 0 })
}

// What cannot work is refused, and each refusal says what to do.
func TestWatchesThatCannotWork(t *testing.T) {
	t.Parallel()
	r := advised(t, "watch")
	s := r.stream("ORDERS", "orders.>")
	for name, c := range map[string]jetstream.ConsumerConfig{
		"endless": {AckPolicy: jetstream.AckExplicitPolicy}, "careless": {AckPolicy: jetstream.AckNonePolicy}, "range": {AckPolicy: jetstream.AckAllPolicy, MaxDeliver: 3},
		"fine": {AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 3},
	} {
		c.Durable = name
		if _, err := s.CreateConsumer(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		stream, consumer string
		code             int
		says             string
	}{
		{"NONE", "worker", 404, "stream NONE is not there"}, {"ORDERS", "none", 404, "nats consumer ls ORDERS"}, {"RECOVERY_SUCCEEDED", "recoveryd", 400, "recoveryd's own"},
		{"ORDERS", "endless", 400, "nats consumer edit ORDERS endless --max-deliver 5"}, {"ORDERS", "careless", 400, "--max-deliver"}, {"ORDERS", "range", 400, "--ack explicit"},
		{"a.b", "worker", 400, "stream:"}, {"ORDERS", "", 400, "consumer:"}, {"ORDERS", "*", 400, "consumer:"},
	} {
		_, err := call[schemas.WatchStatus](r, "watch.add", schemas.WatchRequest{Stream: test.stream, Consumer: test.consumer})
		fault, ok := errors.AsType[*schemas.APIError](err)
		if !ok || fault.Code != test.code || !strings.Contains(fault.Message, test.says) {
			t.Errorf("%s %s: %v, want %d and %q", test.stream, test.consumer, err, test.code, test.says)
		}
	}
	q := schemas.WatchRequest{Stream: "ORDERS", Consumer: "fine", DryRun: true}
	for range 2 {
		if s, err := call[schemas.WatchStatus](r, "watch.add", q); err != nil || (s.AddedAt == "") != q.DryRun || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "4 consumers") {
			t.Errorf("%+v %v", s, err)
		}
		listed, err := call[schemas.WatchListReply](r, "watch.ls", schemas.WatchListRequest{})
		if err != nil || (len(listed.Watches) == 0) != q.DryRun {
			t.Errorf("%+v %v", listed, err)
		}
		q.DryRun = false
	}
	if _, err := call[schemas.WatchStatus](r, "watch.rm", q); err != nil {
		t.Error(err)
	}
	_, err := call[schemas.WatchStatus](r, "watch.rm", q)
	if fault, ok := errors.AsType[*schemas.APIError](err); !ok || fault.Code != 404 {
		t.Errorf("removed twice: %v", err)
	}
}
