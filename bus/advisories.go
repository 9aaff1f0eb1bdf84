package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// Settings of the consumer of advisories. Those put off stay pending, so there must be room
// for many more than are worked on.
const (
	advisoriesBatch   = 64
	advisoriesBytes   = 256 << 10
	advisoriesWait    = time.Minute
	advisoriesPending = 100_000
)

// Advisories delivers what the server said of messages that consumers gave up, from the
// stream that records it; all replicas share one consumer, so only one should read. The
// stream is made again if it is gone. state is told whenever reading begins (nil) or cannot
// begin (why; it is tried again). Otherwise as Intake.
func (b *Bus) Advisories(ctx context.Context, on func(schemas.Notice), state func(error)) (stop func(), err error) {
	f := &feed{bus: b, nc: b.nc, batch: advisoriesBatch, maxBytes: advisoriesBytes, on: b.notices(on)}
	f.attach = func(ctx context.Context) (string, error) {
		err := b.attachAdvisories(ctx, &f.stream)
		state(err)
		return owner, err
	}
	return f.start(ctx)
}

func (b *Bus) attachAdvisories(ctx context.Context, stream *string) error {
	if err := b.ensureAdvisories(ctx); err != nil {
		return err
	}
	*stream = b.AdvisoryStream()
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	_, err := b.js.CreateOrUpdateConsumer(ctx, *stream, jetstream.ConsumerConfig{
		Durable:        owner,
		Description:    "messages that consumers gave up, for recovery",
		FilterSubjects: b.advisoriesStream().Subjects, // another stream may record more
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        advisoriesWait,
		MaxDeliver:     -1,
		MaxAckPending:  advisoriesPending,
		Metadata:       map[string]string{ownerKey: owner},
	})
	if err != nil {
		return fmt.Errorf("consumer %s of stream %s: %w", owner, *stream, clientError(err))
	}
	return nil
}

// notices wraps on. A lost word is repaired by the next delivery, so its error has no reader.
func (b *Bus) notices(on func(schemas.Notice)) func(*nats.Msg, place) error {
	return func(m *nats.Msg, at place) error {
		reply := m.Reply
		on(schemas.Notice{
			Stored: stored(m, at), Deliveries: at.delivered,
			Settle: func() { _ = b.nc.Publish(reply, ackBody) },
			Later:  func(after time.Duration) { _ = b.nc.Publish(reply, fmt.Appendf(nil, `-NAK {"delay":%d}`, after)) },
		})
		return nil
	}
}

// ConsumerState looks at a consumer and its stream; schemas.ErrNotFound if one of them is not
// there, and the error says which.
func (b *Bus) ConsumerState(ctx context.Context, stream, consumer string) (*schemas.ConsumerState, error) {
	s, err := b.lookup(ctx, stream)
	if err != nil {
		return nil, absent(err, fmt.Sprintf("stream %s is not there: see nats stream ls", stream))
	}
	var c struct { // its enumerations as the server names them
		Created time.Time `json:"created"`
		Config  struct {
			AckPolicy  string   `json:"ack_policy"`
			MaxDeliver int      `json:"max_deliver"`
			Filter     string   `json:"filter_subject"`
			Filters    []string `json:"filter_subjects"`
		} `json:"config"`
		Delivered struct {
			Stream uint64 `json:"stream_seq"`
		} `json:"delivered"`
		AckPending  int    `json:"num_ack_pending"`
		Redelivered int    `json:"num_redelivered"`
		Waiting     uint64 `json:"num_pending"`
	}
	if err := b.request(ctx, "CONSUMER.INFO."+stream+"."+consumer, nil, &c); err != nil {
		err = fmt.Errorf("consumer %s of stream %s: %w", consumer, stream, err)
		return nil, absent(err, fmt.Sprintf("consumer %s of stream %s is not there: see nats consumer ls %[2]s", consumer, stream))
	}
	if c.Config.Filter != "" {
		c.Config.Filters = []string{c.Config.Filter}
	}
	b.mu.Lock()
	domain := b.domain
	b.mu.Unlock()
	return &schemas.ConsumerState{
		Stream: stream, Consumer: consumer, StreamCreated: s.Created, Created: c.Created, Domain: domain,
		Own: s.Config.Metadata[ownerKey] == owner, Retention: retention(s.Config.Retention), Consumers: s.State.Consumers,
		AckPolicy: c.Config.AckPolicy, MaxDeliver: c.Config.MaxDeliver, Filters: c.Config.Filters,
		Delivered: c.Delivered.Stream, Waiting: c.Waiting, AckPending: c.AckPending, Redelivered: c.Redelivered,
	}, nil
}

// absent says in its own words that something is not there.
func absent(err error, text string) error {
	if errors.Is(err, schemas.ErrNotFound) {
		return &kind{text, []error{schemas.ErrNotFound}}
	}
	return err
}

func retention(p jetstream.RetentionPolicy) string {
	switch p {
	case jetstream.WorkQueuePolicy:
		return schemas.RetentionWorkQueue
	case jetstream.InterestPolicy:
		return schemas.RetentionInterest
	}
	return schemas.RetentionLimits
}

// ReadMessage gets one message of any stream from its leader; schemas.ErrNotFound if it is
// not there any more.
func (b *Bus) ReadMessage(ctx context.Context, stream string, sequence uint64) (schemas.Stored, error) {
	m, err := b.getMessage(ctx, stream, batch{From: sequence}.single())
	if err != nil {
		return m, fmt.Errorf("read message %d of stream %s: %w", sequence, stream, err)
	}
	return m, nil
}

// NextMessage is the sequence of the first message of any stream from a sequence on that a
// consumer with these filters (none = all) gets, as its leader has it; 0 = there is none.
func (b *Bus) NextMessage(ctx context.Context, stream string, filters []string, from uint64) (next uint64, err error) {
	if len(filters) == 0 {
		filters = []string{">"}
	}
	for _, filter := range filters {
		found, err := b.leaderGet(ctx, stream, batch{From: max(from, 1), Filter: filter})
		if err != nil {
			return 0, fmt.Errorf("look for %s in stream %s from %d: %w", filter, stream, from, err)
		}
		if len(found) > 0 && (next == 0 || found[0].Sequence < next) {
			next = found[0].Sequence
		}
	}
	return next, nil
}

// ReportGivenUp reports a message that a consumer gave up, as its worker would have done, and
// returns once the report is stored. It tries once.
func (b *Bus) ReportGivenUp(ctx context.Context, g *schemas.GivenUp) error {
	r := Reporter{nc: b.nc, js: b.js, subjects: b.cfg.Subjects, timeout: b.cfg.PublishTimeout, tries: 1}
	var cause error = &kind{text: g.Error}
	if g.Permanent {
		cause = Permanent(cause)
	}
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	_, err := r.failed(ctx, reported{subject: g.Subject, header: nats.Header(g.Header), body: g.Body, origin: g.Origin, at: g.At}, cause)
	return err
}

// AckFor acknowledges a message in the name of its consumer, and returns when the server has
// taken note. On a work queue it is removed, elsewhere kept for those who still need it.
func (b *Bus) AckFor(ctx context.Context, o schemas.Origin) error {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	subject := fmt.Sprintf("$JS.ACK.%s.%s.%d.%d.0.0.0", o.Stream, o.Consumer, o.Deliveries, o.Sequence)
	if _, err := b.nc.RequestWithContext(ctx, subject, ackBody); err != nil {
		return fmt.Errorf("acknowledge message %d of stream %s for consumer %s: %w", o.Sequence, o.Stream, o.Consumer, clientError(err))
	}
	return nil
}
