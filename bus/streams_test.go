package bus_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	a, c := names.Dead("aaaaaaaa", "orders"), names.Dead("cccccccc", "orders")
	for _, subject := range []string{a, c, a, c, a} {
		store(t, b, subject, "")
	}
	read := func(from uint64, max int, filter string) []uint64 {
		got, err := b.ReadDead(t.Context(), from, max, filter)
		if err != nil {
			t.Fatal(err)
		}
		return sequences(got)
	}
	if got := read(0, 100, ""); !reflect.DeepEqual(got, []uint64{1, 2, 3, 4, 5}) {
		t.Errorf("all are %v", got)
	}
	if got := read(2, 1, "recovery.dead.aaaaaaaa.>"); !reflect.DeepEqual(got, []uint64{3}) {
		t.Errorf("the next of one cause is %v, want 3", got)
	}
	if err := b.DeleteDead(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if n, err := b.PurgeDead(t.Context(), a, 5); err != nil || n != 1 {
		t.Errorf("purged %d, %v; want 1", n, err)
	}
	if got := read(1, 100, ""); !reflect.DeepEqual(got, []uint64{2, 4, 5}) {
		t.Errorf("left are %v, want 2, 4, 5", got)
	}
}

func TestFollowRefused(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	refused := names.DeadRefused("aaaaaaaa", "a b")
	store(t, b, refused, "123")
	store(t, b, names.Dead("aaaaaaaa", "orders"), "123")
	type letter struct {
		sequence uint64
		size     int
	}
	got := make(chan letter, 10)
	stop, err := b.FollowRefused(t.Context(), func(sequence uint64, size int) { got <- letter{sequence, size} })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	store(t, b, refused, "12345")
	for _, want := range []letter{{1, 3}, {3, 5}} {
		if e := receive(t, got); e.sequence != want.sequence || e.size < want.size {
			t.Errorf("got %+v, want at least %+v", e, want)
		}
	}
}

func followOutcomes(t testing.TB, b *bus.Bus, filter string, since time.Time) <-chan schemas.Stored {
	t.Helper()
	got := make(chan schemas.Stored, 100)
	stop, err := b.FollowOutcomes(t.Context(), filter, since, func(s schemas.Stored) { got <- s })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return got
}

func TestFollowOutcomes(t *testing.T) {
	t.Parallel()
	b, nc := start(t, func(c *bus.Config) { c.OnEvent = func(kind string, err error) { t.Log(kind, err) } })
	store(t, b, names.Outcome("dead", "orders"), "old")
	all := followOutcomes(t, b, "", time.Unix(1, 0))
	fresh := followOutcomes(t, b, "", time.Time{})
	held := followOutcomes(t, b, "recovery.outcomes.held.>", time.Time{})
	deleteConsumers(t, nc, "RECOVERY_OUTCOMES") // before the first message: nothing may be missed or repeated
	store(t, b, names.Outcome("held", "orders"), "new")
	store(t, b, names.Breaker("opened", "orders"), "breaker")
	for name, c := range map[string]struct {
		got  <-chan schemas.Stored
		want []string
	}{"all": {all, []string{"old", "new", "breaker"}}, "new": {fresh, []string{"new", "breaker"}}, "held": {held, []string{"new"}}} {
		var got []string
		for range c.want {
			got = append(got, string(receive(t, c.got).Body))
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestStreamStates(t *testing.T) {
	t.Parallel()
	b, _ := start(t, func(c *bus.Config) { c.DeadMaxBytes = 1 << 20 })
	store(t, b, names.Dead("aaaaaaaa", "orders"), "x")
	states, err := b.StreamStates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		if s.Name != "RECOVERY_DEAD" {
			continue
		}
		if s.Messages != 1 || s.Bytes == 0 || s.MaxBytes != 1<<20 || s.FirstSeq != 1 || s.LastSeq != 1 || s.FirstTime.IsZero() || s.Replicas != 1 {
			t.Errorf("got %+v", s)
		}
		return
	}
	t.Errorf("RECOVERY_DEAD is not among %+v", states)
}
