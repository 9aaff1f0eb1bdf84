package bus_test

import (
	"context"
	"log"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/bus/embedded"
	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// startRecoveryd runs a server, the recovery engine of the daemon, and a stream ORDERS.
// Work is tried three times, 50 ms and 100 ms apart; five failures open a breaker.
func startRecoveryd(ctx context.Context) (nc *nats.Conn, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	server := must(embedded.Start(embedded.Options{}))
	nc = must(bus.Connect(bus.Options{Servers: server.URL()}))
	b := must(bus.New(nc, testConfig()))
	if err := b.Ensure(ctx); err != nil {
		log.Fatal(err)
	}
	none, delay := "none", schemas.Duration(50*time.Millisecond)
	engine := must(handlers.New(handlers.Config{
		Bus: b, Subjects: names, SealKey: must(b.SealKey(ctx)), Created: b.Created(), Shards: b.Partitions(),
		Policies: must(handlers.CompilePolicies(schemas.PolicyDocument{Version: 1, Policies: []schemas.PolicySpec{
			{Name: "orders", Subjects: []string{"orders.>"}, Retry: schemas.RetrySpec{Jitter: &none, InitialDelay: &delay}},
		}}, names)),
	}))
	must(must(jetstream.New(nc)).CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}))
	done := make(chan error, 1)
	go func() { done <- engine.Run(ctx) }()
	return nc, func() {
		cancel()
		if err := <-done; err != nil {
			log.Fatal(err)
		}
		b.Close()
		nc.Close()
		server.Stop()
	}
}

// worker is a consumer of ORDERS with one order to do.
func worker(ctx context.Context, nc *nats.Conn) jetstream.Consumer {
	js := must(jetstream.New(nc))
	must(js.Publish(ctx, "orders.new", []byte(`{"id":42}`)))
	return must(js.CreateConsumer(ctx, "ORDERS", jetstream.ConsumerConfig{Durable: "worker"}))
}
