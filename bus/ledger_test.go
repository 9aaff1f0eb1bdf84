package bus_test

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

var names = schemas.Subjects{Prefix: "recovery"}

func sequences(entries []schemas.Stored) []uint64 {
	var out []uint64
	for _, e := range entries {
		out = append(out, e.Sequence)
	}
	return out
}

func readLane(t testing.TB, b *bus.Bus, lane string, from uint64, messages, bytes int) []schemas.Stored {
	t.Helper()
	got, err := b.ReadLane(t.Context(), lane, from, messages, bytes)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestLaneIsReadInOrderByPages(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	lane := names.Due(3, 1700000000)
	var want []uint64
	for i := range 25 {
		store(t, b, names.Due(3, 1700000001), "another lane")
		want = append(want, store(t, b, lane, fmt.Sprint(i)).Sequence)
	}
	var got []uint64
	for from := uint64(0); ; {
		page := readLane(t, b, lane, from, 10, 1<<20)
		if len(page) == 0 {
			break
		}
		got = append(got, sequences(page)...)
		from = page[len(page)-1].Sequence + 1
		if page[0].Time.IsZero() || page[0].Subject != lane {
			t.Errorf("entry %+v lacks time or subject", page[0])
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}
}

func TestLaneWithAnEntryLargerThanAsked(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	lane := names.Signal(0)
	large := string(make([]byte, 500_000))
	store(t, b, lane, large)
	store(t, b, lane, "small")
	got := readLane(t, b, lane, 1, 100, 1000)
	if len(got) != 1 || len(got[0].Body) != len(large) {
		t.Fatalf("got %d entries, want just the large one", len(got))
	}
	if got = readLane(t, b, lane, 2, 100, 1000); len(got) != 1 || string(got[0].Body) != "small" {
		t.Errorf("got %d entries, want the small one", len(got))
	}
}

// What looks like the server's own words in a stored message must not end the reading.
func TestLaneWithMisleadingHeaders(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	lane := names.Signal(0)
	for _, h := range []schemas.Header{
		{"Status": {"503"}},
		{"Status": {"404"}, "Description": {"Message Not Found"}},
		{"Status": {"204"}, "Description": {"EOB"}},
		{"Nats-Subject": {"forged"}, "Nats-Sequence": {"99"}, "Nats-Last-Sequence": {"98"}},
		nil,
	} {
		if _, err := publish(t, b, schemas.Message{Subject: lane, Header: h}); err != nil {
			t.Fatal(err)
		}
	}
	got := readLane(t, b, lane, 1, 100, 1<<20)
	if want := []uint64{1, 2, 3, 4, 5}; !reflect.DeepEqual(sequences(got), want) {
		t.Fatalf("read %v, want %v", sequences(got), want)
	}
	if got[3].Subject != lane || got[3].Header.Get("Nats-Subject") != "forged" {
		t.Errorf("subject %q, header %v: want the lane, and the header as it was stored", got[3].Subject, got[3].Header)
	}
	if len(got[4].Header) != 0 {
		t.Errorf("headers %v came from nowhere", got[4].Header)
	}
}

// What is known by its sequence is found without what stands between, as it was stored.
func TestEntriesAreFoundBySequence(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	lane, other := names.Due(3, 1700000000), names.Due(3, 1700000001)
	var want []uint64
	for i := range 3 * 40 { // more than are asked for at once
		store(t, b, other, "between")
		want = append(want, store(t, b, lane, fmt.Sprint(i)).Sequence)
	}
	forged := schemas.Header{"Nats-Sequence": {"99"}, "Nats-Last-Sequence": {"98"}, "Nats-Num-Pending": {"7"}, "Status": {"404"}}
	ack, err := publish(t, b, schemas.Message{Subject: lane, Header: forged, Body: []byte("last")})
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, ack.Sequence)
	gone := want[50]
	if err := b.DeleteEntry(t.Context(), 3, gone); err != nil {
		t.Fatal(err)
	}
	got, err := b.ReadEntries(t.Context(), lane, want, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	want = slices.Delete(want, 50, 51)
	if !slices.Equal(sequences(got), want) {
		t.Fatalf("read %v, want %v", sequences(got), want)
	}
	last := got[len(got)-1]
	if !reflect.DeepEqual(last.Header, forged) || string(last.Body) != "last" || last.Subject != lane || last.Time.IsZero() {
		t.Errorf("read %+v, want it as it was stored", last)
	}
	some, err := b.ReadEntries(t.Context(), lane, want, 10)
	if err != nil || len(some) == 0 || len(some) >= len(want) || !slices.Equal(sequences(some), want[:len(some)]) {
		t.Errorf("read %v, %v; want the first few", sequences(some), err)
	}
	for range 2 {
		if none, err := b.ReadEntries(t.Context(), lane, []uint64{gone}, 10); err != nil || len(none) != 0 {
			t.Errorf("read %v, %v of a message that is gone", none, err)
		}
		b.AssumeLag()
	}
	if _, err := b.ReadEntries(t.Context(), other, want, 10); err == nil {
		t.Error("read messages of another lane")
	}
}

func TestReadEntry(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	header := schemas.Header{"Recovery-Entry": {"{}"}, "Shop": {"7", "8"}}
	ack, err := publish(t, b, schemas.Message{Subject: names.Due(3, 1700000000), Header: header, Body: []byte("one")})
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.ReadEntry(t.Context(), 3, ack.Sequence)
	if err != nil || got.Subject != names.Due(3, 1700000000) || string(got.Body) != "one" || !reflect.DeepEqual(got.Header, header) || got.Sequence != ack.Sequence {
		t.Errorf("read %+v, %v", got, err)
	}
	_, err = b.ReadEntry(t.Context(), 5, ack.Sequence) // its ledger is the same stream
	wantError(t, err, schemas.ErrNotFound, "belongs to another shard")
	_, err = b.ReadEntry(t.Context(), 3, ack.Sequence+1)
	wantError(t, err, schemas.ErrNotFound, fmt.Sprint("read message ", ack.Sequence+1))
	if err := b.DeleteEntry(t.Context(), 3, ack.Sequence); err != nil {
		t.Fatal(err)
	}
	_, err = b.ReadEntry(t.Context(), 3, ack.Sequence)
	wantError(t, err, schemas.ErrNotFound)
}

func TestPurgeSparesTheLateEntry(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	lane, other := names.Due(0, 100), names.Due(0, 1000)
	for range 3 {
		store(t, b, lane, "x")
	}
	store(t, b, other, "x")
	seen := readLane(t, b, lane, 1, 100, 1<<20)
	late := store(t, b, lane, "late").Sequence
	purged, err := b.PurgeLane(t.Context(), lane, seen[len(seen)-1].Sequence+1)
	if err != nil || purged != 3 {
		t.Errorf("purged %d, %v; want 3", purged, err)
	}
	if got := sequences(readLane(t, b, lane, 1, 100, 1<<20)); !reflect.DeepEqual(got, []uint64{late}) {
		t.Errorf("left %v, want %d", got, late)
	}
	if got := readLane(t, b, other, 1, 100, 1<<20); len(got) != 1 {
		t.Errorf("the other lane has %d entries, want 1", len(got))
	}
	if purged, err := b.PurgeLane(t.Context(), lane, 0); err != nil || purged != 0 {
		t.Errorf("a purge below 0 removed %d, %v", purged, err)
	}
}

func TestDeleteEntry(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	ack := store(t, b, names.Signal(0), "x")
	for _, sequence := range []uint64{ack.Sequence, ack.Sequence, 12345} {
		if err := b.DeleteEntry(t.Context(), 0, sequence); err != nil {
			t.Errorf("delete %d: %v", sequence, err)
		}
	}
	if got := readLane(t, b, names.Signal(0), 1, 10, 1<<20); len(got) != 0 {
		t.Errorf("%d entries are left", len(got))
	}
}

func TestLaneCounts(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	store(t, b, names.Due(1, 5), "x")
	store(t, b, names.Due(1, 5), "x")
	store(t, b, names.Signal(1), "x")
	store(t, b, names.Signal(2), "x")
	counts, last, err := b.LaneCounts(t.Context(), 1)
	want := map[string]uint64{names.Due(1, 5): 2, names.Signal(1): 1}
	if err != nil || last != 3 || !maps.Equal(counts, want) {
		t.Errorf("got %v up to %d, %v; want %v up to 3", counts, last, err, want)
	}
	if counts, _, err := b.LaneCounts(t.Context(), 7); err != nil || len(counts) != 0 {
		t.Errorf("an empty shard has %v, %v", counts, err)
	}
}

type entry struct {
	subject  string
	sequence uint64
	entries  int
}

func followLedger(t testing.TB, b *bus.Bus, shard int, from uint64) (<-chan entry, func()) {
	t.Helper()
	got := make(chan entry, 10000)
	stop, err := b.FollowLedger(t.Context(), shard, from, func(subject string, sequence uint64, entries int) {
		got <- entry{subject, sequence, entries}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return got, stop
}

func TestFollowLedger(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	store(t, b, names.Signal(1), "before from")
	store(t, b, names.Signal(1), "12345")
	store(t, b, names.Signal(2), "another shard")
	got, stop := followLedger(t, b, 1, 2)
	if e := receive(t, got); e != (entry{names.Signal(1), 2, 1}) {
		t.Errorf("got %+v", e)
	}
	page := schemas.NewPage(0)
	for range 7 {
		page.Add(&schemas.Entry{})
	}
	if _, err := publish(t, b, page.Message(names.Due(1, 9))); err != nil {
		t.Fatal(err)
	}
	if e := receive(t, got); e != (entry{names.Due(1, 9), 3, 7}) {
		t.Errorf("got %+v, want a page of 7", e)
	}
	stop()
	store(t, b, names.Signal(1), "after stop")
	if len(got) != 0 {
		t.Errorf("%d entries came after stop", len(got))
	}
}

func TestFollowSignalsTellsOfNothingElse(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	store(t, b, names.Signal(1), "before from")
	got := make(chan entry, 10)
	stop, err := b.FollowSignals(t.Context(), 1, 2, func(subject string, sequence uint64, entries int) { got <- entry{subject, sequence, entries} })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for _, subject := range []string{names.Due(1, 9), names.Held(1, "key"), names.DeadLane(1), names.Signal(2), names.Signal(1)} {
		store(t, b, subject, "x")
	}
	if e := receive(t, got); e != (entry{names.Signal(1), 5, 1}) {
		t.Errorf("got %+v, want the signal of shard 1, the fifth message of its stream", e)
	}
}

func deleteConsumers(t testing.TB, nc *nats.Conn, stream string) {
	t.Helper()
	js := jetStream(t, nc)
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	list := s.ConsumerNames(t.Context())
	for name := range list.Name() {
		n++
		if err := s.DeleteConsumer(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if list.Err() != nil || n == 0 {
		t.Fatalf("deleted %d consumers of %s: %v", n, stream, list.Err())
	}
}

func TestFollowSurvivesTheLossOfItsConsumer(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	got, _ := followLedger(t, b, 0, 1)
	next := uint64(1)
	for range 3 {
		for range 10 {
			store(t, b, names.Signal(0), "x")
		}
		deleteConsumers(t, nc, "RECOVERY_LEDGER_0")
		for range 10 {
			store(t, b, names.Signal(0), "x")
		}
		for range 20 {
			if e := receive(t, got); e.sequence != next {
				t.Fatalf("got entry %d, want %d", e.sequence, next)
			}
			next++
		}
	}
}

func TestFollowSurvivesARestartOfTheServer(t *testing.T) {
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
	got, _ := followLedger(t, b, 0, 1)
	store(t, b, names.Signal(0), "x")
	receive(t, got)
	restart()
	for receive(t, events) != "reconnected" {
	}
	store(t, b, names.Signal(0), "x")
	if e := receive(t, got); e.sequence != 2 {
		t.Errorf("got entry %d, want 2", e.sequence)
	}
}

func TestFollowFailsWithoutStream(t *testing.T) {
	t.Parallel()
	b := newBus(t, dial(t, startServer(t).URL()), testConfig())
	_, err := b.FollowLedger(t.Context(), 0, 1, nil)
	wantError(t, err, schemas.ErrNotFound, "recovery.ledger.0.>")
}

func TestBulkReadsHaveAConnectionOfTheirOwn(t *testing.T) {
	t.Parallel()
	url := startServer(t).URL()
	nc, bulk := dial(t, url), dial(t, url)
	c := testConfig()
	c.Bulk = bulk
	b := newBus(t, nc, c)
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, _ := followLedger(t, b, 0, 1)
	lane := names.Due(0, 5)
	for range 10 {
		store(t, b, lane, "x")
		receive(t, got)
	}
	before := nc.Stats().InMsgs
	if all := readLane(t, b, lane, 1, 100, 1<<20); len(all) != 10 {
		t.Errorf("read %d entries, want 10", len(all))
	}
	if n := nc.Stats().InMsgs - before; n != 0 {
		t.Errorf("%d messages came over the connection that publishes", n)
	}
	bulk.Close()
	if _, err := b.ReadLane(t.Context(), lane, 1, 100, 1<<20); !errors.Is(err, schemas.ErrClosed) {
		t.Errorf("without the connection reading gives %v, want %v", err, schemas.ErrClosed)
	}
	store(t, b, lane, "publishing goes on")
}

func TestManyShardsShareTwoStreams(t *testing.T) {
	t.Parallel()
	b, nc := start(t, func(c *bus.Config) { c.Partitions = 5 })
	for shard := range 5 {
		stream := fmt.Sprintf("RECOVERY_LEDGER_%d", shard%2)
		if ack := store(t, b, names.Due(shard, 5), "x"); ack.Stream != stream {
			t.Errorf("shard %d stores in %s, want %s", shard, ack.Stream, stream)
		}
		if got := readLane(t, b, names.Due(shard, 5), 1, 10, 1<<20); len(got) != 1 {
			t.Errorf("shard %d reads %d entries, want 1", shard, len(got))
		}
		if counts, _, err := b.LaneCounts(t.Context(), shard); err != nil || len(counts) != 1 {
			t.Errorf("shard %d counts %v, %v", shard, counts, err)
		}
	}
	if s := streamInfo(t, jetStream(t, nc), "RECOVERY_LEDGER_1"); !reflect.DeepEqual(s.Config.Subjects, []string{"recovery.ledger.1.>", "recovery.ledger.3.>"}) {
		t.Errorf("the second stream stores %q", s.Config.Subjects)
	}
	states, err := b.StreamStates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(states, func(s bus.StreamState) bool { return s.Name == "RECOVERY_LEDGER" })
	if i < 0 || states[i].Messages != 5 || states[i].Replicas != 1 {
		t.Errorf("the ledger as one is missing or wrong: %+v", states)
	}
}

func TestStoresLeavesOutWhatIsAnothers(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	js := jetStream(t, nc)
	c := streamInfo(t, js, "RECOVERY_ADVISORIES").Config
	c.Metadata = nil
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	stores, err := b.Stores(t.Context())
	if err != nil || len(stores) != 8 || slices.ContainsFunc(stores, func(s bus.StreamState) bool { return s.Name == c.Name }) {
		t.Errorf("got %d, %+v, %v; %s is not changed by RaiseReplicas", len(stores), stores, err, c.Name)
	}
}

// BenchmarkReadSlot reads the 100 messages of 4 KiB that one of 60 slots holds, which stand
// among those of all others.
func BenchmarkReadSlot(b *testing.B) {
	const slots, each = 60, 100
	c, _ := start(b)
	var wg sync.WaitGroup
	sequences := make([]uint64, each)
	for i := range slots * each {
		wg.Add(1)
		m := schemas.Message{Subject: names.Due(0, int64(1700000000+i%slots)), Body: make([]byte, 4096)}
		c.Publish(m, func(ack schemas.Ack, err error) {
			if err != nil {
				b.Error(err)
			}
			if i%slots == 0 {
				sequences[i/slots] = ack.Sequence
			}
			wg.Done()
		})
	}
	wg.Wait()
	lane := names.Due(0, 1700000000)
	check := func(got []schemas.Stored, err error) {
		if err != nil || len(got) != each {
			b.Fatalf("read %d messages, %v", len(got), err)
		}
	}
	b.Run("by subject", func(b *testing.B) {
		for b.Loop() {
			check(c.ReadLane(b.Context(), lane, 1, each, 1<<30))
		}
	})
	b.Run("by sequence", func(b *testing.B) {
		for b.Loop() {
			check(c.ReadEntries(b.Context(), lane, sequences, 1<<30))
		}
	})
}
