package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/test/bench/internal/lateness"
	"github.com/recoveryd/recoveryd/test/bench/internal/load"
	"github.com/recoveryd/recoveryd/test/bench/internal/report"
)

// reading is what the target stream tells of a measurement, read afterwards.
type reading struct {
	seen        *load.Seen
	late        lateness.Histogram
	early       int
	attempts    int // deliveries whose attempt is not the second
	first, last time.Time
	gap         time.Duration // the longest time in which nothing was stored, from the sequence gapFrom on
	gapFrom     uint64

	from, to uint64 // sequences whose lateness counts
	previous time.Time
}

// read reads the deliveries after a sequence, of n failures. Those of (from, to] count for
// the lateness.
func (r *rig) read(after uint64, n int, from, to, gapFrom uint64) (*reading, error) {
	state, err := r.state(target)
	if err != nil {
		return nil, err
	}
	x := &reading{seen: load.NewSeen(n), from: from, to: to, gapFrom: gapFrom}
	return x, r.each(target, after+1, state.LastSeq, x.take)
}

// each calls take for every message of a stream with a sequence in [from, to].
func (r *rig) each(stream string, from, to uint64, take func(m jetstream.Msg, at *jetstream.MsgMetadata) error) error {
	if from > to {
		return nil
	}
	c, err := r.js.OrderedConsumer(r.b.ctx, stream, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from})
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	all, err := c.Messages()
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	defer all.Stop()
	for {
		m, err := all.Next(jetstream.NextContext(r.b.ctx))
		if err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		at, err := m.Metadata()
		if err == nil {
			err = take(m, at)
		}
		if err != nil || at.Sequence.Stream >= to {
			return err
		}
	}
}

func (x *reading) take(m jetstream.Msg, at *jetstream.MsgMetadata) error {
	stamp, ok := load.ReadStamp(m.Data())
	failed, err := time.Parse(time.RFC3339Nano, m.Headers().Get(schemas.HeaderFirstFailedAt))
	if err != nil || !ok {
		return errors.Join(fmt.Errorf("message %d on %s is no delivery of ours", at.Sequence.Stream, m.Subject()), err)
	}
	x.seen.Add(stamp.Index)
	if m.Headers().Get(schemas.HeaderAttempt) != "2" {
		x.attempts++
	}
	late := at.Timestamp.Sub(failed.Add(stamp.Delay))
	if late < 0 {
		x.early++
	}
	if s := at.Sequence.Stream; s > x.from && s <= x.to {
		x.late.Add(late)
	}
	x.order(at)
	return nil
}

// order notes when messages were stored.
func (x *reading) order(at *jetstream.MsgMetadata) {
	if x.first.IsZero() {
		x.first = at.Timestamp
	}
	if at.Sequence.Stream >= x.gapFrom && !x.previous.IsZero() {
		x.gap = max(x.gap, at.Timestamp.Sub(x.previous))
	}
	x.last, x.previous = at.Timestamp, at.Timestamp
}

// lateness fills in how late deliveries were.
func (x *reading) lateness(row *report.Row) {
	row.P50, row.P99, row.Max = milliseconds(x.late.Quantile(0.5)), milliseconds(x.late.Quantile(0.99)), milliseconds(x.late.Max())
}

// account notes every broken promise.
func (b *run) account(name string, x *reading, sent int) {
	if lost := sent - x.seen.Distinct; lost > 0 {
		b.fault(name, "%d of %d lost", lost, sent)
	}
	for what, n := range map[string]int{"delivered twice": x.seen.Twice, "never sent": x.seen.Strangers, "early": x.early, "with the wrong attempt": x.attempts} {
		if n > 0 {
			b.fault(name, "%d of %d %s", n, sent, what)
		}
	}
}
