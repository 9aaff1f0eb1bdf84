package clients

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

// runWorker is a worker that knows nothing of being killed. Its work is to publish to
// done.<order>; each order fails at the first attempt, half of them by a panic.
func runWorker(url string) error {
	nc, err := bus.Connect(bus.Options{Servers: url, Name: "worker"})
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	consumer, err := js.Consumer(context.Background(), "ORDERS", "worker")
	if err != nil {
		return err
	}
	reporter, err := bus.NewReporter(nc, bus.ReporterOptions{})
	if err != nil {
		return err
	}
	return bus.Consume(context.Background(), consumer, reporter, func(ctx context.Context, m jetstream.Msg) error {
		select {
		case <-time.After(rand.N(20 * time.Millisecond)): // the work
		case <-ctx.Done():
			return ctx.Err()
		}
		if m.Headers().Get(schemas.HeaderAttempt) == "" {
			if m.Data()[len(m.Data())-1]%2 == 0 {
				panic("first attempt")
			}
			return errors.New("first attempt")
		}
		_, err := js.Publish(ctx, "done."+string(m.Data()), nil)
		return err
	}, bus.ConsumeOptions{Concurrency: concurrency, ReportSuccess: true})
}

const concurrency = 16

func startWorker(t *testing.T, url string) (kill func()) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	worker := exec.Command(exe)
	worker.Env = append(os.Environ(), roleVariable+"=worker", "NATS_URL="+url)
	worker.Stderr = os.Stderr
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	kill = func() {
		once.Do(func() {
			_ = worker.Process.Kill() // SIGKILL; it may have ended by itself
			_ = worker.Wait()
		})
	}
	t.Cleanup(kill)
	return kill
}

// A worker is killed with SIGKILL again and again while it handles messages. Every order is
// done in the end, and only what was in its hands at those moments is done twice.
func TestKilledWorkersLoseNothing(t *testing.T) {
	t.Parallel()
	const n, kills = 600, 4
	r := newRig(t)
	consumer := r.orders(2 * time.Second)
	if _, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "DONE", Subjects: []string{"done.>"}}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		r.publish(fmt.Sprintf("orders.%d", i%20), fmt.Sprint(i))
	}
	done := make(chan string, 10*n)
	if _, err := r.nc.Subscribe("done.>", func(m *nats.Msg) { done <- m.Subject }); err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	work := func(until int) {
		t.Helper()
		for late := time.After(patience); len(times) < until; {
			select {
			case subject := <-done:
				times[subject]++
			case <-late:
				t.Fatalf("%d of %d orders were done", len(times), until)
			}
		}
	}
	for i := range kills {
		kill := startWorker(t, r.url)
		work((i + 1) * n / (kills + 1))
		kill()
	}
	kill := startWorker(t, r.url)
	work(n)
	settled(t, consumer)
	kill()
	again := 0
	for _, k := range times {
		again += k - 1
	}
	if most := kills * concurrency; again > most {
		t.Errorf("%d orders were done twice, at most %d were in hands", again, most)
	}
	t.Logf("%d orders, %d kills, %d done twice", n, kills, again)
}

// settled waits until the consumer has nothing left to deliver or to hear of.
func settled(t *testing.T, c jetstream.Consumer) {
	t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for late := time.After(patience); ; {
		info, err := c.Info(t.Context())
		if err == nil && info.NumPending == 0 && info.NumAckPending == 0 {
			return
		}
		select {
		case <-look.C: // acknowledgements are not announced
		case <-late:
			t.Fatalf("not settled: %+v, %v", info, err)
		}
	}
}
