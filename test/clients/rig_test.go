// Package clients proves that programs in any language work with recoveryd as the
// documentation says: in Go, in Node.js, and with the stock nats tool.
package clients

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/bus/embedded"
	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

var subjects = schemas.Subjects{Prefix: schemas.DefaultPrefix}

// roleVariable makes this test binary run as the worker that gets killed.
const roleVariable = "RECOVERYD_CLIENTS_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == "worker" {
		if err := runWorker(os.Getenv("NATS_URL")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// patience bounds every wait for something that must happen.
const patience = time.Minute

// rig is a server, the recovery engine of the daemon, and a client beside it.
type rig struct {
	t   *testing.T
	url string
	nc  *nats.Conn
	js  jetstream.JetStream
}

// newRig serves orders.> and mail.> with three attempts, 100 ms and 200 ms apart, and success by report.
func newRig(t *testing.T) *rig {
	t.Helper()
	server, err := embedded.Start(embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	r := &rig{t: t, url: server.URL(), nc: dial(t, server.URL())}
	if r.js, err = jetstream.New(r.nc); err != nil {
		t.Fatal(err)
	}
	r.recover()
	return r
}

func dial(t *testing.T, url string) *nats.Conn {
	t.Helper()
	nc, err := bus.Connect(bus.Options{Servers: url, Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// recover runs the engine until the test ends.
func (r *rig) recover() {
	t := r.t
	t.Helper()
	b, err := bus.New(dial(t, r.url), bus.Config{Subjects: subjects, StreamPrefix: "RECOVERY"})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	key, err := b.SealKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	none, delay := "none", schemas.Duration(100*time.Millisecond)
	p, err := handlers.CompilePolicies(schemas.PolicyDocument{Version: 1, Policies: []schemas.PolicySpec{{
		Name: "orders", Subjects: []string{"orders.>", "mail.>"}, SuccessEvidence: "report",
		Retry: schemas.RetrySpec{Jitter: &none, InitialDelay: &delay}, Breaker: schemas.BreakerSpec{Disabled: true},
	}}}, subjects)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := handlers.New(handlers.Config{
		Bus: b, Advisories: b, Subjects: subjects, Policies: p, SealKey: key, Created: b.Created(), Shards: b.Partitions(),
	})
	if err != nil {
		t.Fatal(err)
	}
	endpoints := map[string]bus.Endpoint{}
	for name, answer := range engine.API() {
		endpoints[name] = answer
	}
	withdraw, err := b.Serve("test", endpoints)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- engine.Run(ctx) }()
	t.Cleanup(func() {
		withdraw()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("engine: %v", err)
		}
		b.Close()
	})
}

// orders makes the stream ORDERS and a consumer named worker on it.
func (r *rig) orders(ackWait time.Duration) jetstream.Consumer {
	r.t.Helper()
	stream, err := r.js.CreateStream(r.t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}})
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := stream.CreateConsumer(r.t.Context(), jetstream.ConsumerConfig{Durable: "worker", AckWait: ackWait})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) publish(subject, body string) {
	r.t.Helper()
	if _, err := r.js.Publish(r.t.Context(), subject, []byte(body)); err != nil {
		r.t.Fatal(err)
	}
}

// outcomes listens until the test ends.
func (r *rig) outcomes(o bus.ListenOptions) *bus.Listener[schemas.Outcome] {
	r.t.Helper()
	l, err := bus.Outcomes(r.t.Context(), r.nc, o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(l.Stop)
	return l
}

// terminal collects the last outcome of each of n subjects.
func (r *rig) terminal(l *bus.Listener[schemas.Outcome], n int) map[string]schemas.Outcome {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	last := map[string]schemas.Outcome{}
	for len(last) < n {
		o, err := l.Next(ctx)
		if err != nil {
			r.t.Fatalf("%d of %d came to an end: %v", len(last), n, err)
		}
		if schemas.Terminal(o.Kind) {
			last[o.Subject] = o
		}
	}
	return last
}
