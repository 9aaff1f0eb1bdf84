package bus_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

// Everything that happens to one piece of work, to its end.
func ExampleOutcomes() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nc, stop := startRecoveryd(ctx)
	defer stop()
	defer failAlways(ctx, nc)()

	outcomes, err := bus.Outcomes(ctx, nc, bus.ListenOptions{Subject: "orders.>", ID: "order-42"})
	if err != nil {
		log.Fatal(err)
	}
	defer outcomes.Stop()
	reportOrder(ctx, nc, "order-42")
	for o, err := range outcomes.All(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("attempt", o.Attempt, o.Kind)
		if schemas.Terminal(o.Kind) {
			break
		}
	}
	// Output:
	// attempt 2 redelivered
	// attempt 3 redelivered
	// attempt 3 dead
}

// A consumer with a name goes on where it was, and hears what happened while nobody
// listened.
func ExampleOutcomes_durable() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nc, stop := startRecoveryd(ctx)
	defer stop()

	for _, order := range []string{"order-1", "order-2"} {
		billing, err := bus.Outcomes(ctx, nc, bus.ListenOptions{Durable: "billing", Kinds: []string{"redelivered"}})
		if err != nil {
			log.Fatal(err)
		}
		reportOrder(ctx, nc, order)
		o, err := billing.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(o.ID)
		billing.Stop() // before the next one was asked for: this one is told again
	}
	// Output:
	// order-1
	// order-1
}

// Breakers say when a dependency fails, and when it is back.
func ExampleBreakerEvents() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nc, stop := startRecoveryd(ctx)
	defer stop()

	breakers, err := bus.BreakerEvents(ctx, nc, bus.ListenOptions{Kinds: []string{"opened", "closed"}})
	if err != nil {
		log.Fatal(err)
	}
	defer breakers.Stop()
	for i := range 5 {
		reportOrder(ctx, nc, fmt.Sprint("order-", i))
	}
	b, err := breakers.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(b.Key, b.From, "to", b.To)
	// Output: orders.new closed to open
}

func reportOrder(ctx context.Context, nc *nats.Conn, id string) {
	m := nats.NewMsg("orders.new")
	m.Header.Set(schemas.HeaderID, id)
	must(must(bus.NewReporter(nc, bus.ReporterOptions{})).FailedMsg(ctx, m, errRefused))
}

// failAlways is a worker whose work never succeeds.
func failAlways(ctx context.Context, nc *nats.Conn) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	reporter := must(bus.NewReporter(nc, bus.ReporterOptions{}))
	consumer := must(must(jetstream.New(nc)).CreateConsumer(ctx, "ORDERS", jetstream.ConsumerConfig{Durable: "worker"}))
	done := make(chan error, 1)
	go func() {
		done <- bus.Consume(ctx, consumer, reporter, func(context.Context, jetstream.Msg) error { return errRefused }, bus.ConsumeOptions{})
	}()
	return func() {
		cancel()
		if err := <-done; err != nil {
			log.Fatal(err)
		}
	}
}
