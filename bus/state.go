package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// markerTTL is how long the mark of a deleted value stays for those who watch.
const markerTTL = time.Hour

// waitFor is how long to wait before a read that was stale is repeated.
const waitFor = 50 * time.Millisecond

// StatePut stores a value if its key is at this revision, 0 = there is none, and returns
// the new one; otherwise schemas.ErrConflict.
func (b *Bus) StatePut(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	kv, ctx, cancel, err := b.values(ctx, state)
	if err != nil {
		return 0, err
	}
	defer cancel()
	next, err := put(ctx, kv, key, data, revision)
	if err != nil {
		return 0, fmt.Errorf("store state %s at revision %d: %w", key, revision, err)
	}
	return next, nil
}

func put(ctx context.Context, kv jetstream.KeyValue, key string, data []byte, revision uint64) (next uint64, err error) {
	if revision == 0 {
		next, err = kv.Create(ctx, key, data)
	} else {
		next, err = kv.Update(ctx, key, data, revision)
	}
	return next, clientError(err)
}

// StateDelete removes a value if its key is at this revision; otherwise
// schemas.ErrConflict.
func (b *Bus) StateDelete(ctx context.Context, key string, revision uint64) error {
	if revision == 0 { // which would mean any
		return fmt.Errorf("delete state %s at revision 0: %w", key, schemas.ErrConflict)
	}
	kv, ctx, cancel, err := b.values(ctx, state)
	if err != nil {
		return err
	}
	defer cancel()
	if err := kv.Purge(ctx, key, jetstream.LastRevision(revision), jetstream.PurgeTTL(markerTTL)); err != nil {
		return fmt.Errorf("delete state %s at revision %d: %w", key, revision, clientError(err))
	}
	return nil
}

// StateGet reads a value and its revision, or schemas.ErrNotFound. On a replicated bucket
// it may be stale: decide by what StatePut says.
func (b *Bus) StateGet(ctx context.Context, key string) (data []byte, revision uint64, err error) {
	kv, ctx, cancel, err := b.values(ctx, state)
	if err != nil {
		return nil, 0, err
	}
	defer cancel()
	entry, err := kv.Get(ctx, key)
	if err != nil {
		return nil, 0, fmt.Errorf("read state %s: %w", key, clientError(err))
	}
	return entry.Value(), entry.Revision(), nil
}

// StateList calls each for every value whose key matches filter, which may hold
// wildcards.
func (b *Bus) StateList(ctx context.Context, filter string, each func(key string, data []byte, revision uint64)) error {
	err := b.list(ctx, state, filter, func(e jetstream.KeyValueEntry) { each(e.Key(), e.Value(), e.Revision()) })
	if err != nil {
		return fmt.Errorf("list state %s: %w", filter, err)
	}
	return nil
}

// list reads a bucket through a consumer, which is made by the leader and so misses
// nothing.
func (b *Bus) list(ctx context.Context, bucket, filter string, each func(jetstream.KeyValueEntry)) error {
	kv, ctx, cancel, err := b.values(ctx, bucket)
	if err != nil {
		return err
	}
	defer cancel()
	watch, err := kv.Watch(ctx, filter, jetstream.IgnoreDeletes())
	if err != nil {
		return clientError(err)
	}
	defer watch.Stop()
	for {
		select {
		case entry, ok := <-watch.Updates():
			if entry == nil {
				if !ok {
					return clientError(errors.Join(ctx.Err(), errInterrupted))
				}
				return nil
			}
			each(entry)
		case <-ctx.Done():
			return clientError(ctx.Err())
		}
	}
}

// sealKey is where the key of the seals is.
const sealKey = "seal"

// SealKey is the secret of this installation, 32 random bytes, made by whoever asks first.
func (b *Bus) SealKey(ctx context.Context) ([]byte, error) {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	for {
		key, _, err := b.StateGet(ctx, sealKey)
		if err == nil && len(key) != 32 {
			return nil, fmt.Errorf("key of the seals has %d bytes, not 32: restore %s in bucket %s", len(key), sealKey, b.bucket(state))
		}
		if !errors.Is(err, schemas.ErrNotFound) {
			return key, err
		}
		fresh := make([]byte, 32)
		rand.Read(fresh) // never fails
		_, err = b.StatePut(ctx, sealKey, fresh, 0)
		if err == nil {
			return fresh, nil
		}
		if !errors.Is(err, schemas.ErrConflict) || !sleep(ctx, waitFor) {
			return nil, err
		}
	}
}

// values opens a bucket once.
func (b *Bus) values(ctx context.Context, name string) (jetstream.KeyValue, context.Context, context.CancelFunc, error) {
	ctx, cancel := b.bounded(ctx)
	b.mu.Lock()
	kv := b.buckets[name]
	b.mu.Unlock()
	if kv != nil {
		return kv, ctx, cancel, nil
	}
	kv, err := b.js.KeyValue(ctx, b.bucket(name))
	if err != nil {
		cancel()
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			err = schemas.ErrNotFound
		}
		return nil, nil, nil, fmt.Errorf("bucket %s: %w", b.bucket(name), clientError(err))
	}
	b.mu.Lock()
	b.buckets[name] = kv
	b.mu.Unlock()
	return kv, ctx, cancel, nil
}
