package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

var errRefused = errors.New("connection refused")

// A worker whose first try fails. It never sees the machinery: it returns an error, and
// later the order comes again.
func ExampleConsume() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nc, stop := startRecoveryd(ctx)
	defer stop()
	consumer := worker(ctx, nc)

	charge := func(ctx context.Context, m jetstream.Msg) error {
		if m.Headers().Get("Recovery-Attempt") == "" {
			return errRefused
		}
		fmt.Printf("charged %s at attempt %s\n", m.Data(), m.Headers().Get("Recovery-Attempt"))
		cancel()
		return nil
	}
	reporter, err := bus.NewReporter(nc, bus.ReporterOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if err := bus.Consume(ctx, consumer, reporter, charge, bus.ConsumeOptions{Concurrency: 8}); err != nil {
		log.Fatal(err)
	}
	// Output: charged {"id":42} at attempt 2
}

// Any program can report: here the work came over HTTP, and no stream ever held it.
func ExampleReporter_FailedMsg() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nc, stop := startRecoveryd(ctx)
	defer stop()

	reporter, err := bus.NewReporter(nc, bus.ReporterOptions{})
	if err != nil {
		log.Fatal(err)
	}
	order := &nats.Msg{Subject: "orders.new", Header: nats.Header{"Recovery-Id": {"order-42"}}, Data: []byte(`{"id":42}`)}
	id, err := reporter.FailedMsg(ctx, order, errRefused)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("stored as", id)
	// Output: stored as order-42
}

// The same by hand, where Consume does not fit: report, and acknowledge only then.
func ExampleReporter_Failed() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nc, stop := startRecoveryd(ctx)
	defer stop()
	reporter := must(bus.NewReporter(nc, bus.ReporterOptions{}))
	m := must(worker(ctx, nc).Next())

	if _, err := reporter.Failed(ctx, m, errRefused); err != nil {
		log.Fatal(err) // not acknowledged: the consumer delivers it again
	}
	fmt.Println("acknowledged:", m.Ack() == nil)
	// Output: acknowledged: true
}

// A loop of one's own around the messages.
func ExampleWrap() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nc, stop := startRecoveryd(ctx)
	defer stop()
	consumer := worker(ctx, nc)
	reporter := must(bus.NewReporter(nc, bus.ReporterOptions{}))

	done := make(chan struct{})
	handle, err := bus.Wrap(ctx, reporter, func(ctx context.Context, m jetstream.Msg) error {
		fmt.Println(m.Subject())
		close(done)
		return nil
	}, bus.ConsumeOptions{})
	if err != nil {
		log.Fatal(err)
	}
	consuming, err := consumer.Consume(handle)
	if err != nil {
		log.Fatal(err)
	}
	<-done
	consuming.Drain()
	<-consuming.Closed()
	// Output: orders.new
}

// What an error says about itself decides what becomes of the work.
func ExamplePermanent() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nc, stop := startRecoveryd(ctx)
	defer stop()
	reporter := must(bus.NewReporter(nc, bus.ReporterOptions{}))
	outcomes := must(bus.Outcomes(ctx, nc, bus.ListenOptions{Kinds: []string{schemas.KindDead}}))
	defer outcomes.Stop()

	malformed := bus.Permanent(bus.WithCode(errors.New("no such product"), "422"))
	if _, err := reporter.FailedMsg(ctx, nats.NewMsg("orders.new"), malformed); err != nil {
		log.Fatal(err)
	}
	o := must(outcomes.Next(ctx))
	fmt.Println(o.Reason, o.Code, o.Error)
	// Output: permanent 422 no such product
}
