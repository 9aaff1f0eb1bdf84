package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/test/bench/internal/load"
)

// Sizes of what is written, as the daemon's are.
const (
	bareHeader  = 250 // bytes of a delivery's headers besides those with a value of their own
	bareOutcome = 600 // of an outcome's body
	bareInWork  = 4096
)

// bareLoop stands in for the daemon: it asks of the bus what a recovery cannot do without,
// and does nothing else. It reads all reports through one consumer, writes those that wait
// for long to the ledger in pages, stores each delivery, then its outcome, and once a second
// removes what is settled. It has no policy, breakers, leases, checkpoints or metrics, does
// not read the ledger, and what waits is lost when it ends.
type bareLoop struct {
	bus     *bus.Bus
	size    int
	padding []string
	outcome []byte
	slots   chan struct{} // bounds the deliveries under way
	settled atomic.Uint64 // sequence of the last report that is
	failed  chan error

	mu       sync.Mutex
	subjects map[string]string // each once
	calendar map[int64][]bareWork
	next     int64 // millisecond that is released next
	taken    uint64
	waiting  int
	pages    map[int64][]byte // by second; not yet stored
}

// bareWork is a failure that waits: its body is made again when it is delivered.
type bareWork struct {
	subject  string
	sequence uint64
	stored   int64 // unix nanoseconds
	stamp    load.Stamp
	far      bool
}

// runBare is the life of the child. Its arguments are the server and the size of a body.
func runBare(args []string) error {
	size, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	nc, err := bus.Connect(bus.Options{Servers: args[0], Name: "bare loop"})
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	b, err := bus.New(nc, bus.Config{Subjects: subjects, StreamPrefix: "RECOVERY", PublishTimeout: time.Minute})
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.Ensure(ctx); err != nil {
		return err
	}
	l := &bareLoop{
		bus: b, size: size, padding: []string{strings.Repeat("p", bareHeader)}, outcome: []byte(strings.Repeat("o", bareOutcome)),
		slots: make(chan struct{}, bareInWork), failed: make(chan error, 1),
		subjects: map[string]string{}, calendar: map[int64][]bareWork{}, next: time.Now().UnixMilli(), pages: map[int64][]byte{},
	}
	return l.run(ctx, js)
}

func (l *bareLoop) run(ctx context.Context, js jetstream.JetStream) error {
	reports, err := js.OrderedConsumer(ctx, failedStream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	reading, err := reports.Consume(l.take, jetstream.PullMaxMessages(4096))
	if err != nil {
		return err
	}
	defer reading.Stop()
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running.Go(func() { l.release(ctx) })
	running.Go(func() { l.store(ctx) })
	fmt.Println("ready")
	if err = l.purge(ctx, js); errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (l *bareLoop) take(m jetstream.Msg) {
	at, err := m.Metadata()
	stamp, ok := load.ReadStamp(m.Data())
	_, subject, notOurs := subjects.ParseIntake(m.Subject())
	if err = errors.Join(err, notOurs); err != nil || !ok {
		l.fail(fmt.Errorf("a report on %s that is not the load's: %w", m.Subject(), err))
		return
	}
	due := at.Timestamp.Add(stamp.Delay)
	l.mu.Lock()
	defer l.mu.Unlock()
	name, known := l.subjects[subject]
	if !known {
		name = strings.Clone(subject)
		l.subjects[name] = name
	}
	w := bareWork{subject: name, sequence: at.Sequence.Stream, stored: at.Timestamp.UnixNano(), stamp: stamp, far: stamp.Delay > bareNear}
	if w.far {
		second := due.Unix()
		l.pages[second] = append(l.pages[second], m.Data()...)
	}
	slot := max(due.UnixMilli()+1, l.next) // never early
	l.calendar[slot] = append(l.calendar[slot], w)
	l.taken = w.sequence
	l.waiting++
}

// release delivers what is due, millisecond by millisecond.
func (l *bareLoop) release(ctx context.Context) {
	beat := time.NewTicker(time.Millisecond)
	defer beat.Stop()
	for ctx.Err() == nil {
		l.mu.Lock()
		slot := l.next
		if slot <= time.Now().UnixMilli() {
			l.next++
		}
		reached := slot < l.next
		var due []bareWork
		if reached {
			due = l.calendar[slot]
			delete(l.calendar, slot)
		}
		l.mu.Unlock()
		for _, w := range due {
			l.slots <- struct{}{}
			l.deliver(w)
		}
		if !reached {
			<-beat.C
		}
	}
}

func (l *bareLoop) deliver(w bareWork) {
	body := make([]byte, l.size)
	w.stamp.Put(body)
	id := []string{strconv.FormatUint(w.sequence, 10)}
	header := schemas.Header{
		schemas.HeaderMsgID:         id,
		schemas.HeaderAttempt:       {"2"},
		schemas.HeaderFirstFailedAt: {time.Unix(0, w.stored).UTC().Format(time.RFC3339Nano)},
		"Padding":                   l.padding,
	}
	l.bus.Publish(schemas.Message{Subject: w.subject, Header: header, Body: body}, func(_ schemas.Ack, err error) {
		if err != nil {
			l.fail(err)
			return
		}
		outcome := schemas.Message{Subject: subjects.Outcome(schemas.KindRedelivered, w.subject), Header: schemas.Header{schemas.HeaderMsgID: id}, Body: l.outcome}
		l.bus.Publish(outcome, func(_ schemas.Ack, err error) {
			<-l.slots
			if err != nil {
				l.fail(err)
				return
			}
			l.delivered(&w)
		})
	})
}

// delivered settles a report that did not wait for long: those are due in the order in which
// they were read, and answers come in order.
func (l *bareLoop) delivered(w *bareWork) {
	if !w.far {
		l.settled.Store(w.sequence)
	}
	l.mu.Lock()
	l.waiting--
	l.mu.Unlock()
}

// store writes the pages, and settles the reports in them, four times a second.
func (l *bareLoop) store(ctx context.Context) {
	every := time.NewTicker(250 * time.Millisecond)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		l.mu.Lock()
		pages, taken := l.pages, l.taken
		l.pages = map[int64][]byte{}
		l.mu.Unlock()
		var stored sync.WaitGroup
		for second, page := range pages {
			for len(page) > 0 {
				part := page[:min(len(page), schemas.MaxPageBytes)]
				page = page[len(part):]
				stored.Add(1)
				l.bus.Publish(schemas.Message{Subject: subjects.Due(0, second), Body: part}, func(_ schemas.Ack, err error) {
					l.fail(err)
					stored.Done()
				})
			}
		}
		stored.Wait()
		if len(pages) > 0 {
			l.settled.Store(taken)
		}
	}
}

// purge removes what is settled until the loop fails or ends, and the ledger when nothing
// waits.
func (l *bareLoop) purge(ctx context.Context, js jetstream.JetStream) error {
	failures, err := js.Stream(ctx, failedStream)
	if err != nil {
		return err
	}
	ledger, err := js.Stream(ctx, ledgerStream+"0")
	if err != nil {
		return err
	}
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-l.failed:
			return err
		case <-every.C:
		}
		if err := failures.Purge(ctx, jetstream.WithPurgeSequence(l.settled.Load()+1)); err != nil {
			return err
		}
		l.mu.Lock()
		over := l.waiting == 0
		l.mu.Unlock()
		if over {
			if err := ledger.Purge(ctx); err != nil {
				return err
			}
		}
	}
}

func (l *bareLoop) fail(err error) {
	if err == nil {
		return
	}
	select {
	case l.failed <- err:
	default: // the first is enough
	}
}
