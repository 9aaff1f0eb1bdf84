package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Lease is a key that at most one holder has. It ends by itself ten seconds after it was
// taken or last kept. It is a hint, not a fence: a holder that was suspended learns late
// that it lost it.
type Lease struct {
	Key   string
	Since time.Time // when it was taken, by the server's clock: later holders have later ones

	bus   *Bus
	value []byte

	mu       sync.Mutex
	revision uint64
}

// Held is a lease as others see it.
type Held struct {
	Key   string
	Value []byte
	Kept  time.Time // when it was taken or last kept, by the server's clock
}

// AcquireLease takes a lease that is free; otherwise schemas.ErrConflict.
func (b *Bus) AcquireLease(ctx context.Context, key string, value []byte) (*Lease, error) {
	kv, ctx, cancel, err := b.values(ctx, leases)
	if err != nil {
		return nil, err
	}
	defer cancel()
	revision, err := put(ctx, kv, key, value, 0)
	if err != nil {
		return nil, fmt.Errorf("take lease %s: %w", key, err)
	}
	since, err := takenAt(ctx, kv, key, revision)
	if err != nil {
		return nil, fmt.Errorf("take lease %s: read it back: %w", key, err)
	}
	return &Lease{Key: key, Since: since, bus: b, value: value, revision: revision}, nil
}

// takenAt reads when a revision was stored; a replica that lags is asked again.
func takenAt(ctx context.Context, kv jetstream.KeyValue, key string, revision uint64) (time.Time, error) {
	for {
		entry, err := kv.GetRevision(ctx, key, revision)
		if err == nil {
			return entry.Created(), nil
		}
		if !errors.Is(err, jetstream.ErrKeyNotFound) || !sleep(ctx, waitFor) {
			return time.Time{}, clientError(err)
		}
	}
}

// Keep makes the lease last another ten seconds. schemas.ErrConflict: it is lost.
func (l *Lease) Keep(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	kv, ctx, cancel, err := l.bus.values(ctx, leases)
	if err != nil {
		return err
	}
	defer cancel()
	next, err := put(ctx, kv, l.Key, l.value, l.revision)
	if err != nil {
		return fmt.Errorf("keep lease %s: %w", l.Key, err)
	}
	l.revision = next
	return nil
}

// Release frees the lease at once. schemas.ErrConflict: it was lost already.
func (l *Lease) Release(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	kv, ctx, cancel, err := l.bus.values(ctx, leases)
	if err != nil {
		return err
	}
	defer cancel()
	if err := kv.Delete(ctx, l.Key, jetstream.LastRevision(l.revision)); err != nil {
		return fmt.Errorf("release lease %s: %w", l.Key, clientError(err))
	}
	return nil
}

// Leases lists what is held and matches filter, which may hold wildcards.
func (b *Bus) Leases(ctx context.Context, filter string) ([]Held, error) {
	var out []Held
	err := b.list(ctx, leases, filter, func(e jetstream.KeyValueEntry) {
		out = append(out, Held{e.Key(), e.Value(), e.Created()})
	})
	if err != nil {
		return nil, fmt.Errorf("list leases %s: %w", filter, err)
	}
	return out, nil
}
