package bus_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

// inShard is a subject whose failures arrive in a shard.
func inShard(shard int) string {
	for i := 0; ; i++ {
		if s := fmt.Sprintf("orders.%d", i); names.Partition(s, 8) == shard {
			return s
		}
	}
}

func intake(t testing.TB, b *bus.Bus, shard int, since int64) (<-chan schemas.Report, func()) {
	t.Helper()
	got := make(chan schemas.Report, 20000)
	stop, err := b.Intake(t.Context(), shard, time.Unix(since, 0), func(r schemas.Report) { got <- r }, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return got, stop
}

// leftInIntake counts after everything sent so far was processed.
func leftInIntake(t testing.TB, b *bus.Bus) uint64 {
	t.Helper()
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	states, err := b.StreamStates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return states[0].Messages
}

// settled waits until acknowledgements, which the server applies in the background, left
// this many messages.
func settled(t testing.TB, b *bus.Bus, left uint64) {
	t.Helper()
	for deadline := time.Now().Add(patience); leftInIntake(t, b) != left; {
		if time.Now().After(deadline) {
			t.Fatalf("%d failures are left, want %d", leftInIntake(t, b), left)
		}
	}
}

func TestIntakeDeliversAndSettles(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	subject := inShard(2)
	if _, err := publish(t, b, schemas.Message{Subject: names.Failed(subject), Header: schemas.Header{"recovery-error": {"x"}}, Body: []byte("body")}); err != nil {
		t.Fatal(err)
	}
	got, _ := intake(t, b, 2, 1)
	r := receive(t, got)
	if r.Subject != names.Intake(2, subject) || r.Sequence != 1 || r.Time.IsZero() || r.Redelivered ||
		r.Header.Get("recovery-error") != "x" || string(r.Body) != "body" {
		t.Errorf("got %+v", r)
	}
	r.Settle()
	settled(t, b, 0)
}

func TestIntakeMovesToANewOwnerAtOnce(t *testing.T) {
	t.Parallel()
	events := make(chan string, 100)
	b, nc := start(t, func(c *bus.Config) { c.OnEvent = func(kind string, _ error) { events <- kind } })
	const total = 1000
	failed := names.Failed(inShard(0))
	for range total {
		b.Publish(schemas.Message{Subject: failed}, func(schemas.Ack, error) {})
	}
	old, _ := intake(t, b, 0, 1)
	var before []schemas.Report
	for range total {
		before = append(before, receive(t, old))
	}
	other := newBus(t, nc, testConfig())
	started := time.Now()
	fresh, _ := intake(t, other, 0, 2)
	for i := range total {
		if r := receive(t, fresh); r.Sequence != uint64(i+1) {
			t.Fatalf("got failure %d, want %d", r.Sequence, i+1)
		}
	}
	t.Logf("%d failures moved in %v", total, time.Since(started))
	for kind := receive(t, events); kind != "superseded"; kind = receive(t, events) {
	}
	for _, r := range before { // a former owner's word does not count any more
		r.Settle()
	}
	store(t, b, failed, "another one")
	receive(t, fresh).Settle()
	settled(t, b, total)
}

func TestIntakeOfAFormerOwnerIsRefused(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	intake(t, b, 0, 2)
	_, err := b.Intake(t.Context(), 0, time.Unix(1, 0), func(schemas.Report) {}, nil)
	wantError(t, err, schemas.ErrConflict, "shard 0")
	intake(t, b, 1, 1) // another shard is another matter
}

func TestIntakeAgainByTheSameOwner(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	store(t, b, names.Failed(inShard(0)), "x")
	got, stop := intake(t, b, 0, 1)
	receive(t, got)
	stop()
	if got, _ = intake(t, b, 0, 1); receive(t, got).Sequence != 1 {
		t.Error("the failure that was not settled did not come again")
	}
}

func TestIntakeSurvivesTheLossOfItsConsumer(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	store(t, b, names.Failed(inShard(0)), "x")
	got, _ := intake(t, b, 0, 1)
	receive(t, got)
	deleteConsumers(t, nc, "RECOVERY_FAILED")
	receive(t, got).Settle()
	settled(t, b, 0)
}

func TestIntakeSurvivesARestartOfTheServer(t *testing.T) {
	t.Parallel()
	address, restart := restartable(t)
	events := make(chan string, 100)
	nc, err := bus.Connect(bus.Options{Servers: address, OnEvent: func(kind string, _ error) { events <- kind }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	b := newBus(t, nc, testConfig())
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	failed := names.Failed(inShard(0))
	store(t, b, failed, "unsettled")
	got, _ := intake(t, b, 0, 1)
	receive(t, got)
	restart()
	for receive(t, events) != "reconnected" {
	}
	store(t, b, failed, "new")
	for r := receive(t, got); string(r.Body) != "new"; r = receive(t, got) {
	}
}

// A report without body and with a Status header looks like the server's own words.
func TestIntakeIsNotMisledByReports(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	failed := names.Failed(inShard(0))
	hostile := []schemas.Header{
		{"Status": {"409"}, "Description": {"Consumer Deleted"}},
		{"Status": {"503"}},
		{"Status": {"100"}, "Description": {"Idle Heartbeat"}},
		{"Status": {"408"}},
	}
	for _, h := range hostile {
		if _, err := publish(t, b, schemas.Message{Subject: failed, Header: h}); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := intake(t, b, 0, 1)
	for i := range hostile {
		if r := receive(t, got); r.Sequence != uint64(i+1) || r.Redelivered {
			t.Errorf("got failure %d, redelivered %v; want %d for the first time", r.Sequence, r.Redelivered, i+1)
		}
	}
}

func TestIntakeFetchesLittleAhead(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	const total = 5000
	acks := make(chan answer, total)
	for range total {
		b.Publish(schemas.Message{Subject: names.Failed(inShard(0)), Body: make([]byte, 1000)}, func(a schemas.Ack, err error) { acks <- answer{a, err} })
	}
	for range total {
		if a := receive(t, acks); a.err != nil {
			t.Fatal(a.err)
		}
	}
	entered, open := make(chan struct{}, total), make(chan struct{})
	var calls atomic.Int32
	stop, err := b.Intake(t.Context(), 0, time.Unix(1, 0), func(schemas.Report) {
		calls.Add(1)
		entered <- struct{}{}
		<-open
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	receive(t, entered)
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	c, err := jetStream(t, nc).Consumer(t.Context(), "RECOVERY_FAILED", "shard-0-1000000000")
	if err != nil {
		t.Fatal(err)
	}
	if n := c.CachedInfo().NumAckPending; n < 1 || n > 2048 {
		t.Errorf("%d failures were fetched while the first was not finished", n)
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls at once, want one after the other", n)
	}
	close(open)
	for range total - 1 {
		receive(t, entered)
	}
	stop()
	if n := calls.Load(); n != total {
		t.Errorf("%d calls, want %d", n, total)
	}
}

func TestIntakeTakesTheLargestReports(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	for range 6 {
		store(t, b, names.Failed(inShard(0)), string(make([]byte, b.MaxBody())))
	}
	_, err := publish(t, b, schemas.Message{Subject: names.Failed("x"), Body: make([]byte, b.MaxBody()+1)})
	wantError(t, err, schemas.ErrTooLarge)
	got, _ := intake(t, b, 0, 1)
	for range 6 {
		if r := receive(t, got); len(r.Body) != b.MaxBody() {
			t.Errorf("a report has %d bytes, want %d", len(r.Body), b.MaxBody())
		}
	}
}

func TestIntakeStopsWithItsContextAndConnection(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	nc := dial(t, server.URL())
	b := newBus(t, nc, testConfig())
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, stop := intake(t, b, 0, 1)
	nc.Close()
	stop() // returns although nothing can be asked any more
}

func TestSuccessesAreShared(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	other := newBus(t, nc, testConfig())
	got := make(chan schemas.Report, 100)
	for _, replica := range []*bus.Bus{b, other} {
		stop, err := replica.Successes(t.Context(), func(r schemas.Report) { r.Settle(); got <- r })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
	}
	seen := map[uint64]bool{}
	for range 20 {
		store(t, b, names.Succeeded("orders"), "")
	}
	for range 20 {
		r := receive(t, got)
		if seen[r.Sequence] || r.Subject != names.Succeeded("orders") {
			t.Errorf("report %d on %s came twice or is wrong", r.Sequence, r.Subject)
		}
		seen[r.Sequence] = true
	}
}

// The server stores such a report but its transform passes it over.
func TestIntakeOfTheFirstShardTakesReportsWithWildcards(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	if err := nc.Publish("recovery.failed.orders.*", nil); err != nil {
		t.Fatal(err)
	}
	got, _ := intake(t, b, 0, 1)
	r := receive(t, got)
	if r.Subject != "recovery.failed.orders.*" {
		t.Errorf("got a report on %s", r.Subject)
	}
	r.Settle()
	settled(t, b, 0)
}

func TestIntakeThatCannotStartLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	for range 10 {
		store(t, b, names.Failed(inShard(0)), "waits")
	}
	// Somebody else took the place of the second consumer of the first shard.
	if _, err := jetStream(t, nc).CreateConsumer(t.Context(), "RECOVERY_FAILED", jetstream.ConsumerConfig{
		Durable: "foreign", FilterSubject: names.Failed(">"), AckPolicy: jetstream.AckExplicitPolicy,
	}); err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{})
	_, err := b.Intake(t.Context(), 0, time.Unix(1, 0), func(schemas.Report) { <-begun }, nil)
	if err == nil {
		t.Error("the intake started although it could not have all reports")
	}
	close(begun)
}
