package bus_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

// workConsumer makes a stream of work and a consumer named worker on it.
func workConsumer(t testing.TB, js jetstream.JetStream, stream, subject string, c jetstream.ConsumerConfig) jetstream.Consumer {
	t.Helper()
	makeStream(t, js, jetstream.StreamConfig{Name: stream, Subjects: []string{subject}})
	c.Durable = "worker"
	consumer, err := js.CreateConsumer(t.Context(), stream, c)
	if err != nil {
		t.Fatal(err)
	}
	return consumer
}

// ackWatch sees what is acknowledged on a consumer, and when.
type ackWatch struct {
	mu   sync.Mutex
	acks map[uint64]time.Time // by sequence in the stream
	all  chan struct{}
}

func watchAcks(t testing.TB, nc *nats.Conn, want int) *ackWatch {
	t.Helper()
	w := &ackWatch{acks: map[uint64]time.Time{}, all: make(chan struct{})}
	_, err := nc.Subscribe("$JS.ACK.WORK.worker.>", func(m *nats.Msg) {
		if string(m.Data) != "+ACK" {
			return
		}
		seq, err := strconv.ParseUint(strings.Split(m.Subject, ".")[5], 10, 64)
		if err != nil {
			t.Error(err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if _, again := w.acks[seq]; !again {
			w.acks[seq] = time.Now()
			if len(w.acks) == want {
				close(w.all)
			}
		}
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// errorsSeen collects what OnError is told.
type errorsSeen struct {
	mu  sync.Mutex
	all []string
}

func (e *errorsSeen) add(_ jetstream.Msg, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, err.Error())
}

func (e *errorsSeen) mention(text string) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.all {
		if strings.Contains(s, text) {
			n++
		}
	}
	return n
}

// consume runs Consume until stop is called, which returns its result.
func consume(t testing.TB, c jetstream.Consumer, r *bus.Reporter, h bus.Handler, o bus.ConsumeOptions) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- bus.Consume(ctx, c, r, h, o) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() { cancel(); err = receive(t, done) })
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

func fill(t testing.TB, js jetstream.JetStream, n int) {
	t.Helper()
	for i := range n {
		if _, err := js.Publish(t.Context(), fmt.Sprintf("work.%d", i), []byte(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
}

// Handlers succeed, fail, panic, end their goroutine, heed their timeout, and do not heed
// it: each message is acknowledged, and only after it succeeded or its report was stored.
func TestEveryMessageEndsInSuccessOrAStoredReport(t *testing.T) {
	t.Parallel()
	const n = 600
	_, nc := start(t)
	js := jetStream(t, nc)
	c := workConsumer(t, js, "WORK", "work.>", jetstream.ConsumerConfig{})
	fill(t, js, n)
	acks := watchAcks(t, nc, n)
	stuck := make(chan struct{})
	var mu sync.Mutex
	succeeded := map[string]bool{}
	var seen errorsSeen
	handler := func(ctx context.Context, m jetstream.Msg) error {
		i, err := strconv.Atoi(string(m.Data()))
		if err != nil {
			return err
		}
		switch {
		case i%100 == 99:
			<-stuck
			return errors.New("nobody hears this")
		case i%50 == 48:
			<-ctx.Done()
			return fmt.Errorf("query: %w", ctx.Err())
		case i%6 == 1:
			return errors.New("refused")
		case i%6 == 2:
			var none map[string]int
			none["x"] = i
		case i%6 == 3:
			runtime.Goexit()
		case i%6 == 4:
			return bus.Permanent(bus.WithCode(errors.New("malformed"), "422"))
		}
		mu.Lock()
		defer mu.Unlock()
		succeeded[string(m.Data())] = true
		return nil
	}
	stop := consume(t, c, newReporter(t, nc, bus.ReporterOptions{}), handler,
		bus.ConsumeOptions{Concurrency: 32, Timeout: time.Second, Grace: 300 * time.Millisecond, OnError: seen.add})
	receive(t, acks.all)
	close(stuck)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := seen.mention("did not return within"); got != n/100 {
		t.Errorf("told of %d handlers that hang, want %d", got, n/100)
	}
	reports := map[string]int{}
	failed, err := js.Stream(t.Context(), "RECOVERY_FAILED")
	if err != nil {
		t.Fatal(err)
	}
	acks.mu.Lock()
	defer acks.mu.Unlock()
	for seq := uint64(1); seq <= failed.CachedInfo().State.LastSeq; seq++ {
		f, _ := storedReport(t, nc, seq)
		reports[string(f.Body)]++
		if ack := acks.acks[f.Origin.Sequence]; f.At.After(ack) {
			t.Errorf("%s was acknowledged %v before its report was stored", f.Subject, f.At.Sub(ack))
		}
		checkReport(t, &f)
	}
	for i := range n {
		body := strconv.Itoa(i)
		if succeeded[body] == (reports[body] > 0) || reports[body] > 1 {
			t.Errorf("message %d: succeeded %v, %d reports", i, succeeded[body], reports[body])
		}
	}
	info, err := c.Info(t.Context())
	if err != nil || info.NumPending > 0 || info.NumAckPending > 0 || info.NumRedelivered > 0 {
		t.Errorf("%d not delivered, %d not acknowledged, %d delivered again, %v", info.NumPending, info.NumAckPending, info.NumRedelivered, err)
	}
}

// checkReport holds a report to what its handler did.
func checkReport(t *testing.T, f *schemas.Failure) {
	t.Helper()
	i, _ := strconv.Atoi(string(f.Body))
	text, class, code := "", "transient", ""
	switch {
	case i%100 == 99:
		text, class = "the handler took longer than it may, and the handler did not return within 300ms after that", "timeout"
	case i%50 == 48:
		text, class = "query: context deadline exceeded", "timeout"
	case i%6 == 1:
		text = "refused"
	case i%6 == 2:
		text, code = "panic: assignment to entry in nil map (bus_test.TestEveryMessageEndsInSuccessOrAStoredReport.func", "panic"
	case i%6 == 3:
		text = "the handler ended its goroutine"
	case i%6 == 4:
		text, class, code = "malformed", "permanent", "422"
	}
	if text == "" || !strings.HasPrefix(f.Error, text) || f.Class != class || f.Code != code {
		t.Errorf("report of %s: %q, class %s, code %q; want %q, %s, %q", f.Body, f.Error, f.Class, f.Code, text, class, code)
	}
	if code == "panic" && !strings.Contains(f.Error, "consume_test.go:") {
		t.Errorf("%q does not say which line panicked", f.Error)
	}
}

func TestUnreportedMessagesStayUnacknowledged(t *testing.T) {
	t.Parallel()
	nc := dial(t, startServer(t).URL())
	js := jetStream(t, nc)
	c := workConsumer(t, js, "WORK", "work.>", jetstream.ConsumerConfig{})
	fill(t, js, 2)
	acks := watchAcks(t, nc, 2)
	var seen errorsSeen
	attempts := make(chan string, 100)
	stop := consume(t, c, newReporter(t, nc, bus.ReporterOptions{Tries: 1}), func(_ context.Context, m jetstream.Msg) error {
		attempts <- string(m.Data())
		return errors.New("refused")
	}, bus.ConsumeOptions{OnError: seen.add})
	for range 4 { // both of them twice
		receive(t, attempts)
	}
	acks.mu.Lock()
	if len(acks.acks) > 0 || seen.mention("start recoveryd once") == 0 || seen.mention("failed with: refused") == 0 {
		t.Errorf("acknowledged %v, told %q", acks.acks, seen.all)
	}
	acks.mu.Unlock()
	if err := newBus(t, nc, testConfig()).Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	receive(t, acks.all)
	if err := stop(); err != nil {
		t.Error(err)
	}
	a, _ := storedReport(t, nc, 1)
	b, _ := storedReport(t, nc, 2)
	if a.ID == b.ID || a.Origin.Deliveries < 2 {
		t.Errorf("reports %+v and %+v", a.Origin, b.Origin)
	}
}

func TestSlowHandlersKeepTheirMessages(t *testing.T) {
	t.Parallel()
	_, nc := start(t)
	js := jetStream(t, nc)
	c := workConsumer(t, js, "WORK", "work.>", jetstream.ConsumerConfig{AckWait: 600 * time.Millisecond})
	extended := make(chan *nats.Msg, 100)
	if _, err := nc.ChanSubscribe("$JS.ACK.WORK.worker.>", extended); err != nil {
		t.Fatal(err)
	}
	fill(t, js, 1)
	running, done := make(chan struct{}, 10), make(chan struct{})
	stop := consume(t, c, newReporter(t, nc, bus.ReporterOptions{}), func(context.Context, jetstream.Msg) error {
		running <- struct{}{}
		<-done
		return nil
	}, bus.ConsumeOptions{Concurrency: 4})
	receive(t, running)
	for range 6 { // 1.2 s
		if m := receive(t, extended); string(m.Data) != "+WPI" {
			t.Fatalf("answered %q", m.Data)
		}
	}
	close(done)
	if err := stop(); err != nil || len(running) > 0 {
		t.Errorf("%d more deliveries, %v", len(running), err)
	}
}

func TestStopWaitsForHandlers(t *testing.T) {
	t.Parallel()
	_, nc := start(t)
	js := jetStream(t, nc)
	c := workConsumer(t, js, "WORK", "work.>", jetstream.ConsumerConfig{})
	fill(t, js, 3)
	var seen errorsSeen
	started, hang := make(chan string, 10), make(chan struct{})
	defer close(hang)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	handler := func(working context.Context, m jetstream.Msg) error {
		started <- string(m.Data())
		<-ctx.Done() // the stop
		switch string(m.Data()) {
		case "0": // finishes
			return nil
		case "1": // heeds the end of its context
			<-working.Done()
			if !errors.Is(context.Cause(working), bus.ErrStopped) {
				t.Errorf("ended by %v", context.Cause(working))
			}
			return working.Err()
		}
		<-hang
		return nil
	}
	result := make(chan error, 1)
	go func() {
		result <- bus.Consume(ctx, c, newReporter(t, nc, bus.ReporterOptions{}), handler,
			bus.ConsumeOptions{Concurrency: 3, Drain: 100 * time.Millisecond, Grace: 500 * time.Millisecond, OnError: seen.add})
	}()
	for range 3 {
		receive(t, started)
	}
	cancel()
	if err := receive(t, result); err == nil || !strings.Contains(err.Error(), "WORK/worker: 1 handlers did not return within 500ms") {
		t.Errorf("stopped with %v", err)
	}
	if reports := streamInfo(t, js, "RECOVERY_FAILED").State.Msgs; reports != 0 {
		t.Errorf("%d reports of work that did not fail", reports)
	}
	m, err := c.Next() // what was given back, at once
	if err != nil || string(m.Data()) != "1" {
		t.Fatalf("given back: %v, %v", m, err)
	}
	if info, err := c.Info(t.Context()); err != nil || info.NumAckPending != 2 {
		t.Errorf("%d wait for an acknowledgement, want that one and the one that hangs, %v", info.NumAckPending, err)
	}
}

func TestSuccessOfRedeliveriesIsReported(t *testing.T) {
	t.Parallel()
	_, nc := start(t)
	js := jetStream(t, nc)
	c := workConsumer(t, js, "WORK", "work.>", jetstream.ConsumerConfig{})
	fill(t, js, 1)
	sealed := nats.NewMsg("work.again")
	sealed.Header = nats.Header{"Recovery-Id": {"work-1"}, "Recovery-Seal": {"s"}}
	if _, err := js.PublishMsg(t.Context(), sealed); err != nil {
		t.Fatal(err)
	}
	acks := watchAcks(t, nc, 2)
	stop := consume(t, c, newReporter(t, nc, bus.ReporterOptions{}), func(_ context.Context, m jetstream.Msg) error {
		return m.Ack() // needless, and no harm
	}, bus.ConsumeOptions{ReportSuccess: true, OnError: func(_ jetstream.Msg, err error) { t.Error(err) }})
	receive(t, acks.all)
	if err := stop(); err != nil {
		t.Error(err)
	}
	state := streamInfo(t, js, "RECOVERY_SUCCEEDED").State
	if state.Msgs != 1 {
		t.Errorf("%d reports of success, want one for the redelivery", state.Msgs)
	}
}

func TestWrapForOnesOwnLoop(t *testing.T) {
	t.Parallel()
	_, nc := start(t)
	js := jetStream(t, nc)
	c := workConsumer(t, js, "WORK", "work.>", jetstream.ConsumerConfig{})
	fill(t, js, 10)
	acks := watchAcks(t, nc, 10)
	handle, err := bus.Wrap(t.Context(), newReporter(t, nc, bus.ReporterOptions{}), func(context.Context, jetstream.Msg) error {
		return errors.New("refused")
	}, bus.ConsumeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cc, err := c.Consume(handle)
	if err != nil {
		t.Fatal(err)
	}
	receive(t, acks.all)
	cc.Stop()
	<-cc.Closed()
	if reports := streamInfo(t, js, "RECOVERY_FAILED").State.Msgs; reports != 10 {
		t.Errorf("%d reports, want 10", reports)
	}
}

func TestConsumeSaysWhenNothingMoreWillCome(t *testing.T) {
	t.Parallel()
	_, nc := start(t)
	js := jetStream(t, nc)
	c := workConsumer(t, js, "WORK", "work.>", jetstream.ConsumerConfig{})
	fill(t, js, 1)
	r := newReporter(t, nc, bus.ReporterOptions{})
	done := func(context.Context, jetstream.Msg) error {
		return js.DeleteConsumer(context.Background(), "WORK", "worker")
	}
	err := bus.Consume(t.Context(), c, r, done, bus.ConsumeOptions{OnError: func(jetstream.Msg, error) {}})
	if err == nil || !strings.Contains(err.Error(), "WORK/worker: nothing more will come") {
		t.Errorf("without a consumer: %v", err)
	}
	none := makeConsumer(t, js, "WORK", jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy})
	if err := bus.Consume(t.Context(), none, r, done, bus.ConsumeOptions{}); err == nil || !strings.Contains(err.Error(), "explicit") {
		t.Errorf("without acknowledgements: %v", err)
	}
	err = bus.Consume(t.Context(), c, r, done, bus.ConsumeOptions{Concurrency: -1, Timeout: -1, Drain: -1, Grace: -1, AckWait: -1})
	for _, field := range []string{"Concurrency", "Timeout", "Drain", "Grace", "AckWait"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v does not name %s", err, field)
		}
	}
	if _, err := bus.Wrap(t.Context(), r, done, bus.ConsumeOptions{Timeout: -1}); err == nil {
		t.Error("Wrap takes what Consume refuses")
	}
}

func makeConsumer(t testing.TB, js jetstream.JetStream, stream string, c jetstream.ConsumerConfig) jetstream.Consumer {
	t.Helper()
	consumer, err := js.CreateConsumer(t.Context(), stream, c)
	if err != nil {
		t.Fatal(err)
	}
	return consumer
}

func TestConsumeOutlivesTheServer(t *testing.T) {
	t.Parallel()
	url, restart := restartable(t)
	nc := dial(t, url)
	if err := newBus(t, nc, testConfig()).Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	js := jetStream(t, nc)
	c := workConsumer(t, js, "WORK", "work.>", jetstream.ConsumerConfig{})
	handled := make(chan string, 100)
	stop := consume(t, c, newReporter(t, nc, bus.ReporterOptions{}), func(_ context.Context, m jetstream.Msg) error {
		handled <- string(m.Data())
		return nil
	}, bus.ConsumeOptions{OnError: func(jetstream.Msg, error) {}})
	fill(t, js, 1)
	receive(t, handled)
	restart()
	other := dial(t, url)
	if _, err := jetStream(t, other).Publish(t.Context(), "work.after", []byte("after")); err != nil {
		t.Fatal(err)
	}
	for receive(t, handled) != "after" { // one whose ack was lost may come again
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
