package chaos

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/schemas"
)

// maxAttempts is that of every policy of a run.
const maxAttempts = 5

// policies of a run: without a breaker, with a fallback, and behind breakers.
const policies = `version: 1
policies:
  - name: guarded
    subjects: ["jobs.guarded.>"]
    retry: {max_attempts: 5, initial_delay: 300ms, max_delay: 2s, jitter: none, max_hint: 60s}
    breaker: {failure_threshold: 5, reset_timeout: 2s, half_open_timeout: 3s}
    success_evidence: report
  - name: spared
    subjects: ["jobs.spared.>"]
    retry: {max_attempts: 5, initial_delay: 300ms, max_delay: 2s, jitter: none, max_hint: 60s}
    breaker: {disabled: true}
    fallback: ["spare.one"]
    success_evidence: report
  - name: plain
    subjects: ["jobs.plain.>"]
    retry: {max_attempts: 5, initial_delay: 300ms, max_delay: 2s, jitter: none, max_hint: 60s}
    breaker: {disabled: true}
`

// load is reporters and workers.
type load struct {
	*installation
	*account
	seed  uint64
	begin time.Time
	far   time.Duration // longest delay that a reporter asks for
	slots chan struct{} // bounds the publishes at the same time
}

// report reports failures of new work until ctx ends, rate of them a second, each until
// its PubAck came, which alive bounds.
func (l *load) report(ctx, alive context.Context, random *rand.Rand, rate int) {
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		id, subject := fmt.Sprintf("w%06d", n), l.subject(random, n)
		delay := between(random, 500*time.Millisecond, 4*time.Second)
		if random.IntN(5) < 2 {
			delay = between(random, 6*time.Second, l.far)
		}
		l.slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-l.slots }()
			l.fail(alive, id, subject, 1, nil, delay, schemas.ClassTransient)
		})
	}
}

func (l *load) subject(random *rand.Rand, n int) string {
	switch kind := []string{"plain", "spared", "guarded"}[n%3]; kind {
	case "guarded":
		return fmt.Sprintf("jobs.guarded.%d", random.IntN(12))
	default:
		return fmt.Sprintf("jobs.%s.%d", kind, random.IntN(100))
	}
}

// fail reports a failure until its PubAck came.
func (l *load) fail(ctx context.Context, id, subject string, attempt int, echoed nats.Header, delay time.Duration, class string) {
	m := nats.NewMsg(subjects.Failed(subject))
	m.Data = []byte("body of " + id)
	for name, values := range echoed {
		if !strings.HasPrefix(name, "Nats-") {
			m.Header[name] = values
		}
	}
	m.Header.Set(schemas.HeaderID, id)
	m.Header.Set(schemas.HeaderOccurredAt, time.Now().UTC().Format(time.RFC3339Nano)) // the same in all repeats
	m.Header.Set(schemas.HeaderError, "simulated")
	m.Header.Set(schemas.HeaderClass, class)
	delay = delay.Truncate(time.Millisecond)
	m.Header.Set(schemas.HeaderRetryAfter, strconv.FormatFloat(delay.Seconds(), 'f', 3, 64))
	l.reporting(id, subject, attempt, delay)
	if l.publish(ctx, m) == nil {
		l.reported(id)
	}
}

// publish repeats until the PubAck came.
func (l *load) publish(ctx context.Context, m *nats.Msg) error {
	return retry(ctx, func(ctx context.Context) error {
		_, err := l.js.PublishMsg(ctx, m)
		return err
	})
}

// handler is what a worker does with a message; one that fails comes again.
type handler = func(context.Context, jetstream.Msg) error

// work consumes a stream with many workers until the returned function is called.
func (l *load) work(ctx context.Context, stream string, on handler) (stop func(), err error) {
	var consumer jetstream.Consumer
	err = retry(ctx, func(ctx context.Context) error {
		consumer, err = l.js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
			Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 30 * time.Second, MaxAckPending: 5000,
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 256)
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if on(ctx, m) == nil {
				_ = m.Ack() // one that is lost brings it again
			}
		})
	}, jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(5*time.Second))
	if err != nil {
		return nil, err
	}
	return func() { consuming.Stop(); <-consuming.Closed(); wg.Wait() }, nil
}

// job is what a worker does with a delivery: it succeeds or fails as the seed says, and
// behind a breaker it fails for some seconds at a time.
func (l *load) job(ctx context.Context, m jetstream.Msg) error {
	h := m.Headers()
	id := h.Get(schemas.HeaderID)
	attempt, _ := strconv.Atoi(h.Get(schemas.HeaderAttempt))
	number, _ := strconv.Atoi(h.Get(schemas.HeaderDelivery))
	roll := l.roll(id, number)
	ok, again, known := l.verdict(id, number, func() bool {
		if guarded(m.Subject()) {
			return roll < 97 && !l.outage(m.Subject())
		}
		return roll < 60
	})
	if !known {
		return nil
	}
	if again && ok {
		return nil
	}
	if !ok {
		class := schemas.ClassTransient
		if roll >= 97 {
			class = schemas.ClassPermanent
		}
		l.fail(ctx, id, m.Subject(), attempt, h, 300*time.Millisecond+time.Duration(roll)*20*time.Millisecond, class)
		return ctx.Err()
	}
	report := nats.NewMsg(subjects.Succeeded(m.Subject()))
	for name, values := range h {
		if !strings.HasPrefix(name, "Nats-") {
			report.Header[name] = values
		}
	}
	if err := l.publish(ctx, report); err != nil {
		return err
	}
	l.placed(id, placeTarget)
	return nil
}

// guarded says whether a subject is behind a breaker: then work may be held, too.
func guarded(subject string) bool { return strings.HasPrefix(subject, "jobs.guarded.") }

// outage says whether what is behind a subject is down: for four seconds of every fifteen.
func (l *load) outage(subject string) bool {
	shift := time.Duration(l.roll(subject, 0)) * 150 * time.Millisecond
	return (time.Since(l.begin)+shift)%(15*time.Second) < 4*time.Second
}

// roll is a number below 100 that follows from the seed.
func (l *load) roll(id string, n int) int {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s %d", l.seed, id, n)
	return int(h.Sum64() >> 8 % 100)
}

// arrives takes note of what ends in a stream.
func (l *load) arrives(place string) handler {
	return func(_ context.Context, m jetstream.Msg) error {
		l.placed(m.Headers().Get(schemas.HeaderID), place)
		return nil
	}
}

// read hands over everything that a stream holds, beginning anew while servers still
// settle.
func (i *installation) read(ctx context.Context, stream string, on func(*jetstream.RawStreamMsg)) error {
	var all []*jetstream.RawStreamMsg
	err := retry(ctx, func(context.Context) (err error) {
		all, err = i.readOnce(ctx, stream)
		return err
	})
	for _, m := range all {
		on(m)
	}
	return err
}

func (i *installation) readOnce(ctx context.Context, stream string) (all []*jetstream.RawStreamMsg, err error) {
	s, err := i.js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	consumer, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1})
	if err != nil || consumer.CachedInfo().NumPending == 0 {
		return nil, err
	}
	for {
		batch, err := consumer.Fetch(1000, jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			return nil, err
		}
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return nil, err
			}
			if meta.Sequence.Consumer != uint64(len(all)+1) {
				return nil, fmt.Errorf("message %d of %s was lost on the way", len(all)+1, stream)
			}
			all = append(all, &jetstream.RawStreamMsg{
				Subject: m.Subject(), Sequence: meta.Sequence.Stream, Header: m.Headers(), Data: m.Data(), Time: meta.Timestamp,
			})
			if meta.NumPending == 0 {
				return all, nil
			}
		}
		if err := batch.Error(); err != nil {
			return nil, err
		}
	}
}
