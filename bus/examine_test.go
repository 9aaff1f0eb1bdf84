package bus_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

func examined(t *testing.T, b *bus.Bus, name string) bus.Examined {
	t.Helper()
	all := b.Examine(t.Context())
	i := slices.IndexFunc(all, func(x bus.Examined) bool { return x.Wanted == name })
	if i < 0 {
		t.Fatalf("%s is not examined: %+v", name, all)
	}
	return all[i]
}

// What a daemon made is as wanted, also for who does not know the settings of the daemon.
func TestExamineIsContentWithTheDaemonsStreams(t *testing.T) {
	t.Parallel()
	_, nc := start(t, func(c *bus.Config) {
		c.Partitions, c.FailedMaxBytes, c.OutcomesMaxBytes, c.DeadMaxBytes, c.DeadMaxAge = 3, 1<<20, 2<<20, 3<<20, time.Hour
	})
	b := newBus(t, nc, testConfig())
	if err := b.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := b.Examine(t.Context())
	if len(all) != 9 {
		t.Errorf("%d examined, want 9", len(all))
	}
	for _, x := range all {
		if x.Name != x.Wanted || x.Missing || x.Foreign || x.Fault != nil || len(x.Differences) > 0 || x.Leaderless || len(x.Behind) > 0 || x.Replicas != 1 {
			t.Errorf("%+v is not as a daemon made it", x)
		}
	}
}

func TestExamineFindsWhatWasChanged(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	js := jetStream(t, nc)
	change := func(name string, f func(*jetstream.StreamConfig)) {
		c := streamInfo(t, js, name).Config
		f(&c)
		if _, err := js.UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	change("RECOVERY_OUTCOMES", func(c *jetstream.StreamConfig) { c.MaxAge, c.Description = time.Hour, "ours" })
	change("RECOVERY_DEAD", func(c *jetstream.StreamConfig) { c.DenyPurge = true })
	change("RECOVERY_SUCCEEDED", func(c *jetstream.StreamConfig) { delete(c.Metadata, "owner") })
	for _, name := range []string{"RECOVERY_LEDGER_0", "RECOVERY_ADVISORIES"} {
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	makeStream(t, js, jetstream.StreamConfig{Name: "ADVICE", Subjects: []string{"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.*.*"}})
	if x := examined(t, b, "RECOVERY_OUTCOMES"); !reflect.DeepEqual(x.Differences, []string{"max_age is 1h0m0s, wanted 168h0m0s"}) || x.Fixed {
		t.Errorf("outcomes: %+v", x)
	}
	if x := examined(t, b, "RECOVERY_DEAD"); !reflect.DeepEqual(x.Differences, []string{"deny_purge is true, wanted false"}) || !x.Fixed {
		t.Errorf("dead: %+v", x)
	}
	if x := examined(t, b, "RECOVERY_SUCCEEDED"); !x.Foreign {
		t.Errorf("succeeded: %+v", x)
	}
	if x := examined(t, b, "RECOVERY_LEDGER_0"); !x.Missing || x.Elsewhere != "" {
		t.Errorf("ledger: %+v", x)
	}
	if x := examined(t, b, "RECOVERY_ADVISORIES"); !x.Missing || x.Elsewhere != "ADVICE" {
		t.Errorf("advisories: %+v", x)
	}
	nc.Close()
	if x := examined(t, b, "RECOVERY_OUTCOMES"); !errors.Is(x.Fault, schemas.ErrClosed) {
		t.Errorf("without a connection: %+v", x)
	}
}

func TestAccount(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	store(t, b, "recovery.dead.0123abcd.orders", strings.Repeat("x", 1000))
	a, err := b.Account(t.Context())
	if err != nil || a.Off || a.Old != nil || a.RoundTrip <= 0 || a.Version == "" || a.Servers != 0 || len(a.Stores) != 1 || a.Stores[0].Used < 1000 {
		t.Errorf("%+v, %v", a, err)
	}
	nc.Close()
	if _, err := b.Account(t.Context()); !errors.Is(err, schemas.ErrClosed) {
		t.Errorf("without a connection: %v", err)
	}
}

func TestLastOutcomes(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	last := func(n int) []uint64 {
		t.Helper()
		got, err := b.LastOutcomes(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return sequences(got)
	}
	if got := last(3); len(got) != 0 {
		t.Errorf("of none: %v", got)
	}
	for _, subject := range []string{"recovery.outcomes.dead.a", "recovery.breakers.opened.a", "recovery.outcomes.dead.b", "recovery.outcomes.held.a"} {
		store(t, b, subject, "{}")
	}
	if got := last(3); !reflect.DeepEqual(got, []uint64{2, 3, 4}) {
		t.Errorf("the last three are %v", got)
	}
	if got := last(9); !reflect.DeepEqual(got, []uint64{1, 2, 3, 4}) {
		t.Errorf("all are %v", got)
	}
}

func TestLeaseList(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	revision, err := b.HoldLease(t.Context(), "shard.0", []byte("a"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Announce(t.Context(), "member.a", []byte("me")); err != nil {
		t.Fatal(err)
	}
	list := func() map[string]string {
		t.Helper()
		all := map[string]string{}
		if err := b.LeaseList(t.Context(), func(key string, value []byte) { all[key] = string(value) }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	if got := list(); !reflect.DeepEqual(got, map[string]string{"shard.0": "a", "member.a": "me"}) {
		t.Errorf("held are %v", got)
	}
	if err := b.FreeLease(t.Context(), "shard.0", revision); err != nil {
		t.Fatal(err)
	}
	if got := list(); !reflect.DeepEqual(got, map[string]string{"member.a": "me"}) {
		t.Errorf("after one was freed %v", got)
	}
}

func TestTargetsAreFound(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	makeStream(t, jetStream(t, nc), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, Duplicates: time.Second})
	for pattern, want := range map[string][]string{"orders.new": {"ORDERS"}, "orders.>": {"ORDERS"}, "bills.>": nil} {
		if got, err := b.Storing(t.Context(), pattern); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s is stored by %v, %v; want %v", pattern, got, err, want)
		}
	}
	if got, err := b.Window(t.Context(), "ORDERS"); err != nil || got != time.Second {
		t.Errorf("window %v, %v", got, err)
	}
	if _, err := b.Window(t.Context(), "BILLS"); !errors.Is(err, schemas.ErrNotFound) {
		t.Errorf("window of none: %v", err)
	}
}
