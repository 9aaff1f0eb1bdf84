package bus_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/bus/embedded"
	"github.com/recoveryd/recoveryd/schemas"
	"go.uber.org/goleak"
)

// A server of a cluster that makes a store while it stops does not end that store's loop.
func TestMain(m *testing.M) {
	const server = "github.com/nats-io/nats-server/v2/server"
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction(server+".(*fileStore).flushStreamStateLoop"), goleak.IgnoreAnyFunction(server+"/ats.Register.func1"))
}

// patience bounds every wait for something that must happen.
const patience = 30 * time.Second

func startServer(t testing.TB) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func freeAddrs(t testing.TB, n int) []string {
	t.Helper()
	addrs, err := embedded.FreeAddrs(n)
	if err != nil {
		t.Fatal(err)
	}
	return addrs
}

// serveAt runs a server at an address that was free a moment ago.
func serveAt(t testing.TB, address string) {
	t.Helper()
	s, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Addr: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
}

// restartable is a server that comes back on the same port with the same streams.
func restartable(t testing.TB) (address string, restart func()) {
	t.Helper()
	o := embedded.Options{Dir: t.TempDir(), Addr: freeAddrs(t, 1)[0]}
	s, err := embedded.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	return s.URL(), func() {
		s.Stop()
		next, err := embedded.Start(o)
		if err != nil {
			t.Fatal(err)
		}
		s = next
	}
}

func dial(t testing.TB, url string) *nats.Conn {
	t.Helper()
	nc, err := bus.Connect(bus.Options{Servers: url, Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func testConfig() bus.Config {
	return bus.Config{Subjects: schemas.Subjects{Prefix: "recovery"}, StreamPrefix: "RECOVERY"}
}

func newBus(t testing.TB, nc *nats.Conn, c bus.Config) *bus.Bus {
	t.Helper()
	b, err := bus.New(nc, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// start gives a server, a connection and a bus with its streams.
func start(t testing.TB, change ...func(*bus.Config)) (*bus.Bus, *nats.Conn) {
	t.Helper()
	nc := dial(t, startServer(t).URL())
	c := testConfig()
	for _, f := range change {
		f(&c)
	}
	b := newBus(t, nc, c)
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b, nc
}

type answer struct {
	ack schemas.Ack
	err error
}

// publish waits for the answer.
func publish(t testing.TB, b *bus.Bus, m schemas.Message) (schemas.Ack, error) {
	t.Helper()
	got := make(chan answer, 2)
	b.Publish(m, func(a schemas.Ack, err error) { got <- answer{a, err} })
	a := receive(t, got)
	return a.ack, a.err
}

// store publishes what must succeed.
func store(t testing.TB, b *bus.Bus, subject, body string) schemas.Ack {
	t.Helper()
	ack, err := publish(t, b, schemas.Message{Subject: subject, Body: []byte(body)})
	if err != nil {
		t.Fatal(err)
	}
	return ack
}

func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("nothing came within %v", patience)
		panic("not reached")
	}
}
