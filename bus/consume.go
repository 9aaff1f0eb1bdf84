package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// Consume hands the messages of a consumer to a handler until ctx ends, and then waits for
// the handlers. What becomes of a message is told at Wrap.
//
// A message is pulled only when a handler is free to take it, so none waits in the
// process while others could do it. When ctx ends no more is pulled; handlers have Drain
// to finish, then their contexts end. The result is nil after a clean stop. An error names
// handlers that never returned, or says why nothing more will come: the consumer is gone,
// or the connection is closed.
//
// The consumer must acknowledge explicitly. Its MaxDeliver should be unlimited (-1, the
// default): recoveryd counts the attempts, and a message whose report cannot be stored
// must come again.
func Consume(ctx context.Context, c jetstream.Consumer, r *Reporter, h Handler, o ConsumeOptions) error {
	if err := o.Validate(); err != nil {
		return fmt.Errorf("options of Consume: %w", err)
	}
	info, err := c.Info(ctx)
	if err != nil {
		return fmt.Errorf("look at the consumer: %w", clientError(err))
	}
	if info.Config.AckPolicy != jetstream.AckExplicitPolicy {
		return fmt.Errorf("consumer %s of %s has the acknowledgement policy %q and would lose what fails: make it with explicit", info.Name, info.Stream, info.Config.AckPolicy)
	}
	if o.AckWait == 0 {
		o.AckWait = shortestWait(info.Config)
	}
	w := &worker{reporter: r, handler: h, ConsumeOptions: o.withDefaults()}
	p := puller{worker: w, consumer: c, name: info.Stream + "/" + info.Name, batch: w.Concurrency, wait: pullFor, free: make(chan struct{}, w.Concurrency)}
	if most := info.Config.MaxRequestBatch; most > 0 {
		p.batch = min(p.batch, most)
	}
	if most := info.Config.MaxRequestExpires; most > 0 {
		p.wait = min(p.wait, most)
	}
	for range w.Concurrency {
		p.free <- struct{}{}
	}
	working, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	err = p.pull(ctx, working)
	return errors.Join(err, p.drain(end))
}

// shortestWait is the least time after which the consumer takes a message for lost.
func shortestWait(c jetstream.ConsumerConfig) time.Duration {
	wait := c.AckWait
	for _, d := range c.BackOff {
		wait = min(wait, d)
	}
	return wait
}

// puller hands the messages of one consumer to a worker.
type puller struct {
	*worker
	consumer jetstream.Consumer
	name     string
	batch    int           // messages of one request at most
	wait     time.Duration // how long one request stands
	free     chan struct{} // one token for each handler that may start
	handling sync.WaitGroup
}

// pullFor is how long one request for messages stands. It also bounds how late a stop is
// noticed: ending a request early could lose messages that are on their way until their
// AckWait is over.
const pullFor = time.Second

func (p *puller) pull(ctx, working context.Context) error {
	for fails := 0; ; {
		n := p.places(ctx)
		if n == 0 {
			return nil
		}
		err := p.fetch(ctx, working, n)
		if err == nil {
			fails = 0
			continue
		}
		if err = p.gone(ctx, err); err != nil {
			return err
		}
		fails++
		select {
		case <-ctx.Done():
		case <-time.After(pullPause(fails)):
		}
	}
}

// places waits for a free handler and takes it with all others that are free; 0 = ctx ended.
func (p *puller) places(ctx context.Context) (n int) {
	if ctx.Err() != nil {
		return 0
	}
	select {
	case <-p.free:
	case <-ctx.Done():
		return 0
	}
	for n = 1; n < p.batch; n++ {
		select {
		case <-p.free:
		default:
			return n
		}
	}
	return n
}

func (p *puller) leave() { p.free <- struct{}{} }

// fetch asks for n messages and starts a handler for each that comes. What comes after the
// end of ctx is given back once the request is over, or it would be the answer to it.
func (p *puller) fetch(ctx, working context.Context, n int) error {
	var late []jetstream.Msg
	batch, err := p.consumer.Fetch(n, jetstream.FetchMaxWait(p.wait))
	if err == nil {
		for m := range batch.Messages() {
			if ctx.Err() != nil {
				late = append(late, m)
				continue
			}
			n--
			p.handling.Go(func() { p.handle(working, m, p.leave) })
		}
		err = batch.Error()
	}
	for _, m := range late {
		p.tell(m, "give back", m.Nak())
	}
	for range n {
		p.leave()
	}
	return err
}

// gone returns an error if no message will ever come again, and tells of any other.
func (p *puller) gone(ctx context.Context, err error) error {
	if end := final(ctx, p.consumer, err); end != nil {
		return fmt.Errorf("consume %s: nothing more will come: %w", p.name, end)
	}
	if ctx.Err() == nil {
		p.OnError(nil, fmt.Errorf("consume %s, going on: %w", p.name, clientError(err)))
	}
	return nil
}

// final is the reason, if err means that pulling from a consumer is over for good.
func final(ctx context.Context, c jetstream.Consumer, err error) error {
	err = clientError(err)
	if errors.Is(err, schemas.ErrNoStream) { // a consumer without a leader, or none at all
		if _, look := c.Info(ctx); errors.Is(clientError(look), schemas.ErrNotFound) {
			return clientError(look)
		}
	}
	for _, end := range []error{schemas.ErrClosed, schemas.ErrNotFound, jetstream.ErrConsumerDeleted} {
		if errors.Is(err, end) {
			return err
		}
	}
	return nil
}

// pullPause is how long to wait after so many requests that failed in a row.
func pullPause(fails int) time.Duration {
	return min(100*time.Millisecond<<min(fails, 6), 5*time.Second)
}

// drain waits for the handlers: first until they are done, then until they heeded the end
// of their contexts.
func (p *puller) drain(end context.CancelCauseFunc) error {
	settled := make(chan struct{})
	go func() {
		p.handling.Wait()
		close(settled)
	}()
	select {
	case <-settled:
	case <-time.After(p.Drain):
	}
	end(ErrStopped)
	<-settled
	if n := p.lost.Load(); n > 0 {
		return fmt.Errorf("consume %s: %d handlers did not return within %v after their contexts ended and still run", p.name, n, p.Grace)
	}
	return nil
}
