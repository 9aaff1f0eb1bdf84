package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// RaiseReplicas gives every stream and bucket n copies, 1 to 5. Nothing else changes how
// many copies an existing stream has: copying may take long and load the cluster, so it is
// for an operator to say when. The error names the streams that could not be changed; the
// others are. It may be called again.
func (b *Bus) RaiseReplicas(ctx context.Context, n int) error {
	if n < 1 || n > 5 {
		return fmt.Errorf("replicas: %d is not between 1 and 5", n)
	}
	var faults []error
	for _, want := range append(b.layout(), b.advisoriesStream()) {
		if err := b.raise(ctx, want.Name, n); err != nil {
			faults = append(faults, err)
		}
	}
	if len(faults) == 0 {
		b.mu.Lock()
		b.replicated = n > 1
		b.mu.Unlock()
	}
	return errors.Join(faults...)
}

func (b *Bus) raise(ctx context.Context, name string, n int) error {
	info, err := b.lookup(ctx, name)
	switch {
	case errors.Is(err, schemas.ErrNotFound):
		return nil // advisories may be another's; Ensure makes the rest
	case err != nil:
		return err
	case info.Config.Metadata[ownerKey] != owner || info.Config.Replicas == n:
		return nil
	}
	before := info.Config.Replicas
	info.Config.Replicas = n
	if err := b.update(ctx, info.Config); err != nil {
		return fmt.Errorf("stream %s: from %d to %d replicas: %w", name, before, n, err)
	}
	return nil
}

// fewer tells of a stream with another number of copies than configured. It is not
// changed: RaiseReplicas is for that.
func (b *Bus) fewer(info *jetstream.StreamInfo) {
	if want := b.cfg.Replicas; want != 0 && info.Config.Replicas != want {
		b.cfg.OnEvent("replicas", fmt.Errorf("stream %s has %d replicas, %d are configured: an operator must change them: recoveryd streams replicate %d",
			info.Config.Name, info.Config.Replicas, want, want))
	}
}

// Check is schemas.ErrNotFound if a stream or bucket is gone, or was made anew, since
// Ensure: whoever works with them must begin again with Ensure.
func (b *Bus) Check(ctx context.Context) error {
	info, err := b.lookup(ctx, b.stream(failed))
	if err != nil {
		return err
	}
	if !info.Created.Equal(b.Created()) {
		return fmt.Errorf("stream %s was made anew: that of before is %w", info.Config.Name, schemas.ErrNotFound)
	}
	b.mu.Lock()
	b.replicated = info.Config.Replicas > 1
	b.mu.Unlock()
	there := map[string]bool{}
	for _, subject := range []string{b.cfg.Subjects.Prefix + ".>", "$KV." + b.bucket(state) + ".>", "$KV." + b.bucket(leases) + ".>"} {
		names, err := b.Storing(ctx, subject)
		if err != nil {
			return err
		}
		for _, name := range names {
			there[name] = true
		}
	}
	for _, want := range b.layout() {
		if !there[want.Name] {
			return fmt.Errorf("stream %s: %w", want.Name, schemas.ErrNotFound)
		}
	}
	return nil
}
