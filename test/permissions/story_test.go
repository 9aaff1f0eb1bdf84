package permissions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

// told collects what an observer hears.
type told struct {
	mu       sync.Mutex
	outcomes []schemas.Outcome
	states   map[string]bool // of breakers
}

func (o *told) has(id, kind string) (found schemas.Outcome, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, one := range o.outcomes {
		if one.ID == id && one.Kind == kind {
			return one, true
		}
	}
	return found, false
}

// observe listens in every way there is, as the observer.
func (s *scene) observe() map[string]*told {
	s.t.Helper()
	nc := s.connect("observer")
	all := map[string]*told{}
	ctx, cancel := context.WithCancel(context.Background())
	var listening sync.WaitGroup
	s.t.Cleanup(func() { cancel(); listening.Wait() })
	for way, o := range map[string]bus.ListenOptions{"live": {Live: true}, "in order": {}, "durably": {Durable: "watcher"}} {
		heard := &told{states: map[string]bool{}}
		all[way] = heard
		o.Prefix, o.StreamPrefix, o.Domain = s.config.Prefix, s.config.StreamPrefix, s.config.JSDomain
		outcomes, err := bus.Outcomes(ctx, nc, o)
		if err != nil {
			s.t.Fatalf("outcomes %s: %v", way, err)
		}
		if o.Durable != "" {
			o.Durable += "-breakers"
		}
		breakers, err := bus.BreakerEvents(ctx, nc, o)
		if err != nil {
			s.t.Fatalf("breakers %s: %v", way, err)
		}
		listening.Go(func() {
			defer outcomes.Stop()
			for outcome, err := range outcomes.All(ctx) {
				if err != nil {
					s.t.Errorf("outcomes %s: %v", way, err)
				}
				heard.mu.Lock()
				heard.outcomes = append(heard.outcomes, outcome)
				heard.mu.Unlock()
			}
		})
		listening.Go(func() {
			defer breakers.Stop()
			for event, err := range breakers.All(ctx) {
				if err != nil {
					s.t.Errorf("breakers %s: %v", way, err)
				}
				heard.mu.Lock()
				heard.states[event.To] = true
				heard.mu.Unlock()
			}
		})
	}
	return all
}

// outcome waits until an outcome was heard in every way.
func (s *scene) outcome(all map[string]*told, id, kind string) {
	s.t.Helper()
	for way, heard := range all {
		s.eventually(fmt.Sprintf("%s of %s, heard %s", kind, id, way), func() bool { _, ok := heard.has(id, kind); return ok })
	}
}

// work has the worker report what fails on its subjects, until it shall succeed. What is sent
// elsewhere is reported by the application.
func (s *scene) work(worker *bus.Reporter) (succeed func()) {
	s.t.Helper()
	var well atomic.Bool
	orders := s.stream("ORDERS", "orders.>", "manual.orders", "mended.*")
	s.consume(orders, []string{"orders.>"}, worker, &well)
	s.consume(s.stream("DOWN", "down.>"), []string{"down.>"}, worker, &well)
	s.consume(orders, []string{"manual.orders", "mended.*"}, s.reporter("app"), &well)
	return func() { well.Store(true) }
}

func (s *scene) reporter(name string) *bus.Reporter {
	s.t.Helper()
	r, err := bus.NewReporter(s.connect(name), bus.ReporterOptions{Prefix: s.config.Prefix})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// command runs a command as a user, which shall succeed.
func (s *scene) command(user string, args ...string) string {
	s.t.Helper()
	stdout, stderr, code := s.try(user, args...)
	if code != 0 {
		s.t.Errorf("recoveryd %s: exit %d: %s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// try runs a command as a user, with a context of the nats tool.
func (s *scene) try(user string, args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), user+".json")
	data, err := json.Marshal(map[string]string{"url": s.url, "user": user, "password": secret, "inbox_prefix": s.inbox[user]})
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return run(s.t, append([]string{"NATS_CONTEXT=" + file}, s.environ...), args...)
}

// tell has everybody do everything that their roles are there for.
func (s *scene) tell() {
	t := s.t
	stop := s.daemon("one")
	heard := s.observe()
	s.services()
	worker := s.reporter("worker")
	succeed := s.work(worker)

	t.Log("retries, fallbacks and dead letters")
	for _, id := range []string{"order-1", "order-2"} {
		s.fail(worker, "orders."+id, id)
	}
	for _, id := range []string{"order-1", "order-2"} {
		for _, kind := range []string{schemas.KindScheduled, schemas.KindRedelivered, schemas.KindFallback, schemas.KindDead} {
			s.outcome(heard, id, kind)
		}
	}
	s.report("nobody.serves.this", "refused-1")
	s.outcome(heard, "refused-1", schemas.KindRejected)

	t.Log("a breaker that holds and drains")
	const held = 6
	for i := range held {
		s.fail(worker, "down.x", "down-"+strconv.Itoa(i))
	}
	s.eventually("nothing is held", func() bool {
		for i := range held {
			if _, ok := heard["live"].has("down-"+strconv.Itoa(i), schemas.KindHeld); ok {
				return true
			}
		}
		return false
	})
	s.commands()
	succeed()
	for i := range held {
		s.outcome(heard, "down-"+strconv.Itoa(i), schemas.KindRecovered)
	}
	for way, all := range heard {
		s.eventually("the breaker, heard "+way, func() bool {
			all.mu.Lock()
			defer all.mu.Unlock()
			return all.states["open"] && all.states["half_open"] && all.states["closed"]
		})
	}

	t.Log("requests, and messages that no stream stores")
	s.report("stock.a", "stock-1")
	s.outcome(heard, "stock-1", schemas.KindRedelivered)
	s.eventually("nobody hears of acknowledgements", func() bool {
		_, subscribed := s.server.asked(t, "daemon")
		return slices.Contains(subscribed, "$JS.EVENT.METRIC.CONSUMER.ACK.STOCK.book")
	})
	s.report("mail.a", "mail-1")
	s.report("bell.a", "bell-1")
	s.outcome(heard, "mail-1", schemas.KindRecovered)
	s.outcome(heard, "bell-1", schemas.KindRedelivered)

	t.Log("a consumer that is watched")
	s.giveUp(heard)

	t.Log("an observer whose consumer is lost, and one with the command line")
	s.loseConsumers()
	s.report("orders.order-4", "order-4")
	s.outcome(heard, "order-4", schemas.KindRecovered)
	s.command("observer", "outcomes", "--since", "1h", "--count", "1")

	t.Log("replays, to the own subject and to another")
	s.command("operator", "dlq", "replay", "--subject", "orders.order-1", "--yes")
	s.outcome(heard, "order-1", schemas.KindReplayed)
	s.outcome(heard, "order-1", schemas.KindRecovered)
	s.command("operator", "dlq", "replay", "--subject", "orders.order-2", "--to", "mended.order", "--yes")
	s.outcome(heard, "order-2", schemas.KindReplayed)

	t.Log("daemons that share the work, and ask each other")
	stopTwo := s.daemon("two")
	s.eventually("nobody asks another daemon", func() bool {
		s.command("operator", "ls")
		return s.did("daemon", s.config.Prefix+".api.v1.at.*.>")
	})
	s.command("operator", "top", "--once")
	s.spoil()
	s.later("orders.late", "late-1", 3*time.Second)
	s.outcome(heard, "late-1", schemas.KindScheduled)
	s.later("orders.later", "now-1", time.Hour)
	s.later("orders.later", "never-1", time.Hour)
	s.eventually("both wait in the ledger", func() bool { return strings.Count(s.command("operator", "ls", "--state", "far"), "orders.later") == 2 })
	s.command("operator", "now", "now-1", "--yes")
	s.outcome(heard, "now-1", schemas.KindRecovered)
	s.command("operator", "cancel", "never-1", "--yes")
	s.outcome(heard, "never-1", schemas.KindDiscarded)
	stopTwo()
	stop()
	s.daemon("three", "RECOVERYD_DEAD_MAX_BYTES=1GiB")
	s.outcome(heard, "late-1", schemas.KindRecovered)
	s.rest()
}

// services are what the application offers: the first mail fails.
func (s *scene) services() {
	s.t.Helper()
	var asked atomic.Int32
	for subject, answer := range map[string]func(m *nats.Msg){
		"send.*": func(m *nats.Msg) {
			reply := nats.NewMsg(m.Reply)
			if asked.Add(1) == 1 {
				reply.Header.Set("Nats-Service-Error-Code", "503")
				reply.Header.Set("Nats-Service-Error", "busy")
			}
			if err := m.RespondMsg(reply); err != nil {
				s.t.Errorf("answer: %v", err)
			}
		},
		"bell.*": func(*nats.Msg) {},
	} {
		if _, err := s.app.Subscribe(subject, answer); err != nil {
			s.t.Fatal(err)
		}
	}
	book := s.stream("STOCK", "stock.*")
	if _, err := book.CreateConsumer(s.t.Context(), jetstream.ConsumerConfig{Durable: "book", AckPolicy: jetstream.AckExplicitPolicy, SampleFrequency: "100"}); err != nil {
		s.t.Fatal(err)
	}
}

// giveUp has a work queue whose messages fail for good: they are dead in the end, without a
// word of their worker.
func (s *scene) giveUp(heard map[string]*told) {
	s.t.Helper()
	queue, err := s.js.CreateStream(s.t.Context(), jetstream.StreamConfig{Name: "QUEUE", Subjects: []string{"queue.*"}, Retention: jetstream.WorkQueuePolicy})
	if err != nil {
		s.t.Fatal(err)
	}
	worker, err := queue.CreateConsumer(s.t.Context(), jetstream.ConsumerConfig{Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 2})
	if err != nil {
		s.t.Fatal(err)
	}
	consuming, err := worker.Consume(func(m jetstream.Msg) {
		if err := m.Nak(); err != nil {
			s.t.Errorf("nak: %v", err)
		}
	})
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { consuming.Stop(); <-consuming.Closed() }()
	s.command("operator", "watch", "add", "QUEUE", "worker", "--yes")
	m := &nats.Msg{Subject: "queue.a", Header: nats.Header{schemas.HeaderID: {"queue-1"}}}
	if _, err := s.js.PublishMsg(s.t.Context(), m); err != nil {
		s.t.Fatal(err)
	}
	s.outcome(heard, "queue-1", schemas.KindDead)
	s.eventually("the queue is not empty", func() bool {
		info, err := queue.Info(s.t.Context())
		return err == nil && info.State.Msgs == 0
	})
	s.command("operator", "watch", "ls")
}

// commands are those that an operator looks with.
func (s *scene) commands() {
	s.t.Helper()
	for _, line := range []string{
		"status", "ls", "ls --state held", "breaker ls", "breaker show down.x --policy down", "dlq groups", "dlq ls", "dlq show 1", "streams ls", "dlq export",
		"outcomes --since 1h --count 1", "schema ls", "doctor", "top --once",
	} {
		if s.command("operator", strings.Fields(line)...) == "" {
			s.t.Errorf("recoveryd %s printed nothing", line)
		}
	}
}

// loseConsumers deletes those of observers that forget where they were.
func (s *scene) loseConsumers() {
	s.t.Helper()
	stream, err := s.js.Stream(s.t.Context(), s.config.StreamPrefix+"_OUTCOMES")
	if err != nil {
		s.t.Fatal(err)
	}
	for c := range stream.ListConsumers(s.t.Context()).Info() {
		if c.Config.Durable == "" && c.Config.Metadata["owner"] == "" {
			if err := stream.DeleteConsumer(s.t.Context(), c.Name); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}

// fail reports a failure and gets the PubAck.
func (s *scene) fail(r *bus.Reporter, subject, id string) {
	s.t.Helper()
	m := &nats.Msg{Subject: subject, Header: nats.Header{schemas.HeaderID: {id}}, Data: []byte("{}")}
	if _, err := r.FailedMsg(s.t.Context(), m, errors.New("connection refused")); err != nil {
		s.t.Fatal(err)
	}
}

// later reports a failure that is not due for a while.
func (s *scene) later(subject, id string, wait time.Duration) {
	s.t.Helper()
	m := &nats.Msg{Subject: s.subjects().Failed(subject), Header: nats.Header{
		schemas.HeaderID: {id}, schemas.HeaderError: {"busy"}, schemas.HeaderRetryAfter: {wait.String()},
	}}
	if _, err := s.js.PublishMsg(s.t.Context(), m); err != nil {
		s.t.Fatal(err)
	}
}

// stores are the names of all streams and buckets of recoveryd.
func (s *scene) stores() (names []string) {
	for _, name := range []string{"FAILED", "SUCCEEDED", "OUTCOMES", "DEAD", "ADVISORIES", "LEDGER_0", "LEDGER_1"} {
		names = append(names, s.config.StreamPrefix+"_"+name)
	}
	return append(names, "KV_"+s.config.StreamPrefix+"_STATE", "KV_"+s.config.StreamPrefix+"_LEASES")
}

// spoil changes every stream, so that the next daemon has to mend them.
func (s *scene) spoil() {
	s.t.Helper()
	for _, name := range s.stores() {
		stream, err := s.js.Stream(s.t.Context(), name)
		if err != nil {
			s.t.Fatal(err)
		}
		c := stream.CachedInfo().Config
		c.MaxMsgs = 1 << 40
		if _, err := s.js.UpdateStream(s.t.Context(), c); err != nil {
			s.t.Fatal(err)
		}
	}
}

// rest is what daemons do seldom: removing too many refused letters, and single entries of
// the ledger; taking a lease that somebody lost; listing more values than are sent at once.
func (s *scene) rest() {
	t, b, ctx := s.t, s.bus(), s.t.Context()
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := b.PurgeDead(ctx, s.config.Prefix+".dead.*._refused.>", 2)
	check("purge letters", err)
	for shard := range 2 {
		check("delete an entry", b.DeleteEntry(ctx, shard, 1<<40))
		_, err = b.ReadEntries(ctx, s.subjects().DeadLane(shard), []uint64{1 << 40}, 1)
		check("read an entry", err)
		_, err = b.PurgeLane(ctx, s.subjects().DeadLane(shard), 2)
		check("purge a lane", err)
	}
	_, err = b.Owner(ctx, "orders.new")
	check("look who stores a subject", err)
	_, err = b.HoldLease(ctx, "test", []byte("me"), 0)
	check("take a lease", err)
	if _, err = b.HoldLease(ctx, "test", []byte("other"), 0); !errors.Is(err, schemas.ErrConflict) {
		t.Errorf("a lease that is held: %v", err)
	}
	for i := range 20 {
		_, err = b.StatePut(ctx, "test."+strconv.Itoa(i), make([]byte, 500_000), 0)
		check("store a value", err)
	}
	n := 0
	check("list values", b.StateList(ctx, "test.>", func(string, []byte, uint64) { n++ }))
	if n != 20 {
		t.Errorf("%d values were listed", n)
	}
	if m, err := s.app.Request("$SRV.PING.recoveryd", nil, 5*time.Second); err != nil || !strings.Contains(string(m.Data), "recoveryd") {
		t.Errorf("the micro service is not found: %v", err)
	}
}

// did says whether a user has published something that matches.
func (s *scene) did(name, pattern string) bool {
	published, _ := s.server.asked(s.t, name)
	for _, subject := range published {
		if schemas.Match(pattern, subject) {
			return true
		}
	}
	return false
}
