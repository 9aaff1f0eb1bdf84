package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// HoldLease takes a lease that is free, or keeps one at the revision it was last taken or
// kept with (0 = take), for another ten seconds from when the server stored it. The value
// tells holders apart. schemas.ErrConflict: somebody else has it.
//
// It is a hint, not a fence: a holder that was suspended learns late that it lost it.
func (b *Bus) HoldLease(ctx context.Context, key string, value []byte, revision uint64) (next uint64, err error) {
	kv, ctx, cancel, err := b.values(ctx, leases)
	if err != nil {
		return 0, err
	}
	defer cancel()
	next, err = update(ctx, kv, key, value, revision)
	if errors.Is(err, schemas.ErrConflict) {
		// It may have run out, have been freed, or be ours, when the answer to an earlier
		// call was lost. Only the leader knows.
		if revision, err = b.takeable(ctx, key, value); err == nil {
			next, err = update(ctx, kv, key, value, revision)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("hold lease %s: %w", key, err)
	}
	return next, nil
}

func update(ctx context.Context, kv jetstream.KeyValue, key string, value []byte, revision uint64) (uint64, error) {
	next, err := kv.Update(ctx, key, value, revision)
	return next, clientError(err)
}

// takeable is the revision at which a key can be taken by who has this value.
func (b *Bus) takeable(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	found, err := b.leaderGet(ctx, "KV_"+b.bucket(leases), batch{From: 1, Filter: b.valueSubject(leases, key)})
	switch {
	case err != nil:
		return 0, err
	case len(found) == 0:
		return 0, nil
	case isDeleted(nats.Header(found[0].Header)), bytes.Equal(found[0].Body, value):
		return found[0].Sequence, nil
	}
	return 0, fmt.Errorf("%w: it is held by %.100q", schemas.ErrConflict, found[0].Body)
}

// FreeLease ends a lease at once. schemas.ErrConflict: it was lost already.
func (b *Bus) FreeLease(ctx context.Context, key string, revision uint64) error {
	kv, ctx, cancel, err := b.values(ctx, leases)
	if err != nil {
		return err
	}
	defer cancel()
	if err := kv.Delete(ctx, key, jetstream.LastRevision(revision)); err != nil {
		return fmt.Errorf("free lease %s: %w", key, clientError(err))
	}
	return nil
}

// Announce stores what only one caller ever stores under this key. It ends as leases do.
func (b *Bus) Announce(ctx context.Context, key string, value []byte) error {
	kv, ctx, cancel, err := b.values(ctx, leases)
	if err != nil {
		return err
	}
	defer cancel()
	if _, err := kv.Put(ctx, key, value); err != nil {
		return fmt.Errorf("announce %s: %w", key, clientError(err))
	}
	return nil
}

// Withdraw removes what was announced.
func (b *Bus) Withdraw(ctx context.Context, key string) error {
	kv, ctx, cancel, err := b.values(ctx, leases)
	if err != nil {
		return err
	}
	defer cancel()
	if err := kv.Delete(ctx, key); err != nil {
		return fmt.Errorf("withdraw %s: %w", key, clientError(err))
	}
	return nil
}

// FollowLeases tells of every lease that is held, then of each that is taken, kept or
// freed (value nil). One that runs out is not told. on may block. It runs until ctx is
// done or stop is called; stop waits for on and must not be called from it.
func (b *Bus) FollowLeases(ctx context.Context, on func(key string, value []byte)) (stop func(), err error) {
	return b.followValues(ctx, leases, ">", on)
}

// LeaseList calls each for every lease that is held at the moment.
func (b *Bus) LeaseList(ctx context.Context, each func(key string, value []byte)) error {
	err := b.list(ctx, leases, ">", func(e jetstream.KeyValueEntry) { each(e.Key(), e.Value()) })
	if err != nil {
		return fmt.Errorf("list leases: %w", err)
	}
	return nil
}

// FollowState tells of every value that matches filter and of each change; the data of a
// deleted one is nil. Otherwise as FollowLeases.
func (b *Bus) FollowState(ctx context.Context, filter string, on func(key string, data []byte)) (stop func(), err error) {
	return b.followValues(ctx, state, filter, on)
}

func (b *Bus) followValues(ctx context.Context, bucket, filter string, on func(key string, value []byte)) (stop func(), err error) {
	before := b.valueSubject(bucket, "")
	f := follower{bus: b, stream: "KV_" + b.bucket(bucket), filters: []string{before + filter}, from: 1, on: func(m *nats.Msg, _ place) {
		value := m.Data
		if isDeleted(m.Header) {
			value = nil
		} else if value == nil {
			value = []byte{}
		}
		on(strings.TrimPrefix(m.Subject, before), value)
	}}
	return f.start(ctx)
}

func (b *Bus) valueSubject(bucket, key string) string { return "$KV." + b.bucket(bucket) + "." + key }

// isDeleted says whether a stored value marks that its key was deleted, by a client or by
// the server.
func isDeleted(h nats.Header) bool {
	return last(h, "KV-Operation") != "" || last(h, "Nats-Marker-Reason") != ""
}
