package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// Sizes of a follower's requests: many small messages, or some whole ones.
const (
	followBatch = 2048
	followBytes = 4 << 20
	followIdle  = 30 * time.Second // after which the server forgets an abandoned one
)

// follower reads a stream in order, each message once, from a sequence, a time, or only
// what is new. When its consumer is lost the next one begins behind the last message.
type follower struct {
	bus         *Bus
	nc          *nats.Conn // over which it reads; nil = that for bulk reads
	stream      string
	filters     []string
	anew        func() // nil, or called when it begins with the first message once more
	attached    bool
	batch       int       // messages of one request, 0 = followBatch
	maxBytes    int       // of one request, 0 = followBytes
	from        uint64    // next sequence, or 0 for what since says
	since       time.Time // zero: only what is new
	headersOnly bool
	on          func(m *nats.Msg, at place)
	deliveries  uint64 // of the current consumer
}

func (f *follower) start(ctx context.Context) (stop func(), err error) {
	if f.nc == nil {
		f.nc = f.bus.bulk
	}
	feed := feed{bus: f.bus, nc: f.nc, stream: f.stream, batch: cmp.Or(f.batch, followBatch),
		maxBytes: cmp.Or(f.maxBytes, f.bus.pullBytes(followBytes)), attach: f.attach, on: f.accept}
	stop, err = feed.start(ctx)
	if err != nil {
		return nil, fmt.Errorf("follow %s: %w", strings.Join(f.filters, ", "), err)
	}
	return stop, nil
}

func (f *follower) attach(ctx context.Context) (string, error) {
	ctx, cancel := f.bus.bounded(ctx)
	defer cancel()
	if f.anew != nil {
		f.from = 1
	}
	c := jetstream.ConsumerConfig{
		AckPolicy:         jetstream.AckNonePolicy,
		HeadersOnly:       f.headersOnly,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: followIdle,
		Metadata:          map[string]string{ownerKey: owner},
	}
	switch {
	case f.from > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, f.from
	case !f.since.IsZero():
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &f.since
	default:
		c.DeliverPolicy = jetstream.DeliverNewPolicy
	}
	if len(f.filters) == 1 {
		c.FilterSubject = f.filters[0]
	} else {
		c.FilterSubjects = f.filters
	}
	f.deliveries = 0
	consumer, err := f.bus.js.CreateConsumer(ctx, f.stream, c)
	if err != nil {
		return "", clientError(err)
	}
	info := consumer.CachedInfo()
	if f.from == 0 && f.since.IsZero() {
		f.from = info.Delivered.Stream + 1 // what comes before the first message is not missed
	}
	if f.anew != nil && f.attached {
		f.anew()
	}
	f.attached = true
	return info.Name, nil
}

func (f *follower) accept(m *nats.Msg, at place) error {
	if at.consumer != f.deliveries+1 {
		return errGap
	}
	f.deliveries++
	f.from = at.stream + 1
	f.on(m, at)
	return nil
}

// FollowLedger tells of every message in a shard's ledger from a sequence on, and then of
// each new one: its lane, its sequence and how many entries it holds. on may block. It runs
// until ctx is done or stop is called; stop waits for on and must not be called from it.
//
// The server keeps the blocks of a stream around what it delivers in memory for ten seconds.
func (b *Bus) FollowLedger(ctx context.Context, shard int, from uint64, on func(subject string, sequence uint64, entries int)) (stop func(), err error) {
	return b.followLedger(ctx, shard, b.cfg.Subjects.Ledger(shard), from, on)
}

// FollowSignals tells of the messages in the one lane of a shard's ledger that others write
// to. Otherwise as FollowLedger.
func (b *Bus) FollowSignals(ctx context.Context, shard int, from uint64, on func(subject string, sequence uint64, entries int)) (stop func(), err error) {
	return b.followLedger(ctx, shard, b.cfg.Subjects.Signal(shard), from, on)
}

func (b *Bus) followLedger(ctx context.Context, shard int, filter string, from uint64, on func(subject string, sequence uint64, entries int)) (stop func(), err error) {
	f := follower{bus: b, stream: b.ledgerOf(shard), filters: []string{filter}, from: max(from, 1), headersOnly: true,
		on: func(m *nats.Msg, at place) { on(m.Subject, at.stream, schemas.PageEntries(schemas.Header(m.Header))) }}
	return f.start(ctx)
}

// FollowRefused tells of every letter with a refused subject, oldest first, and then of
// each new one. Otherwise as FollowLedger.
func (b *Bus) FollowRefused(ctx context.Context, on func(sequence uint64, size int)) (stop func(), err error) {
	f := follower{bus: b, stream: b.stream(dead), filters: []string{b.cfg.Subjects.Dead("*", "_refused.>")}, from: 1, headersOnly: true,
		on: func(m *nats.Msg, at place) { on(at.stream, storedSize(m)) }}
	return f.start(ctx)
}

// FollowOutcomes hands over the outcomes and changes of breakers on filter ("" = all) from
// a time on, or only new ones if since is zero. Otherwise as FollowLedger.
func (b *Bus) FollowOutcomes(ctx context.Context, filter string, since time.Time, on func(schemas.Stored)) (stop func(), err error) {
	f := follower{bus: b, stream: b.stream(outcomes), filters: []string{filter}, since: since,
		on: func(m *nats.Msg, at place) { on(stored(m, at)) }}
	return f.start(ctx)
}

// LastOutcomes returns the newest events, the oldest of them first, at most n. It reads
// them directly: however many happen, a look costs the same.
func (b *Bus) LastOutcomes(ctx context.Context, n int) ([]schemas.Stored, error) {
	newest := struct {
		Last string `json:"last_by_subj"`
	}{">"}
	last, err := b.getMessage(ctx, b.stream(outcomes), newest)
	if errors.Is(err, schemas.ErrNotFound) && codeOf(err) == codeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("newest outcome: %w", err)
	}
	from := uint64(1)
	if last.Sequence > uint64(n) {
		from = last.Sequence - uint64(n) + 1
	}
	return b.read(ctx, b.stream(outcomes), batch{From: from, Count: n})
}

func stored(m *nats.Msg, at place) schemas.Stored {
	return schemas.Stored{
		Message:  schemas.Message{Subject: m.Subject, Header: schemas.Header(m.Header), Body: m.Data},
		Sequence: at.stream,
		Time:     at.time,
	}
}

// headerSize is what the server puts in the place of a body.
const headerSize = "Nats-Msg-Size"

// storedSize is the size of a message delivered without its body.
func storedSize(m *nats.Msg) int {
	text := last(m.Header, headerSize)
	body, err := strconv.Atoi(text)
	if err != nil {
		return len(m.Data) + schemas.Header(m.Header).Size()
	}
	return body + schemas.Header(m.Header).Size() - len(headerSize) - len(text) - 4
}

// pullBytes is enough for the largest message of the server twice.
func (b *Bus) pullBytes(least int) int { return max(least, 2*int(b.nc.MaxPayload())) }
