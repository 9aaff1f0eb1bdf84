package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// Settings of the consumers of reports.
const (
	intakeWait       = 90 * time.Second // longer than any near wait, shorter than a target's dedupe window of 2 min
	intakePending    = 100_000
	intakeBatch      = 1024
	intakeBytes      = 2 << 20
	successesWait    = 30 * time.Second
	successesPending = 10_000
)

// Intake delivers the failures of a shard to its owner; since is when it became the owner.
// Former owners' consumers are deleted, which makes everything they had not settled
// available at once; one of a later owner is schemas.ErrConflict, and if it appears while
// the intake runs, that ends it with the event "superseded" and a call of over.
//
// on is called from one goroutine and may block, then at most a few megabytes are fetched
// ahead. It runs until ctx is done or stop is called; stop waits for on and must not be
// called from it. What is not settled by then is delivered again, to whoever comes next.
func (b *Bus) Intake(ctx context.Context, shard int, since time.Time, on func(schemas.Report), over func(error)) (stop func(), err error) {
	claim := claim{bus: b, stream: b.stream(failed), shard: shard, since: since.UnixNano()}
	feed := feed{bus: b, stream: claim.stream, batch: intakeBatch, maxBytes: b.pullBytes(intakeBytes),
		attach: claim.attach, on: b.reports(on), over: over}
	stop, err = feed.start(ctx)
	if err != nil {
		return nil, fmt.Errorf("intake of shard %d: %w", shard, err)
	}
	return stop, nil
}

// Successes delivers reports of success; all replicas share one consumer. Otherwise as
// Intake.
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
	feed := feed{bus: b, stream: stream, batch: intakeBatch, maxBytes: b.pullBytes(intakeBytes),
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
		on(schemas.Report{
			Stored:      stored(m, at),
			Redelivered: at.delivered > 1,
			Settle:      func() { _ = b.nc.Publish(reply, ackBody) },
		})
		return nil
	}
}

// claim holds a shard's place at the stream of failures: one durable consumer, named by
// shard and by when the owner became it.
type claim struct {
	bus    *Bus
	stream string
	shard  int
	since  int64 // unix nanoseconds
	made   bool  // the consumer was made once
}

// claimTries bounds the race with another owner, which one of both always wins.
const claimTries = 5

func (c *claim) name(since int64) string {
	return "shard-" + strconv.Itoa(c.shard) + "-" + strconv.FormatInt(since, 10)
}

func (c *claim) attach(ctx context.Context) (string, error) {
	ctx, cancel := c.bus.bounded(ctx)
	defer cancel()
	var err error
	for range claimTries {
		var mine bool
		if mine, err = c.clear(ctx); err != nil {
			return "", err
		}
		if mine { // a mere interruption: what is unsettled stays where it is
			return c.name(c.since), nil
		}
		if err = c.make(ctx); err == nil {
			c.made = true
			return c.name(c.since), nil
		}
		if codeOf(err) != codeWorkQueueTaken {
			break
		}
	}
	return "", clientError(err)
}

// clear deletes the consumers of former owners, and our own if this claim did not make it.
func (c *claim) clear(ctx context.Context) (mine bool, err error) {
	names, err := c.bus.consumers(ctx, c.stream)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		since, ok := ownerSince(name, c.shard)
		switch {
		case !ok:
			continue
		case since > c.since:
			return false, fmt.Errorf("%w: shard %d has a later owner, %s", schemas.ErrConflict, c.shard, name)
		case since == c.since && c.made:
			mine = true
			continue
		}
		if err := c.bus.request(ctx, "CONSUMER.DELETE."+c.stream+"."+name, nil, &struct{}{}); err != nil && !errors.Is(err, schemas.ErrNotFound) {
			return false, err
		}
	}
	return mine, nil
}

func (c *claim) make(ctx context.Context) error {
	_, err := c.bus.js.CreateConsumer(ctx, c.stream, jetstream.ConsumerConfig{
		Durable:        c.name(c.since),
		FilterSubjects: c.filters(),
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        intakeWait,
		MaxDeliver:     -1,
		MaxAckPending:  intakePending,
		Metadata:       map[string]string{ownerKey: owner},
	})
	return err
}

// filters gives the first shard also the reports whose subject holds a wildcard: the
// server stores them, but its transform passes them over. Nobody else would refuse them.
func (c *claim) filters() []string {
	filters := []string{c.bus.cfg.Subjects.Intake(c.shard, ">")}
	if c.shard == 0 {
		filters = append(filters, c.bus.cfg.Subjects.Failed(">"))
	}
	return filters
}

// consumers lists the names of a stream's consumers.
func (b *Bus) consumers(ctx context.Context, stream string) ([]string, error) {
	var names []string
	for {
		var page struct {
			Total     int      `json:"total"`
			Consumers []string `json:"consumers"`
		}
		req := map[string]int{"offset": len(names)}
		if err := b.request(ctx, "CONSUMER.NAMES."+stream, req, &page); err != nil {
			return nil, err
		}
		names = append(names, page.Consumers...)
		if len(page.Consumers) == 0 || len(names) >= page.Total {
			return names, nil
		}
	}
}
