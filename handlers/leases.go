package handlers

import (
	"context"
	"sync"
	"time"
)

// SoleOwner gives all shards to one replica: the small case of one daemon.
type SoleOwner struct {
	Shards int
	Now    func() time.Time
}

// Run implements Leases.
func (o SoleOwner) Run(ctx context.Context, own func(context.Context, Lease)) error {
	since := o.Now()
	var wg sync.WaitGroup
	for shard := range o.Shards {
		wg.Go(func() { own(ctx, Lease{Shard: shard, Since: since}) })
	}
	wg.Wait()
	return ctx.Err()
}

// Holds implements Leases.
func (o SoleOwner) Holds(int) bool { return true }
