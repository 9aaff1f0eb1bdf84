package bus_test

import (
	"bytes"
	"maps"
	"sync"
	"testing"

	"github.com/recoveryd/recoveryd/schemas"
)

func TestStateIsCompareAndSet(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	ctx := t.Context()
	_, _, err := b.StateGet(ctx, "breaker.orders")
	wantError(t, err, schemas.ErrNotFound, "breaker.orders")
	first, err := b.StatePut(ctx, "breaker.orders", []byte("open"), 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.StatePut(ctx, "breaker.orders", []byte("mine"), 0)
	wantError(t, err, schemas.ErrConflict, "breaker.orders")
	second, err := b.StatePut(ctx, "breaker.orders", []byte("half open"), first)
	if err != nil || second <= first {
		t.Fatalf("got revision %d after %d, %v", second, first, err)
	}
	_, err = b.StatePut(ctx, "breaker.orders", []byte("zombie"), first)
	wantError(t, err, schemas.ErrConflict)
	data, revision, err := b.StateGet(ctx, "breaker.orders")
	if err != nil || string(data) != "half open" || revision != second {
		t.Errorf("got %q at %d, %v", data, revision, err)
	}
}

func TestStateDelete(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	ctx := t.Context()
	first, err := b.StatePut(ctx, "k", []byte("1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, b.StateDelete(ctx, "k", 0), schemas.ErrConflict)
	wantError(t, b.StateDelete(ctx, "k", first+7), schemas.ErrConflict)
	if err := b.StateDelete(ctx, "k", first); err != nil {
		t.Fatal(err)
	}
	_, _, err = b.StateGet(ctx, "k")
	wantError(t, err, schemas.ErrNotFound)
	_, err = b.StatePut(ctx, "k", []byte("zombie"), first)
	wantError(t, err, schemas.ErrConflict)
	if _, err := b.StatePut(ctx, "k", []byte("2"), 0); err != nil {
		t.Errorf("a deleted key cannot be made again: %v", err)
	}
}

func TestStateList(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	ctx := t.Context()
	for _, key := range []string{"breaker.a", "breaker.b=2E.c", "breaker.gone", "job.1"} {
		if _, err := b.StatePut(ctx, key, []byte(key), 0); err != nil {
			t.Fatal(err)
		}
	}
	_, revision, _ := b.StateGet(ctx, "breaker.gone")
	if err := b.StateDelete(ctx, "breaker.gone", revision); err != nil {
		t.Fatal(err)
	}
	list := func(filter string) map[string]uint64 {
		got := map[string]uint64{}
		if err := b.StateList(ctx, filter, func(key string, data []byte, revision uint64) {
			if string(data) != key {
				t.Errorf("%s holds %q", key, data)
			}
			got[key] = revision
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got, want := list("breaker.>"), (map[string]uint64{"breaker.a": 1, "breaker.b=2E.c": 2}); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := list("watch.>"); len(got) != 0 {
		t.Errorf("got %v, want nothing", got)
	}
}

func TestSealKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	keys := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range keys {
		replica := newBus(t, nc, testConfig())
		wg.Go(func() {
			var err error
			if keys[i], err = replica.SealKey(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, key := range keys {
		if len(key) != 32 || !bytes.Equal(key, keys[0]) {
			t.Errorf("got key %x, want the same 32 bytes for all, %x", key, keys[0])
		}
	}
	if _, err := b.StatePut(t.Context(), "seal", []byte("short"), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := b.SealKey(t.Context()); err == nil {
		t.Error("a damaged key was accepted")
	}
}

func TestStateWithoutBucket(t *testing.T) {
	t.Parallel()
	b := newBus(t, dial(t, startServer(t).URL()), testConfig())
	_, _, err := b.StateGet(t.Context(), "k")
	wantError(t, err, schemas.ErrNotFound, "RECOVERY_STATE")
}
