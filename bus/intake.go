package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// Settings of the consumers of reports.
const (
	intakeBatch      = 1024
	intakeBytes      = 2 << 20
	successesWait    = 10 * time.Second
	successesPending = 10_000
)

// Intake delivers all failures on filters that are in the stream, and then each new one, in
// order, as the server stored them. Reading takes nothing out of the stream: PurgeIntake
// does. After an interruption everything that is in the stream is delivered once more, as
// it may not be what it was; anew is called before.
//
// on and anew are called from one goroutine and may block, then at most a few megabytes are
// fetched ahead. It runs until ctx is done or stop is called; stop waits for on and must
// not be called from it.
func (b *Bus) Intake(ctx context.Context, filters []string, on func(schemas.Stored), anew func()) (stop func(), err error) {
	f := follower{bus: b, nc: b.nc, stream: b.stream(failed), filters: filters, anew: anew,
		batch: intakeBatch, maxBytes: b.pullBytes(intakeBytes), on: func(m *nats.Msg, at place) { on(stored(m, at)) }}
	return f.start(ctx)
}

// PurgeIntake removes the failures on filters below a sequence.
func (b *Bus) PurgeIntake(ctx context.Context, filters []string, before uint64) error {
	if slices.Contains(filters, b.cfg.Subjects.Failed("*")) {
		// They are the reports that the transform passed over. A purge with a * passes over
		// some of them again, those whose first token is a >; one with just this does not.
		filters = []string{b.cfg.Subjects.Failed(">")}
	}
	var faults []error
	for _, filter := range filters {
		_, err := b.purge(ctx, b.stream(failed), filter, before)
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// Successes delivers reports of success; all replicas share one consumer. What is not
// settled is delivered again, to any of them. Otherwise as Intake.
func (b *Bus) Successes(ctx context.Context, on func(schemas.Report)) (stop func(), err error) {
	stream := b.stream(succeeded)
	attach := func(ctx context.Context) (string, error) {
		ctx, cancel := b.bounded(ctx)
		defer cancel()
		_, err := b.js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
			Durable:       owner,
			AckPolicy:     jetstream.AckExplicitPolicy,
			AckWait:       successesWait,
			MaxDeliver:    -1,
			MaxAckPending: successesPending,
			Metadata:      map[string]string{ownerKey: owner},
		})
		return owner, clientError(err)
	}
	feed := feed{bus: b, nc: b.nc, stream: stream, batch: intakeBatch, maxBytes: b.pullBytes(intakeBytes),
		attach: attach, on: b.reports(on)}
	stop, err = feed.start(ctx)
	if err != nil {
		return nil, fmt.Errorf("success reports: %w", err)
	}
	return stop, nil
}

var ackBody = []byte("+ACK")

// reports wraps on. A lost acknowledgement is repaired by the next delivery, so settling
// does not wait for one, and its error has no reader.
func (b *Bus) reports(on func(schemas.Report)) func(*nats.Msg, place) error {
	return func(m *nats.Msg, at place) error {
		reply := m.Reply
		on(schemas.Report{Stored: stored(m, at), Settle: func() { _ = b.nc.Publish(reply, ackBody) }})
		return nil
	}
}
