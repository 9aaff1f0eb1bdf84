package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
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
	successesWait    = 10 * time.Second
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
	claims := []*claim{{bus: b, stream: b.stream(failed), shard: shard, since: since.UnixNano(),
		prefix: shardConsumer(shard), filters: []string{b.cfg.Subjects.Intake(shard, ">")}}}
	if shard == 0 {
		// The server stores reports whose subject holds a wildcard, but its transform
		// passes them over. They have a consumer of their own, because one with more
		// than one filter costs the server far more for every message. Its two filters
		// together are the subject of the stream; as one, the server would take the
		// consumer for one without a filter.
		claims = append(claims, &claim{bus: b, stream: b.stream(failed), shard: shard, since: since.UnixNano(),
			prefix: strayConsumer, filters: []string{b.cfg.Subjects.Failed("*"), b.cfg.Subjects.Failed("*.>")}})
		on = oneAtATime(on)
	}
	var feeds []*feed
	for _, c := range claims {
		feeds = append(feeds, &feed{bus: b, nc: b.nc, stream: c.stream, batch: intakeBatch, maxBytes: b.pullBytes(intakeBytes),
			attach: c.attach, on: b.reports(on), over: over})
	}
	if stop, err = startAll(ctx, feeds...); err != nil {
		return nil, fmt.Errorf("intake of shard %d: %w", shard, err)
	}
	return stop, nil
}

// oneAtATime keeps the promise that on is not called by two goroutines at once.
func oneAtATime(on func(schemas.Report)) func(schemas.Report) {
	var mu sync.Mutex
	return func(r schemas.Report) {
		mu.Lock()
		defer mu.Unlock()
		on(r)
	}
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
	bus     *Bus
	stream  string
	shard   int
	prefix  string // of the consumer's name, before since
	filters []string
	since   int64 // unix nanoseconds
}

// claimTries bounds the race with another owner, which one of both always wins.
const claimTries = 10

func (c *claim) name(since int64) string { return c.prefix + strconv.FormatInt(since, 10) }

// attach makes the consumer, also anew after an interruption: what was on its way then
// would else be delivered again only after the AckWait. What is in hand comes again, too,
// and is recognised; acknowledgements of before still count, as the name is the same.
func (c *claim) attach(ctx context.Context) (string, error) {
	ctx, cancel := c.bus.bounded(ctx)
	defer cancel()
	var err error
	for range claimTries {
		err = c.clear(ctx)
		if errors.Is(err, schemas.ErrTimeout) && ctx.Err() == nil {
			continue // the look at what is left tells whether it was done
		}
		if err != nil {
			return "", err
		}
		if err = c.make(ctx); err == nil {
			return c.name(c.since), nil
		}
		if codeOf(err) != codeWorkQueueTaken {
			break
		}
	}
	return "", clientError(err)
}

// clear deletes the consumers of former owners and our own.
func (c *claim) clear(ctx context.Context) error {
	names, err := c.bus.consumers(ctx, c.stream)
	if err != nil {
		return err
	}
	for _, name := range names {
		since, ok := ownerSince(name, c.prefix)
		switch {
		case !ok:
			continue
		case since > c.since:
			return fmt.Errorf("%w: shard %d has a later owner, %s", schemas.ErrConflict, c.shard, name)
		}
		if err := c.remove(ctx, name); err != nil && !errors.Is(err, schemas.ErrNotFound) {
			return err
		}
	}
	return nil
}

// removeTime bounds the wait for an answer that may never come: a cluster does not answer
// the deletion of a consumer that was made a moment ago and has no leader yet.
const removeTime = 400 * time.Millisecond

func (c *claim) remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, removeTime)
	defer cancel()
	return c.bus.request(ctx, "CONSUMER.DELETE."+c.stream+"."+name, nil, &struct{}{})
}

func (c *claim) make(ctx context.Context) error {
	one, several := c.filters[0], c.filters
	if len(several) == 1 {
		several = nil
	} else {
		one = ""
	}
	_, err := c.bus.js.CreateConsumer(ctx, c.stream, jetstream.ConsumerConfig{
		Durable:        c.name(c.since),
		FilterSubject:  one,
		FilterSubjects: several,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        intakeWait,
		MaxDeliver:     -1,
		MaxAckPending:  intakePending,
		// What is acknowledged has left the stream, and every owner begins with a new
		// consumer: nothing of its state is worth a file that is written all the time.
		MemoryStorage: true,
		Metadata:      map[string]string{ownerKey: owner},
	})
	return err
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
