package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// WorkStream is a work queue with one consumer, for programs that bring work of their own,
// like the demonstration.
type WorkStream struct {
	bus      *Bus
	name     string
	stream   jetstream.Stream
	consumer jetstream.Consumer
}

// MakeWorkStream makes a stream on subjects, and a consumer of those that match handled.
// It must not exist already.
func (b *Bus) MakeWorkStream(ctx context.Context, name string, subjects []string, handled string) (*WorkStream, error) {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	w := &WorkStream{bus: b, name: name}
	var err error
	w.stream, err = b.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: name, Subjects: subjects, Retention: jetstream.WorkQueuePolicy, Replicas: max(1, b.cfg.Replicas),
	})
	if err != nil {
		return nil, fmt.Errorf("create stream %s on %s: %w", name, strings.Join(subjects, ", "), clientError(err))
	}
	w.consumer, err = w.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: "worker", FilterSubject: handled, AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		err = fmt.Errorf("create consumer of stream %s: %w", name, clientError(err))
		return nil, errors.Join(err, w.Remove(context.WithoutCancel(ctx)))
	}
	return w, nil
}

// Publish stores a message in the stream.
func (w *WorkStream) Publish(ctx context.Context, subject string, body []byte) error {
	ctx, cancel := w.bus.bounded(ctx)
	defer cancel()
	if _, err := w.bus.js.Publish(ctx, subject, body); err != nil {
		return about(subject, clientError(err))
	}
	return nil
}

// Handle hands the messages to h as Consume does, at most concurrency at the same time,
// and reports the success of redelivered ones. onError is told what goes wrong besides
// the work itself.
func (w *WorkStream) Handle(ctx context.Context, r *Reporter, concurrency int, h func(ctx context.Context, m schemas.Message) error, onError func(error)) error {
	return Consume(ctx, w.consumer, r, func(ctx context.Context, m jetstream.Msg) error {
		return h(ctx, schemas.Message{Subject: m.Subject(), Header: schemas.Header(m.Headers()), Body: m.Data()})
	}, ConsumeOptions{
		Concurrency: concurrency, ReportSuccess: true,
		OnError: func(_ jetstream.Msg, err error) { onError(err) },
	})
}

// Count is the number of messages on subject that are still in the stream.
func (w *WorkStream) Count(ctx context.Context, subject string) (uint64, error) {
	ctx, cancel := w.bus.bounded(ctx)
	defer cancel()
	info, err := w.stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return 0, fmt.Errorf("count %s in stream %s: %w", subject, w.name, clientError(err))
	}
	var n uint64
	for _, messages := range info.State.Subjects {
		n += messages
	}
	return n, nil
}

// Remove deletes the stream and everything in it.
func (w *WorkStream) Remove(ctx context.Context) error { return w.bus.drop(ctx, w.name) }

// RemoveStreams deletes every stream and bucket of this recoveryd, with everything in
// them: what waits, dead letters, outcomes. Stop its daemons first. What recoveryd did not
// make stays.
func (b *Bus) RemoveStreams(ctx context.Context) error {
	var faults []error
	for _, c := range append(b.layout(), b.advisoriesStream()) {
		info, err := b.lookup(ctx, c.Name)
		if err == nil && info.Config.Metadata[ownerKey] == owner {
			err = b.drop(ctx, c.Name)
		}
		if !errors.Is(err, schemas.ErrNotFound) {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

func (b *Bus) drop(ctx context.Context, name string) error {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	if err := clientError(b.js.DeleteStream(ctx, name)); err != nil && !errors.Is(err, schemas.ErrNotFound) {
		return fmt.Errorf("remove stream %s, do it with nats stream rm %[1]s: %w", name, err)
	}
	return nil
}
