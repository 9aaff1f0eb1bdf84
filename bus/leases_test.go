package bus_test

import (
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

func hold(t testing.TB, b *bus.Bus, key, value string, revision uint64) uint64 {
	t.Helper()
	next, err := b.HoldLease(t.Context(), key, []byte(value), revision)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestLeaseHasOneHolder(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	ctx := t.Context()
	mine := hold(t, b, "shard.0", "me", 0)
	_, err := b.HoldLease(ctx, "shard.0", []byte("you"), 0)
	wantError(t, err, schemas.ErrConflict, "shard.0", "me")
	for range 3 {
		mine = hold(t, b, "shard.0", "me", mine)
	}
	if err := b.FreeLease(ctx, "shard.0", mine); err != nil {
		t.Fatal(err)
	}
	wantError(t, b.FreeLease(ctx, "shard.0", mine), schemas.ErrConflict)
	yours := hold(t, b, "shard.0", "you", 0)
	_, err = b.HoldLease(ctx, "shard.0", []byte("me"), mine)
	wantError(t, err, schemas.ErrConflict)
	hold(t, b, "shard.0", "you", yours)
}

func TestLeaseWhoseAnswerWasLostIsStillHeld(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	first := hold(t, b, "shard.0", "me", 0)
	hold(t, b, "shard.0", "me", 0)     // the answer to the first was lost
	hold(t, b, "shard.0", "me", first) // that to the second as well
}

func TestLeaseRunsOut(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	js, ctx := jetStream(t, nc), t.Context()
	c := streamInfo(t, js, "KV_RECOVERY_LEASES").Config
	c.MaxAge, c.Duplicates = 200*time.Millisecond, 200*time.Millisecond // instead of ten seconds
	if _, err := js.UpdateStream(ctx, c); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	zombie := hold(t, b, "shard.0", "zombie", 0)
	for {
		_, err := b.HoldLease(ctx, "shard.0", []byte("heir"), 0)
		if err == nil {
			break
		}
		wantError(t, err, schemas.ErrConflict)
		if time.Since(begin) > patience {
			t.Fatal("the lease did not run out")
		}
	}
	if took := time.Since(begin); took < 200*time.Millisecond {
		t.Errorf("taken over after %v, too early", took)
	}
	_, err := b.HoldLease(ctx, "shard.0", []byte("zombie"), zombie)
	wantError(t, err, schemas.ErrConflict)
	wantError(t, b.FreeLease(ctx, "shard.0", zombie), schemas.ErrConflict)
}

type change struct{ key, value string }

func TestFollowLeases(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	hold(t, b, "shard.0", "me", 0)
	got := make(chan change, 16)
	stop, err := b.FollowLeases(t.Context(), func(key string, value []byte) {
		if value == nil {
			value = []byte("freed")
		}
		got <- change{key, string(value)}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	want := func(key, value string) {
		t.Helper()
		if c := receive(t, got); c != (change{key, value}) {
			t.Errorf("told %v, want %s: %s", c, key, value)
		}
	}
	want("shard.0", "me")
	for _, value := range []string{"hello", "again"} { // each before the next one replaces it
		if err := b.Announce(t.Context(), "member.me", []byte(value)); err != nil {
			t.Fatal(err)
		}
		want("member.me", value)
	}
	if err := b.Withdraw(t.Context(), "member.me"); err != nil {
		t.Fatal(err)
	}
	want("member.me", "freed")
}

func TestFollowState(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	got := make(chan change, 16)
	stop, err := b.FollowState(t.Context(), "breaker.>", func(key string, data []byte) { got <- change{key, string(data)} })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if _, err := b.StatePut(t.Context(), "other", []byte("no"), 0); err != nil {
		t.Fatal(err)
	}
	revision, err := b.StatePut(t.Context(), "breaker.1.p.k", []byte("open"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if c := receive(t, got); c != (change{"breaker.1.p.k", "open"}) { // before the next one replaces it
		t.Errorf("told %v, want that it is open", c)
	}
	if err := b.StateDelete(t.Context(), "breaker.1.p.k", revision); err != nil {
		t.Fatal(err)
	}
	if c := receive(t, got); c != (change{"breaker.1.p.k", ""}) {
		t.Errorf("told %v, want that it is gone", c)
	}
}
