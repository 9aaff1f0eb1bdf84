package handlers

import (
	"context"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// SoleOwner gives all shards and duties to one replica: the small case of one daemon.
type SoleOwner struct {
	Shards int
	Now    func() time.Time
}

// ownAgain is the pause before a shard that its owner gave up is taken again.
const ownAgain = time.Second

// Run implements Leases.
func (o SoleOwner) Run(ctx context.Context, _ func() schemas.InstanceStatus, own func(context.Context, Lease)) error {
	var wg sync.WaitGroup
	for shard := range o.Shards {
		wg.Go(func() {
			repeat(ctx, ownAgain, func() { own(ctx, Lease{Shard: shard, Since: o.Now()}) })
		})
	}
	wg.Wait()
	return ctx.Err()
}

// Holds implements Leases.
func (o SoleOwner) Holds(int) bool { return true }

// Alone implements Leases.
func (o SoleOwner) Alone(ctx context.Context, _ string, work func(context.Context)) {
	repeat(ctx, ownAgain, func() { work(ctx) })
}

// Owner implements Leases.
func (o SoleOwner) Owner(int) string { return "" }

// Instances implements Leases.
func (o SoleOwner) Instances() []schemas.InstanceStatus { return nil }

// repeat calls do until ctx ends, with pauses between.
func repeat(ctx context.Context, pause time.Duration, do func()) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if ctx.Err() != nil {
			return
		}
		do()
		timer.Reset(pause)
	}
}
