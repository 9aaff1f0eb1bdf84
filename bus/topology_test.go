package bus_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

func jetStream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func makeStream(t testing.TB, js jetstream.JetStream, c jetstream.StreamConfig) {
	t.Helper()
	if _, err := js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func streamInfo(t testing.TB, js jetstream.JetStream, name string, opts ...jetstream.StreamInfoOpt) *jetstream.StreamInfo {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// wantError checks the class and that the text names what a reader needs.
func wantError(t testing.TB, err, class error, words ...string) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Fatalf("got error %v, want one that is %q", err, class)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not name %q", err, w)
		}
	}
}

func TestEnsureMakesTheTable(t *testing.T) {
	t.Parallel()
	_, nc := start(t)
	js := jetStream(t, nc)
	type row struct {
		retention jetstream.RetentionPolicy
		discard   jetstream.DiscardPolicy
		age       time.Duration
		window    time.Duration
	}
	day := 24 * time.Hour
	want := map[string]row{
		"RECOVERY_FAILED":     {jetstream.LimitsPolicy, jetstream.DiscardNew, 0, 100 * time.Millisecond},
		"RECOVERY_SUCCEEDED":  {jetstream.WorkQueuePolicy, jetstream.DiscardOld, time.Hour, 100 * time.Millisecond},
		"RECOVERY_LEDGER_0":   {jetstream.LimitsPolicy, jetstream.DiscardNew, 0, 100 * time.Millisecond},
		"RECOVERY_LEDGER_1":   {jetstream.LimitsPolicy, jetstream.DiscardNew, 0, 100 * time.Millisecond},
		"RECOVERY_OUTCOMES":   {jetstream.LimitsPolicy, jetstream.DiscardOld, 7 * day, 2 * time.Minute},
		"RECOVERY_DEAD":       {jetstream.LimitsPolicy, jetstream.DiscardNew, 0, 2 * time.Minute},
		"RECOVERY_ADVISORIES": {jetstream.LimitsPolicy, jetstream.DiscardOld, 14 * day, 2 * time.Minute},
		"KV_RECOVERY_STATE":   {jetstream.LimitsPolicy, jetstream.DiscardNew, 0, 2 * time.Minute},
		"KV_RECOVERY_LEASES":  {jetstream.LimitsPolicy, jetstream.DiscardNew, 10 * time.Second, 10 * time.Second},
	}
	for name, w := range want {
		c := streamInfo(t, js, name).Config
		if got := (row{c.Retention, c.Discard, c.MaxAge, c.Duplicates}); got != w {
			t.Errorf("%s is %+v, want %+v", name, got, w)
		}
		if c.Storage != jetstream.FileStorage || !c.AllowDirect || c.Metadata["owner"] != "recoveryd" {
			t.Errorf("%s: storage %v, direct get %v, owner %q", name, c.Storage, c.AllowDirect, c.Metadata["owner"])
		}
	}
	failed := streamInfo(t, js, "RECOVERY_FAILED").Config
	if got, want := int64(failed.MaxMsgSize), nc.MaxPayload()-16<<10; got != want {
		t.Errorf("largest failure is %d bytes, want %d", got, want)
	}
}

func TestEnsureIsIdempotent(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	created := b.Created()
	if created.IsZero() {
		t.Fatal("the age of the stream of failures is unknown")
	}
	store(t, b, "recovery.failed.x", "hello")
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !b.Created().Equal(created) {
		t.Error("the stream of failures was made again")
	}
	if states, err := b.StreamStates(t.Context()); err != nil || len(states) != 6 || states[0].Messages != 1 {
		t.Errorf("got %+v, %v; want six streams, the first with one message", states, err)
	}
}

func TestEnsureFromManyDaemonsAtOnce(t *testing.T) {
	t.Parallel()
	url := startServer(t).URL()
	var wg sync.WaitGroup
	for range 8 {
		b := newBus(t, dial(t, url), testConfig())
		wg.Go(func() {
			if err := b.Ensure(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestEnsureRefusesForeignStreams(t *testing.T) {
	t.Parallel()
	nc := dial(t, startServer(t).URL())
	makeStream(t, jetStream(t, nc), jetstream.StreamConfig{Name: "RECOVERY_DEAD", Subjects: []string{"recovery.dead.>"}})
	err := newBus(t, nc, testConfig()).Ensure(t.Context())
	wantError(t, err, schemas.ErrForeign, "RECOVERY_DEAD", "owner=recoveryd", "nats stream rm RECOVERY_DEAD")
}

func TestEnsureNamesWhoOwnsItsSubjects(t *testing.T) {
	t.Parallel()
	nc := dial(t, startServer(t).URL())
	makeStream(t, jetStream(t, nc), jetstream.StreamConfig{Name: "EVERYTHING", Subjects: []string{"recovery.>"}})
	err := newBus(t, nc, testConfig()).Ensure(t.Context())
	wantError(t, err, schemas.ErrForeign, "RECOVERY_FAILED", "EVERYTHING")
}

func TestEnsureRefusesWhatCannotChange(t *testing.T) {
	t.Parallel()
	nc := dial(t, startServer(t).URL())
	makeStream(t, jetStream(t, nc), jetstream.StreamConfig{Name: "RECOVERY_LEDGER_1", Subjects: []string{"recovery.ledger.1.>", "recovery.ledger.3.>", "recovery.ledger.5.>", "recovery.ledger.7.>"},
		Storage: jetstream.MemoryStorage, Metadata: map[string]string{"owner": "recoveryd"}})
	err := newBus(t, nc, testConfig()).Ensure(t.Context())
	wantError(t, err, schemas.ErrMismatch, "RECOVERY_LEDGER_1", "storage is Memory, wanted File")
}

func TestEnsureRefusesAnotherNumberOfPartitions(t *testing.T) {
	t.Parallel()
	b, nc := start(t, func(c *bus.Config) { c.Partitions = 4 })
	if b.Partitions() != 4 {
		t.Errorf("got %d partitions, want 4", b.Partitions())
	}
	other := newBus(t, nc, testConfig())
	wantError(t, other.Ensure(t.Context()), schemas.ErrMismatch, "RECOVERY_FAILED", "partitions is 4, wanted 8")
	if err := other.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if other.Partitions() != 4 || !other.Created().Equal(b.Created()) {
		t.Errorf("adopted %d partitions of %v, want 4 of %v", other.Partitions(), other.Created(), b.Created())
	}
}

func TestAdoptWithoutStreams(t *testing.T) {
	t.Parallel()
	b := newBus(t, dial(t, startServer(t).URL()), testConfig())
	wantError(t, b.Adopt(t.Context()), schemas.ErrNotFound, "RECOVERY_FAILED")
}

func TestEnsureAppliesLimitsAndKeepsTheOperatorsChoices(t *testing.T) {
	t.Parallel()
	_, nc := start(t)
	js := jetStream(t, nc)
	c := streamInfo(t, js, "RECOVERY_DEAD").Config
	c.Compression, c.Metadata["team"], c.MaxMsgs = jetstream.S2Compression, "payments", 5
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	config := testConfig()
	config.DeadMaxBytes, config.DeadMaxAge = 1<<20, time.Hour
	if err := newBus(t, nc, config).Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	c = streamInfo(t, js, "RECOVERY_DEAD").Config
	if c.MaxBytes != 1<<20 || c.MaxAge != time.Hour || c.MaxMsgs != -1 {
		t.Errorf("max bytes %d, age %v, messages %d; want 1 MiB, 1 h, unlimited", c.MaxBytes, c.MaxAge, c.MaxMsgs)
	}
	if c.Compression != jetstream.S2Compression || c.Metadata["team"] != "payments" {
		t.Errorf("compression %v and metadata %v are not the operator's any more", c.Compression, c.Metadata)
	}
}

func TestEnsureCannotGiveWhatTheServerLacks(t *testing.T) {
	t.Parallel()
	nc := dial(t, startServer(t).URL())
	config := testConfig()
	config.Replicas = 3
	if err := newBus(t, nc, config).Ensure(t.Context()); err == nil || !strings.Contains(err.Error(), "3 replicas") {
		t.Errorf("got %v, want an error that says 3 replicas", err)
	}
}

func TestEnsureUsesAnExistingStreamOfAdvisories(t *testing.T) {
	t.Parallel()
	nc := dial(t, startServer(t).URL())
	makeStream(t, jetStream(t, nc), jetstream.StreamConfig{Name: "AUDIT", Subjects: []string{"$JS.EVENT.ADVISORY.CONSUMER.>"}})
	b := newBus(t, nc, testConfig())
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.AdvisoryStream() != "AUDIT" {
		t.Errorf("advisories are in %q, want AUDIT", b.AdvisoryStream())
	}
}

func TestServerPartitionsAsSubjectsDo(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	const total = 500
	random := rand.New(rand.NewPCG(1, 2))
	acks := make(chan answer, total)
	for i := range total {
		subject := fmt.Sprintf("%c%d.%x", 'a'+random.IntN(26), i, random.Uint64()>>random.IntN(60))
		b.Publish(schemas.Message{Subject: "recovery.failed." + subject}, func(a schemas.Ack, err error) { acks <- answer{a, err} })
	}
	for range total {
		if a := receive(t, acks); a.err != nil {
			t.Fatal(a.err)
		}
	}
	info := streamInfo(t, jetStream(t, nc), "RECOVERY_FAILED", jetstream.WithSubjectFilter("recovery.intake.>"))
	if len(info.State.Subjects) != total {
		t.Fatalf("stored %d subjects, want %d", len(info.State.Subjects), total)
	}
	names := schemas.Subjects{Prefix: "recovery"}
	for stored := range info.State.Subjects {
		shard, subject, err := names.ParseIntake(stored)
		if err != nil {
			t.Fatal(err)
		}
		if want := names.Partition(subject, 8); shard != want {
			t.Errorf("the server put %s into shard %d, Partition says %d", subject, shard, want)
		}
	}
}

func TestConfigNamesAllFaults(t *testing.T) {
	t.Parallel()
	_, err := bus.New(nil, bus.Config{Subjects: schemas.Subjects{Prefix: "a.*"}, StreamPrefix: "A.B", Domain: "x.y",
		Partitions: -1, Replicas: 9, FailedMaxBytes: -1, OutcomesMaxBytes: -1, DeadMaxBytes: -1, DeadMaxAge: -1,
		PublishTimeout: -1, MaxInFlight: -1})
	for _, field := range []string{"Subjects.Prefix", "StreamPrefix", "Domain", "Partitions", "Replicas", "FailedMaxBytes",
		"OutcomesMaxBytes", "DeadMaxBytes", "DeadMaxAge", "PublishTimeout", "MaxInFlight"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v does not name %s", err, field)
		}
	}
}

func TestOwner(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	if name, err := b.Owner(t.Context(), "recovery.ledger.0.signal"); err != nil || name != "RECOVERY_LEDGER_0" {
		t.Errorf("got %q, %v, want RECOVERY_LEDGER_0", name, err)
	}
	_, err := b.Owner(t.Context(), "orders.new")
	wantError(t, err, schemas.ErrNotFound, "orders.new")
}

func TestServerTime(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	server, local, err := b.ServerTime(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := server.Sub(local).Abs(); d > time.Second { // the same machine
		t.Errorf("the server's clock is %v away from the local one", d)
	}
	if name, version, _ := b.ServerInfo(); name == "" || version == "" || !b.Connected() || b.APILevel() < 2 {
		t.Errorf("server %q version %q, connected %v, level %d", name, version, b.Connected(), b.APILevel())
	}
}
