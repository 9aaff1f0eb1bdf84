package handlers

import (
	"context"
	"errors"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// sourceSweep marks what a sweep found.
const sourceSweep = "sweep"

// maxSwept bounds the messages of one consumer that one sweep looks at.
const maxSwept = 100

// suspects are messages of a work queue that its consumer seems to have given up. One that
// was just acknowledged may still be there for a moment: only who is there at two sweeps is
// guilty.
type suspects struct {
	state     schemas.ConsumerState // of which namesake, when they were seen
	sequences []uint64
	next      uint64 // where the search goes on
}

// sweeps looks from time to time for messages whose advisory was lost, until ctx ends.
func (a *adapter) sweeps(ctx context.Context) {
	seen := map[consumerName]*suspects{}
	timer := time.NewTimer(a.e.SweepEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		before := seen
		seen = map[consumerName]*suspects{}
		for _, c := range a.watches.list() {
			s, err := a.sweep(ctx, c, before[c])
			if err != nil && ctx.Err() == nil {
				a.e.observer.Observe(Event{Kind: EventFault, At: a.e.clock.Now(), Op: "sweep work queues", Err: err})
			}
			if s != nil {
				seen[c] = s
			}
		}
		timer.Reset(a.e.SweepEvery)
	}
}

// sweep recovers the suspects of the last time that are still there, and looks for others.
func (a *adapter) sweep(ctx context.Context, c consumerName, before *suspects) (*suspects, error) {
	state, err := a.store.ConsumerState(ctx, c.stream, c.name)
	if errors.Is(err, schemas.ErrNotFound) {
		return nil, nil // watch ls says so
	}
	if err != nil || !sweepable(state) {
		return nil, err
	}
	found := &suspects{state: *state}
	if before != nil && before.state.StreamCreated.Equal(state.StreamCreated) && before.state.Created.Equal(state.Created) {
		found.next = before.next
		for _, sequence := range before.sequences {
			a.convict(ctx, state, sequence)
		}
	}
	for len(found.sequences) < maxSwept {
		sequence, err := a.store.NextMessage(ctx, c.stream, state.Filters, found.next)
		if err != nil {
			return nil, err
		}
		if sequence == 0 || sequence > state.Delivered {
			found.next = 0 // from the beginning
			break
		}
		found.sequences = append(found.sequences, sequence)
		found.next = sequence + 1
	}
	return found, nil
}

// sweepable says whether a consumer holds messages that it certainly gave up. While some are
// being delivered the server does not tell them from the others.
func sweepable(c *schemas.ConsumerState) bool {
	return !c.Own && unfit(c) == nil && c.Retention == schemas.RetentionWorkQueue && c.AckPending == 0 && mayHoldGivenUp(c)
}

func (a *adapter) convict(ctx context.Context, state *schemas.ConsumerState, sequence uint64) {
	said := &advisory{
		kind: advisoryMaxDeliveries, consumer: consumerName{state.Stream, state.Consumer}, sequence: sequence,
		deliveries: uint64(state.MaxDeliver), at: a.e.clock.Now(),
	}
	v := a.recover(ctx, said, state)
	switch {
	case ctx.Err() != nil, v.result == adviceGone, v.result == adviceRepeated, v.result == "":
		// it was settled in the meantime, or is about to be
	default:
		a.tell(said, sourceSweep, v)
	}
}
