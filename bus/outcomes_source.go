package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// listenStored hears events from their stream.
func listenStored(ctx context.Context, nc *nats.Conn, o ListenOptions, filters []string, onError func(error)) (source, error) {
	js, err := jetstream.New(nc)
	if o.Domain != "" {
		js, err = jetstream.NewWithDomain(nc, o.Domain)
	}
	if err != nil {
		return nil, err
	}
	name := cmp.Or(o.StreamPrefix, "RECOVERY") + "_OUTCOMES"
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w: start recoveryd once in this account, or check StreamPrefix and Domain", name, clientError(err))
	}
	var s source
	if o.Durable == "" {
		s, err = listenInOrder(ctx, stream, o.Since, filters)
	} else {
		s, err = listenDurably(ctx, stream, o, filters, onError)
	}
	if err != nil {
		return nil, fmt.Errorf("consumer on %s: %w", name, clientError(err))
	}
	return s, nil
}

// orderedSource hears events in order, and forgets where it was.
type orderedSource struct{ messages jetstream.MessagesContext }

// listenInOrder begins behind a known sequence, so that nothing is missed if the consumer
// has to be made again before the first event came.
func listenInOrder(ctx context.Context, stream jetstream.Stream, since time.Time, filters []string) (source, error) {
	c := jetstream.OrderedConsumerConfig{FilterSubjects: filters, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: stream.CachedInfo().State.LastSeq + 1}
	if !since.IsZero() {
		c.DeliverPolicy, c.OptStartSeq, c.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &since
	}
	consumer, err := stream.OrderedConsumer(ctx, c)
	if err != nil {
		return nil, err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(256))
	if err != nil {
		return nil, err
	}
	return &orderedSource{messages}, nil
}

func (s *orderedSource) next(ctx context.Context) (subject string, body []byte, err error) {
	m, err := s.messages.Next(jetstream.NextContext(ctx))
	if errors.Is(err, jetstream.ErrConnectionClosed) {
		return "", nil, fmt.Errorf("%w: %w", schemas.ErrClosed, err)
	}
	if err != nil {
		return "", nil, err
	}
	return m.Subject(), m.Data(), nil
}

func (s *orderedSource) stop() { s.messages.Stop() }

// liveAhead is how many events may wait for a slow reader of a live listener.
const liveAhead = 4096

// liveSource hears events as they are published.
type liveSource struct {
	subs    []*nats.Subscription
	events  chan *nats.Msg
	over    chan struct{}
	close   sync.Once
	dropped int
	onError func(error)
}

func listenLive(nc *nats.Conn, filters []string, onError func(error)) (source, error) {
	s := &liveSource{events: make(chan *nats.Msg, liveAhead), over: make(chan struct{}), onError: onError}
	for _, filter := range filters {
		sub, err := nc.ChanSubscribe(filter, s.events)
		if err != nil {
			s.stop()
			return nil, clientError(err)
		}
		sub.SetClosedHandler(func(string) { s.close.Do(func() { close(s.over) }) })
		s.subs = append(s.subs, sub)
	}
	if err := nc.FlushTimeout(5 * time.Second); err != nil { // from now on nothing is missed
		s.stop()
		return nil, clientError(err)
	}
	return s, nil
}

func (s *liveSource) next(ctx context.Context) (subject string, body []byte, err error) {
	s.noteDropped()
	select {
	case m := <-s.events:
		return m.Subject, m.Data, nil
	case <-s.over:
		return "", nil, schemas.ErrClosed
	case <-ctx.Done():
		return "", nil, ctx.Err()
	}
}

func (s *liveSource) noteDropped() {
	total := 0
	for _, sub := range s.subs {
		n, _ := sub.Dropped() // of a closed subscription nobody asks
		total += n
	}
	if total > s.dropped {
		s.onError(fmt.Errorf("%d events were missed: the reader is too slow, listen without Live", total-s.dropped))
	}
	s.dropped = max(s.dropped, total)
}

func (s *liveSource) stop() {
	for _, sub := range s.subs {
		_ = sub.Unsubscribe() // fails only when it is over already
	}
	s.close.Do(func() { close(s.over) })
}
