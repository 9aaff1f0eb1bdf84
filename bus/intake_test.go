package bus_test

import (
	"context"
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
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

// filtersOf are those of a shard's reports, but for what the first one has besides.
func filtersOf(shard int) []string { return names.IntakeParts(shard)[0] }

// intake reads reports; that it begins anew is told as a report with the sequence 0.
func intake(t testing.TB, b *bus.Bus, filters []string) (<-chan schemas.Stored, func()) {
	t.Helper()
	got := make(chan schemas.Stored, 20000)
	stop, err := b.Intake(t.Context(), filters, func(m schemas.Stored) { got <- m }, func() { got <- schemas.Stored{} })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return got, stop
}

// wantSequences takes as many reports and compares.
func wantSequences(t testing.TB, got <-chan schemas.Stored, want ...uint64) {
	t.Helper()
	for _, seq := range want {
		if m := receive(t, got); m.Sequence != seq {
			t.Fatalf("got report %d, want %d of %d", m.Sequence, seq, want)
		}
	}
}

func purgeIntake(t testing.TB, b *bus.Bus, filters []string, before uint64) {
	t.Helper()
	if err := b.PurgeIntake(t.Context(), filters, before); err != nil {
		t.Fatal(err)
	}
}

// wantStored compares what the stream of failures holds.
func wantStored(t testing.TB, nc *nats.Conn, want map[string]uint64) {
	t.Helper()
	got := streamInfo(t, jetStream(t, nc), "RECOVERY_FAILED", jetstream.WithSubjectFilter(">")).State.Subjects
	if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Errorf("stored are %v, want %v", got, want)
	}
}

func TestIntakeDeliversAsStored(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	mine := inShard(2)
	store(t, b, names.Failed(inShard(1)), "of another shard")
	if _, err := publish(t, b, schemas.Message{Subject: names.Failed(mine), Header: schemas.Header{"recovery-error": {"x"}}, Body: []byte("first")}); err != nil {
		t.Fatal(err)
	}
	store(t, b, names.Failed(inShard(3)), "of another shard")
	got, _ := intake(t, b, filtersOf(2))
	store(t, b, names.Failed(mine), "second")
	first, second := receive(t, got), receive(t, got)
	if first.Subject != names.Intake(2, mine) || first.Sequence != 2 || first.Time.IsZero() ||
		!reflect.DeepEqual(first.Header, schemas.Header{"recovery-error": {"x"}}) || string(first.Body) != "first" {
		t.Errorf("got %+v", first)
	}
	if second.Sequence != 4 || second.Time.Before(first.Time) || string(second.Body) != "second" {
		t.Errorf("got %+v after %+v", second, first)
	}
}

// A former owner may still read when the next one does.
func TestIntakeTakesNothingAway(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	for range 3 {
		store(t, b, names.Failed(inShard(0)), "x")
	}
	former, _ := intake(t, b, filtersOf(0))
	wantSequences(t, former, 1, 2, 3)
	next, _ := intake(t, newBus(t, nc, testConfig()), filtersOf(0))
	store(t, b, names.Failed(inShard(0)), "x")
	wantSequences(t, former, 4)
	wantSequences(t, next, 1, 2, 3, 4)
	wantStored(t, nc, map[string]uint64{names.Intake(0, inShard(0)): 4})
}

func TestPurgeIntake(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	a, c := inShard(1), inShard(2)
	for range 3 { // sequences 1, 3, 5 and 2, 4, 6
		store(t, b, names.Failed(a), "x")
		store(t, b, names.Failed(c), "x")
	}
	for _, before := range []uint64{0, 1} { // nothing is below
		purgeIntake(t, b, filtersOf(1), before)
	}
	wantStored(t, nc, map[string]uint64{names.Intake(1, a): 3, names.Intake(2, c): 3})
	purgeIntake(t, b, filtersOf(1), 5)
	wantStored(t, nc, map[string]uint64{names.Intake(1, a): 1, names.Intake(2, c): 3})
	got, _ := intake(t, b, filtersOf(1))
	wantSequences(t, got, 5)
	purgeIntake(t, b, append(filtersOf(1), filtersOf(2)...), 7)
	wantStored(t, nc, nil)
	if err := jetStream(t, nc).DeleteStream(t.Context(), "RECOVERY_FAILED"); err != nil {
		t.Fatal(err)
	}
	wantError(t, b.PurgeIntake(t.Context(), filtersOf(1), 7), schemas.ErrNotFound, filtersOf(1)[0])
}

func TestIntakeBeginsAnewWithoutItsConsumer(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	got, _ := intake(t, b, filtersOf(0))
	const total = 60
	for i := range total {
		store(t, b, names.Failed(inShard(0)), "x")
		if i == total/2 {
			deleteConsumers(t, nc, "RECOVERY_FAILED")
		}
	}
	anew := 0
	for last := uint64(0); last < total; {
		switch m := receive(t, got); m.Sequence {
		case 0:
			anew, last = anew+1, 0
		case last + 1:
			last++
		default:
			t.Fatalf("report %d came after %d", m.Sequence, last)
		}
	}
	if anew == 0 {
		t.Error("it lost its consumer and did not begin anew")
	}
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
	store(t, b, names.Failed(inShard(0)), "before")
	got, _ := intake(t, b, filtersOf(0))
	wantSequences(t, got, 1)
	restart()
	for receive(t, events) != "reconnected" {
	}
	store(t, b, names.Failed(inShard(0)), "after")
	if m := receive(t, got); m.Sequence != 0 {
		t.Errorf("got report %d, and it did not begin anew", m.Sequence)
	}
	for { // more than once, if the server is not ready at once
		if m := receive(t, got); m.Sequence == 1 {
			break
		}
	}
	wantSequences(t, got, 2)
}

// Sequences must go on behind what was removed, or the next owner passes over new reports
// as settled ones.
func TestPurgedIntakeGoesOnAfterARestartOfTheServer(t *testing.T) {
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
	for range 3 {
		store(t, b, names.Failed(inShard(0)), "x")
	}
	purgeIntake(t, b, filtersOf(0), 4)
	restart()
	for receive(t, events) != "reconnected" {
	}
	got, _ := intake(t, b, filtersOf(0))
	if ack := store(t, b, names.Failed(inShard(0)), "x"); ack.Sequence != 4 {
		t.Errorf("the first report after the restart has sequence %d, want 4", ack.Sequence)
	}
	wantSequences(t, got, 4)
}

// A report without body and with a Status header looks like the server's own words.
func TestIntakeIsNotMisledByReports(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	hostile := []schemas.Header{
		{"Status": {"409"}, "Description": {"Consumer Deleted"}},
		{"Status": {"503"}},
		{"Status": {"100"}, "Description": {"Idle Heartbeat"}},
		{"Status": {"408"}},
	}
	for _, h := range hostile {
		if _, err := publish(t, b, schemas.Message{Subject: names.Failed(inShard(0)), Header: h}); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := intake(t, b, filtersOf(0))
	for i, h := range hostile {
		if m := receive(t, got); m.Sequence != uint64(i+1) || !reflect.DeepEqual(m.Header, h) {
			t.Errorf("got report %d with %v, want %d with %v", m.Sequence, m.Header, i+1, h)
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
	entered, open := make(chan schemas.Stored, total), make(chan struct{})
	var calls atomic.Int32
	stop, err := b.Intake(t.Context(), filtersOf(0), func(m schemas.Stored) {
		calls.Add(1)
		entered <- m
		<-open
	}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	wantSequences(t, entered, 1)
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := delivered(t, nc); n < 1 || n > 2048 {
		t.Errorf("%d failures were fetched while the first was not finished", n)
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls at once, want one after the other", n)
	}
	close(open)
	for seq := uint64(2); seq <= total; seq++ {
		wantSequences(t, entered, seq)
	}
	stop()
	if n := calls.Load(); n != total {
		t.Errorf("%d calls, want %d", n, total)
	}
}

// delivered is how much the only reader of failures was sent.
func delivered(t testing.TB, nc *nats.Conn) uint64 {
	t.Helper()
	s, err := jetStream(t, nc).Stream(t.Context(), "RECOVERY_FAILED")
	if err != nil {
		t.Fatal(err)
	}
	var all []*jetstream.ConsumerInfo
	list := s.ListConsumers(t.Context())
	for info := range list.Info() {
		all = append(all, info)
	}
	if list.Err() != nil || len(all) != 1 {
		t.Fatalf("there are %d readers, %v; want one", len(all), list.Err())
	}
	return all[0].Delivered.Consumer
}

func TestIntakeTakesTheLargestReports(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	for range 6 {
		store(t, b, names.Failed(inShard(0)), string(make([]byte, b.MaxBody())))
	}
	_, err := publish(t, b, schemas.Message{Subject: names.Failed("x"), Body: make([]byte, b.MaxBody()+1)})
	wantError(t, err, schemas.ErrTooLarge)
	got, _ := intake(t, b, filtersOf(0))
	for range 6 {
		if m := receive(t, got); len(m.Body) != b.MaxBody() {
			t.Errorf("a report has %d bytes, want %d", len(m.Body), b.MaxBody())
		}
	}
}

func TestIntakeStopsWithItsContext(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan schemas.Stored, 10)
	stop, err := b.Intake(ctx, filtersOf(0), func(m schemas.Stored) { got <- m }, func() {})
	if err != nil {
		t.Fatal(err)
	}
	store(t, b, names.Failed(inShard(0)), "x")
	wantSequences(t, got, 1)
	cancel()
	stop()
	store(t, b, names.Failed(inShard(0)), "x")
	if len(got) > 0 {
		t.Error("a report came after the end")
	}
}

func TestIntakeStopsWithItsConnection(t *testing.T) {
	t.Parallel()
	nc := dial(t, startServer(t).URL())
	b := newBus(t, nc, testConfig())
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, stop := intake(t, b, filtersOf(0))
	nc.Close()
	stop() // returns although nothing can be asked any more
}

// The server stores such a report but its transform passes it over.
func TestIntakeOfReportsWithWildcards(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	stray := []string{"recovery.failed.*", "recovery.failed.>", "recovery.failed.orders.*", "recovery.failed.>.a", "recovery.failed.orders.a.>"}
	for _, subject := range stray {
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	plain := inShard(0)
	store(t, b, names.Failed(plain), "x")
	parts := names.IntakeParts(0)
	if len(parts) != 2 || len(names.IntakeParts(1)) != 1 {
		t.Fatalf("the first shard has the parts %v, the second %v", parts, names.IntakeParts(1))
	}
	got, _ := intake(t, b, parts[1])
	for i, subject := range stray {
		if m := receive(t, got); m.Subject != subject || m.Sequence != uint64(i+1) {
			t.Errorf("got report %d on %s, want %d on %s", m.Sequence, m.Subject, i+1, subject)
		}
	}
	others, _ := intake(t, b, parts[0])
	wantSequences(t, others, 6)
	purgeIntake(t, b, parts[1], 5)
	wantStored(t, nc, map[string]uint64{stray[4]: 1, names.Intake(0, plain): 1})
	purgeIntake(t, b, parts[1], 9)
	wantStored(t, nc, map[string]uint64{names.Intake(0, plain): 1})
}

// Whoever reads must learn that the reports are others.
func TestIntakeOfAStreamMadeAnew(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	for range 3 {
		store(t, b, names.Failed(inShard(0)), "x")
	}
	got, _ := intake(t, b, filtersOf(0))
	wantSequences(t, got, 1, 2, 3)
	if err := jetStream(t, nc).DeleteStream(t.Context(), "RECOVERY_FAILED"); err != nil {
		t.Fatal(err)
	}
	if err := newBus(t, nc, testConfig()).Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	store(t, b, names.Failed(inShard(0)), "new")
	wantSequences(t, got, 0)
	if m := receive(t, got); m.Sequence != 1 || string(m.Body) != "new" {
		t.Errorf("got report %d with %q, want the first of the new stream", m.Sequence, m.Body)
	}
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
