package handlers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// about is what the other replicas are told of this one.
func (e *Engine) about() schemas.InstanceStatus {
	all := e.Stats()
	t := Total(all)
	status := schemas.InstanceStatus{
		Instance: e.Instance, Version: e.Version, Started: stamp(e.started), PolicyHash: e.Policies().Hash(), Shards: []int{},
		Near: t.Near, Far: t.Far, Held: t.Held, ClockMS: float64(e.ClockDifference().Microseconds()) / 1e3,
	}
	for _, st := range all {
		status.Shards = append(status.Shards, st.Shard)
	}
	if !t.OldestDue.IsZero() {
		status.LagMS = max(0, e.clock.Now().Sub(t.OldestDue).Milliseconds())
	}
	return status
}

// Instances is what all live replicas say of themselves; a sole owner's is only its own.
func (e *Engine) Instances() []schemas.InstanceStatus {
	if all := e.leases.Instances(); len(all) > 0 {
		return all
	}
	return []schemas.InstanceStatus{e.about()}
}

// checkShards is content with none here if others serve them all.
func (e *Engine) checkShards() Check {
	here, anywhere := 0, 0
	for shard := range e.Shards {
		switch {
		case e.loopOf(shard) != nil:
			here++
			anywhere++
		case e.leases.Owner(shard) != "":
			anywhere++
		}
	}
	return Check{
		Name: "shards", OK: here > 0 || anywhere == e.Shards,
		Detail: fmt.Sprintf("%d of %d served here, %d by others", here, e.Shards, anywhere-here),
	}
}

// maxClockDifference is what is corrected for without a word.
const maxClockDifference = 250 * time.Millisecond

func (e *Engine) checkClock() Check {
	d := e.ClockDifference()
	c := Check{Name: "clock", OK: d.Abs() <= maxClockDifference, Detail: fmt.Sprintf("server is %s ahead, corrected for", d.Round(time.Millisecond))}
	if !c.OK {
		c.Detail += "; synchronise the clocks of both machines"
	}
	return c
}

// alone does work that one replica does for all, as often as it is this one's turn.
func (e *Engine) alone(ctx context.Context, wg *sync.WaitGroup, duty, what string, work func(context.Context) error) {
	wg.Go(func() {
		e.leases.Alone(ctx, duty, func(ctx context.Context) { e.insist(ctx, what, work) })
	})
}

// clockEvery is how often the server's clock is asked for, besides what messages tell.
const clockEvery = 10 * time.Second

// askClock looks at the server's clock, also while nothing happens.
func (e *Engine) askClock(ctx context.Context) {
	server, local, err := e.bus.ServerTime(ctx)
	if err == nil {
		e.clock.Saw(server, local)
	} else if ctx.Err() == nil {
		e.observer.Observe(Event{Kind: EventFault, At: e.Now(), Op: "read the server's clock", Err: err})
	}
}

// ClockDifference is how far the server's clock is ahead of the local one.
func (e *Engine) ClockDifference() time.Duration { return e.clock.Difference() }
