package handlers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// ackGrace is how long after its acknowledgement a delivery counts as a success, at least.
// A worker that fails reports first and acknowledges then, so an acknowledgement alone says
// nothing; but the report is stored before it, and is here within this time, or within
// three times what the slowest report took lately.
const ackGrace = 5 * time.Second

// maxLag bounds what a report that waited for an owner says about those that follow.
const maxLag = 20 * time.Second

// maxAwaited bounds the deliveries of a shard whose acknowledgement is awaited; beyond it
// the oldest are given up, which for a breaker is an unknown outcome.
const maxAwaited = 10_000

// storedAt is where a stream stored a delivery.
type storedAt struct {
	stream   string
	sequence uint64
}

// deliveryOf names one delivery of a piece of work.
type deliveryOf struct {
	id     string
	number int
}

// awaited is a delivery whose acknowledgement by a consumer means success.
type awaited struct {
	at      storedAt
	key     breakerKey
	success schemas.Success
	acked   time.Time // zero until the acknowledgement came
	over    bool
}

// ackBook remembers which deliveries are awaited, in the order of their release.
type ackBook struct {
	order    []*awaited
	stored   map[storedAt]*awaited
	delivery map[deliveryOf]*awaited
	acked    []*awaited // in the order of their acknowledgements
	early    early
	lag      time.Duration // what the slowest report took lately from the stream to here
	lagAt    time.Time
}

// early is the deliveries that were reported as failed while nothing was awaited of them:
// a fast worker's report can be read before the answer to the release. The latest
// maxAwaited are kept.
type early struct {
	is    map[deliveryOf]struct{}
	order []deliveryOf
}

func (e *early) add(d deliveryOf) {
	if _, known := e.is[d]; known {
		return
	}
	e.is[d], e.order = struct{}{}, append(e.order, d)
	if len(e.order) > maxAwaited {
		delete(e.is, e.order[0])
		e.order = e.order[1:]
	}
}

// arrived takes note of how long a report took.
func (b *ackBook) arrived(now, at time.Time) {
	if lag := now.Sub(at); lag > b.lag || now.Sub(b.lagAt) > time.Minute {
		b.lag, b.lagAt = min(max(0, lag), maxLag), now
	}
}

func (b *ackBook) grace() time.Duration { return max(ackGrace, 3*b.lag) }

func newAckBook() *ackBook {
	return &ackBook{stored: map[storedAt]*awaited{}, delivery: map[deliveryOf]*awaited{}, early: early{is: map[deliveryOf]struct{}{}}}
}

func (b *ackBook) add(a *awaited) {
	if _, failed := b.early.is[deliveryOf{a.success.ID, a.success.Delivery}]; failed {
		return
	}
	b.order = append(b.order, a)
	b.stored[a.at] = a
	b.delivery[deliveryOf{a.success.ID, a.success.Delivery}] = a
	for len(b.stored) > maxAwaited || len(b.order) > 0 && b.order[0].over {
		b.drop(b.order[0])
		b.order = b.order[1:]
	}
}

func (b *ackBook) drop(a *awaited) {
	if a == nil || a.over {
		return
	}
	a.over = true
	delete(b.stored, a.at)
	delete(b.delivery, deliveryOf{a.success.ID, a.success.Delivery})
}

// await takes note of a release whose policy takes acknowledgements as evidence.
func (s *shard) await(it *item, ack schemas.Ack) {
	if it.policy.Ack == nil || it.policy.Ack.Stream != ack.Stream || it.step == schemas.StepFallback {
		return
	}
	s.acks.add(&awaited{
		at: storedAt{ack.Stream, ack.Sequence}, key: breakerKey{it.policy.Name, it.key},
		success: schemas.Success{
			Subject: it.work.Subject, Intake: it.target, ID: it.work.ID, Attempt: it.attempt, Delivery: it.number, Replay: it.work.Replay,
			Generation: it.generation, Fallback: schemas.NoFallback, Probe: it.probe, FirstFailedAt: it.work.FirstFailedAt, Sealed: true,
			Trace: schemas.Traceparent(it.work.Header),
		},
	})
}

// acknowledged says that a consumer acknowledged a message of a stream.
func (s *shard) acknowledged(now time.Time, at storedAt) {
	if a := s.acks.stored[at]; a != nil && a.acked.IsZero() {
		a.acked = now
		s.acks.acked = append(s.acks.acked, a)
	}
}

// reported takes a delivery out whose failure was reported: its acknowledgement is not a
// success.
func (s *shard) reported(now time.Time, it *item) {
	s.acks.arrived(now, time.Unix(0, it.record.At))
	if it.policy.Ack == nil || it.work.Delivery < 2 {
		return // an original delivery is not ours to await
	}
	d := deliveryOf{it.work.ID, it.work.Delivery}
	if a := s.acks.delivery[d]; a != nil {
		s.acks.drop(a)
	} else {
		s.acks.early.add(d)
	}
}

// judgeAcks counts the acknowledged deliveries that nobody reported as failed.
func (s *shard) judgeAcks(now time.Time) {
	for len(s.acks.acked) > 0 {
		a := s.acks.acked[0]
		if !a.over && now.Sub(a.acked) < s.acks.grace() {
			return
		}
		s.acks.acked = s.acks.acked[1:]
		if a.over {
			continue
		}
		s.acks.drop(a)
		a.success.At = a.acked
		s.success(now, a.key, &a.success)
		s.tellRecovered(now, a)
	}
}

// nextAck is when the next acknowledgement is judged, zero if none waits.
func (s *shard) nextAck() time.Time {
	if len(s.acks.acked) == 0 {
		return time.Time{}
	}
	return s.acks.acked[0].acked.Add(s.acks.grace())
}

func (s *shard) tellRecovered(now time.Time, a *awaited) {
	p := s.policies.Named(a.key.policy)
	if p == nil {
		return
	}
	o := recoveredOutcome(p, a.key, &a.success, string(strategies.EvidenceAck))
	s.observe(Event{Kind: EventOutcome, At: now, Policy: p.Name, Outcome: &o, Subject: o.Subject, ID: o.ID, Trace: a.success.Trace,
		Elapsed: max(0, now.Sub(a.success.FirstFailedAt))})
	m := s.subjects.OutcomeMessage(&o, &schemas.Work{FirstFailedAt: a.success.FirstFailedAt}, now)
	s.publishEvent(now, m)
}

// readAcks hears the acknowledgements that policies take as evidence, until ctx ends or
// the policies change.
func (e *Engine) readAcks(ctx context.Context) error {
	policies := e.policies.Load()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for _, p := range policies.All() {
		if p.Ack == nil {
			continue
		}
		spec := *p.Ack
		wg.Go(func() {
			e.insist(ctx, fmt.Sprintf("acknowledgements of %s", p.Name), func(ctx context.Context) error { return e.followAcks(ctx, spec) })
		})
	}
	select {
	case <-ctx.Done():
	case <-e.reloaded(policies):
	}
	cancel()
	wg.Wait()
	return nil
}

func (e *Engine) followAcks(ctx context.Context, spec schemas.AckSpec) error {
	stop, err := e.bus.FollowAcks(ctx, spec.Stream, spec.Consumer, func(sequence uint64) {
		at := storedAt{spec.Stream, sequence}
		for _, l := range e.running() {
			l.mail.post(func(s *shard, now time.Time) { s.acknowledged(now, at) })
		}
	})
	if err != nil {
		return err
	}
	<-ctx.Done()
	stop()
	return nil
}
