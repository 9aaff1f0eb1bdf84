// Package integration proves the promises of the recovery loop against real servers.
package integration

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/bus/embedded"
	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

var subjects = schemas.Subjects{Prefix: schemas.DefaultPrefix}

// rig is a server with a recovery engine on it, and a client beside it.
type rig struct {
	t      *testing.T
	server *embedded.Server
	nc     *nats.Conn
	js     jetstream.JetStream
	bus    *bus.Bus
	engine *handlers.Engine
	adapt  []func(*bus.Config)
	stop   func()

	mu       sync.Mutex
	events   []handlers.Event
	outcomes chan schemas.Outcome
}

func (r *rig) Observe(e handlers.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	if e.Kind == handlers.EventFault || e.Kind == handlers.EventAlarm {
		r.t.Logf("event %d: %s %s %s: %v", e.Kind, e.Op, e.Subject, e.ID, e.Err)
	}
}

// count is how many outcomes of a kind were observed.
func (r *rig) count(kind string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, e := range r.events {
		if e.Kind == handlers.EventOutcome && e.Outcome.Kind == kind {
			n++
		}
	}
	return n
}

func newServer(t *testing.T, dir string) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(embedded.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func connect(t *testing.T, url string) *nats.Conn {
	t.Helper()
	nc, err := bus.Connect(bus.Options{Servers: url, Name: "test " + t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// newRig starts everything. change may alter the engine's configuration, adapt the bus's.
func newRig(t *testing.T, policies *handlers.Policies, change func(*handlers.Config), adapt ...func(*bus.Config)) *rig {
	t.Helper()
	r := &rig{t: t, server: newServer(t, t.TempDir()), adapt: adapt}
	r.nc = connect(t, r.server.URL())
	js, err := jetstream.New(r.nc)
	if err != nil {
		t.Fatal(err)
	}
	r.js = js
	r.start(policies, change)
	return r
}

func (r *rig) start(policies *handlers.Policies, change func(*handlers.Config)) {
	t := r.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	nc := connect(t, r.server.URL())
	settings := bus.Config{Subjects: subjects, StreamPrefix: "RECOVERY", Partitions: 4}
	for _, adapt := range r.adapt {
		adapt(&settings)
	}
	b, err := bus.New(nc, settings)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Ensure(ctx); err != nil {
		t.Fatal(err)
	}
	key, err := b.SealKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c := handlers.Config{
		Bus: b, Dead: b, Subjects: subjects, Policies: policies, SealKey: key, Created: b.Created(), Shards: b.Partitions(), Observer: r,
	}
	if change != nil {
		change(&c)
	}
	engine, err := handlers.New(c)
	if err != nil {
		t.Fatal(err)
	}
	run, cancelRun := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- engine.Run(run) }()
	r.bus, r.engine = b, engine
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancelRun()
			if err := <-done; err != nil {
				t.Errorf("engine: %v", err)
			}
			b.Close()
			nc.Close()
		})
	}
	t.Cleanup(r.stop)
}

// stream makes a stream of the application.
func (r *rig) stream(name string, subjects ...string) jetstream.Stream {
	r.t.Helper()
	s, err := r.js.CreateStream(r.t.Context(), jetstream.StreamConfig{Name: name, Subjects: subjects})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// fail reports that work failed.
func (r *rig) fail(subject string, body []byte, headers ...string) *jetstream.PubAck {
	r.t.Helper()
	m := nats.NewMsg(subjects.Failed(subject))
	m.Data = body
	for i := 0; i+1 < len(headers); i += 2 {
		m.Header.Add(headers[i], headers[i+1])
	}
	ack, err := r.js.PublishMsg(r.t.Context(), m)
	if err != nil {
		r.t.Fatalf("report %s: %v", subject, err)
	}
	return ack
}

// failAgain reports the failure of a delivery, echoing its headers as a worker does.
func (r *rig) failAgain(m jetstream.Msg, errText string) {
	r.t.Helper()
	report := nats.NewMsg(subjects.Failed(m.Subject()))
	report.Data = m.Data()
	for name, values := range m.Headers() {
		if len(name) < 5 || name[:5] != "Nats-" {
			report.Header[name] = values
		}
	}
	report.Header.Set(schemas.HeaderError, errText)
	if _, err := r.js.PublishMsg(r.t.Context(), report); err != nil {
		r.t.Fatalf("report %s: %v", m.Subject(), err)
	}
}

// consume hands every message of a stream to on, in order.
func (r *rig) consume(stream string, on func(jetstream.Msg)) {
	r.t.Helper()
	c, err := r.js.OrderedConsumer(r.t.Context(), stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		r.t.Fatal(err)
	}
	cc, err := c.Consume(on)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(cc.Stop)
}

// wait fails the test unless a value comes in time.
func wait[T any](t *testing.T, what string, c <-chan T, timeout time.Duration) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(timeout):
		t.Fatalf("%s did not come within %s", what, timeout)
		panic("unreachable")
	}
}

func policies(t *testing.T, specs ...schemas.PolicySpec) *handlers.Policies {
	t.Helper()
	p, err := handlers.CompilePolicies(schemas.PolicyDocument{Version: 1, Policies: specs}, subjects)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func duration(d time.Duration) *schemas.Duration { v := schemas.Duration(d); return &v }
func number(n int) *int                          { return &n }
func text(format string, args ...any) []byte     { return fmt.Appendf(nil, format, args...) }
