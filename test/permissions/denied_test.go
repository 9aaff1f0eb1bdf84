package permissions

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/recoveryd/recoveryd/schemas"
)

// What recoveryd keeps for itself, and where it is written.
var internal = []string{
	"recovery.ledger.0.signal", "recovery.ledger.1.due.1", "recovery.ledger.0.dead", "recovery.intake.0.orders.new",
	"recovery.dead.00000000.orders.new", "recovery.outcomes.dead.orders.new", "recovery.breakers.closed.orders",
	"$KV.RECOVERY_STATE.seal", "$KV.RECOVERY_LEASES.shard.0",
	"$JS.API.STREAM.DELETE.RECOVERY_FAILED", "$JS.API.STREAM.DELETE.KV_RECOVERY_STATE", "$JS.API.STREAM.DELETE.RECOVERY_OUTCOMES",
	"$JS.API.STREAM.PURGE.RECOVERY_FAILED", "$JS.API.STREAM.PURGE.RECOVERY_DEAD", "$JS.API.STREAM.PURGE.RECOVERY_OUTCOMES",
	"$JS.API.STREAM.UPDATE.RECOVERY_FAILED", "$JS.API.STREAM.CREATE.OTHER", "$JS.API.STREAM.MSG.DELETE.RECOVERY_DEAD", "$JS.API.STREAM.MSG.DELETE.RECOVERY_LEDGER_0",
	"$JS.API.DIRECT.GET.KV_RECOVERY_STATE.$KV.RECOVERY_STATE.seal", "$JS.API.STREAM.MSG.GET.KV_RECOVERY_STATE", "$JS.API.DIRECT.GET.RECOVERY_LEDGER_0",
	"$JS.API.CONSUMER.CREATE.RECOVERY_FAILED.x", "$JS.API.CONSUMER.CREATE.RECOVERY_DEAD.x", "$JS.API.CONSUMER.CREATE.KV_RECOVERY_STATE.x",
	"$JS.API.CONSUMER.CREATE.RECOVERY_LEDGER_0.x", "$JS.API.CONSUMER.CREATE.RECOVERY_SUCCEEDED.recoveryd", "$JS.API.CONSUMER.MSG.NEXT.RECOVERY_SUCCEEDED.recoveryd",
	"$JS.API.CONSUMER.DELETE.RECOVERY_SUCCEEDED.recoveryd", "$JS.ACK.RECOVERY_SUCCEEDED.recoveryd.1.1.1.1.0",
	"orders.new", "payments.new", "$SYS.REQ.SERVER.PING",
}

// What nobody may listen to who is no daemon; _INBOX_daemon is the daemon's inbox here.
var secrets = []string{
	">", "recovery.>", "recovery.failed.>", "recovery.succeeded.>", "recovery.intake.>", "recovery.ledger.>", "recovery.dead.>", "recovery.api.v1.>",
	"recovery.api.v1.*.*", "recovery.api.v1.at.>", "$JS.>", "$KV.>", "$KV.RECOVERY_STATE.>", "orders.>", "_INBOX_daemon.>", "$SRV.PING",
}

// Nobody can do what is another's.
func TestNobodyCanDoMore(t *testing.T) {
	t.Parallel()
	s := newScene(t, policyFile(t))
	s.inbox["daemon"] = "_INBOX_daemon"
	s.at(serve(t, configure(t, jetStream(t, ""), s.users()...)))
	s.daemon("one")
	before := s.holds()
	for name, denied := range map[string]struct{ publish, subscribe []string }{
		"worker": {append(slices.Clone(internal),
			"recovery.failed.payments.new", "recovery.succeeded.payments.new", "recovery.failed.mended.new", "recovery.failed.orders", "recovery.api.v1.status.get", "recovery.api.v1.replay.create", "recovery.api.v1.at.one.waiting.ls",
			"$JS.API.STREAM.INFO.RECOVERY_DEAD", "$JS.API.DIRECT.GET.RECOVERY_DEAD", "$JS.API.CONSUMER.CREATE.RECOVERY_OUTCOMES.x",
		), append(slices.Clone(secrets), "recovery.outcomes.>", "recovery.breakers.>")},
		"observer": {append(slices.Clone(internal),
			"recovery.failed.orders.new", "recovery.succeeded.orders.new", "recovery.api.v1.status.get", "recovery.api.v1.replay.create", "recovery.api.v1.at.one.waiting.ls",
			"$JS.API.STREAM.INFO.RECOVERY_DEAD", "$JS.API.DIRECT.GET.RECOVERY_DEAD", "$JS.API.STREAM.UPDATE.RECOVERY_OUTCOMES",
		), secrets},
		"operator": {append(slices.Clone(internal),
			"recovery.failed.orders.new", "recovery.succeeded.orders.new", "$JS.API.STREAM.UPDATE.RECOVERY_OUTCOMES",
			"$JS.API.CONSUMER.DELETE.RECOVERY_OUTCOMES.watcher", "$JS.ACK.RECOVERY_OUTCOMES.watcher.1.1.1.1.0",
		), append(slices.Clone(secrets), "recovery.outcomes.>", "recovery.breakers.>")},
		"daemon": {[]string{
			"payments.new", "orders", "send", "recovery.intake.0.orders.new", "recovery.failed.orders.new", "recovery.succeeded.orders.new", "recovery.api.v1.status.get",
			"$JS.API.STREAM.DELETE.RECOVERY_FAILED", "$JS.API.STREAM.PURGE.ORDERS", "$JS.API.STREAM.PURGE.KV_RECOVERY_STATE", "$JS.API.STREAM.CREATE.OTHER",
			"$JS.API.STREAM.INFO.ORDERS", "$JS.API.STREAM.MSG.GET.ORDERS", "$JS.ACK.ORDERS.worker.1.1.0.0.0", "$JS.API.CONSUMER.CREATE.ORDERS.x", "$JS.API.CONSUMER.MSG.NEXT.STOCK.book", "$KV.OTHER.x", "$SYS.REQ.SERVER.PING",
		}, []string{">", "orders.>", "recovery.failed.>", "recovery.ledger.>", "_INBOX.>", "$JS.>"}},
	} {
		nc := s.connect(name)
		for _, subject := range denied.publish {
			s.denied(nc, violation{name, "publish", subject}, func() error { return nc.Publish(subject, []byte("{}")) })
		}
		for _, subject := range denied.subscribe {
			s.denied(nc, violation{name, "subscribe", subject}, func() error { _, err := nc.SubscribeSync(subject); return err })
		}
	}
	if after := s.holds(); !slices.Equal(before, after) {
		t.Errorf("the streams held %v and hold %v", before, after)
	}
}

// A daemon with the built-in policy works, and may send work to every subject, but cannot
// delete streams or report failures.
func TestTheBuiltInPolicyIsWide(t *testing.T) {
	t.Parallel()
	s := newScene(t, "")
	s.at(serve(t, configure(t, jetStream(t, ""), s.users()...)))
	s.daemon("one")
	told := s.observe()
	s.stream("ORDERS", "orders.>")
	s.report("orders.new", "order-1")
	s.outcome(told, "order-1", schemas.KindRedelivered)
	for _, v := range s.server.violations(t) {
		t.Error(v)
	}
	nc := s.connect("daemon")
	for _, subject := range []string{
		"$JS.API.STREAM.DELETE.RECOVERY_FAILED", "$JS.API.STREAM.SNAPSHOT.ORDERS", "$SYS.REQ.SERVER.PING", "recovery.failed.orders.new", "recovery.succeeded.orders.new", "recovery.intake.0.orders.new",
	} {
		s.denied(nc, violation{"daemon", "publish", subject}, func() error { return nc.Publish(subject, nil) })
	}
}

// A daemon that may not look at a consumer says how it may.
func TestAConsumerThatTheDaemonMayNotSee(t *testing.T) {
	t.Parallel()
	s := newScene(t, policyFile(t))
	s.at(serve(t, configure(t, jetStream(t, ""), s.users()...)))
	s.daemon("one")
	s.stream("ORDERS", "orders.>")
	_, stderr, code := s.try("operator", "watch", "add", "ORDERS", "worker", "--yes")
	if code != 1 || !strings.Contains(stderr, "recoveryd permissions daemon --watch ORDERS/worker") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if want := (violation{"daemon", "publish", "$JS.API.STREAM.INFO.ORDERS"}); !slices.Contains(s.server.violations(t), want) {
		t.Errorf("the server did not tell that %s", want)
	}
}

// denied does something, and wants the server to deny it.
func (s *scene) denied(nc *nats.Conn, want violation, do func() error) {
	s.t.Helper()
	if err := do(); err != nil {
		s.t.Fatalf("%s: %v", want, err)
	}
	if err := nc.Flush(); err != nil {
		s.t.Fatal(err)
	}
	if !slices.Contains(s.server.violations(s.t), want) {
		s.t.Errorf("%s may %s %s", want.user, want.what, want.subject)
	}
}

// holds is how many messages were ever stored in the streams that only a daemon changes
// when something happens.
func (s *scene) holds() (last []uint64) {
	s.t.Helper()
	for _, name := range s.stores() {
		if strings.HasPrefix(name, "KV_") {
			continue // leases are kept all the time
		}
		stream, err := s.js.Stream(s.t.Context(), name)
		if err != nil {
			s.t.Fatalf("stream %s: %v", name, err)
		}
		last = append(last, stream.CachedInfo().State.LastSeq)
	}
	return last
}

// Who shares the inbox of a daemon reads what it reads, and the key of the seals; with an
// inbox of its own it is alone.
func TestAnInboxOfItsOwnKeepsSecrets(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		inbox string
		heard bool
	}{"shared": {"", true}, "its own": {"_INBOX_daemon", false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, policyFile(t))
			s.inbox["daemon"] = test.inbox
			s.at(serve(t, configure(t, jetStream(t, ""), s.users()...)))
			var mu sync.Mutex
			var heard []string
			spy := s.connect("observer")
			if _, err := spy.Subscribe("_INBOX.>", func(m *nats.Msg) {
				mu.Lock()
				defer mu.Unlock()
				heard = append(heard, m.Subject, m.Header.Get("Nats-Subject"))
			}); err != nil {
				t.Fatal(err)
			}
			if err := spy.Flush(); err != nil {
				t.Fatal(err)
			}
			s.daemon("one")
			told := s.observe()
			s.report("orders.new", "order-1")
			s.outcome(told, "order-1", schemas.KindScheduled)
			s.daemon("two") // which reads the key that the first one made
			if err := spy.Flush(); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			defer mu.Unlock()
			report := func(subject string) bool { return strings.HasPrefix(subject, "recovery.intake.") }
			if slices.ContainsFunc(heard, report) != test.heard {
				t.Errorf("reports were heard: %v, want %v: %q", !test.heard, test.heard, heard)
			}
			if slices.Contains(heard, "$KV.RECOVERY_STATE.seal") != test.heard {
				t.Errorf("the key of the seals was heard: %v, want %v", !test.heard, test.heard)
			}
		})
	}
}
