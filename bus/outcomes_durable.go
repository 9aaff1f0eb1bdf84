package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A durable listener has few events ahead, so that a slow reader comes to each of them
// before the server takes it for lost.
const (
	durableAhead = 16
	durableWait  = 2 * time.Minute
)

// durableConsumer takes the consumer with its name, with the filters of now, or makes it.
func durableConsumer(ctx context.Context, stream jetstream.Stream, o ListenOptions, filters []string) (jetstream.Consumer, error) {
	found, err := stream.Consumer(ctx, o.Durable)
	if err == nil {
		config := found.CachedInfo().Config
		if slices.Equal(config.FilterSubjects, filters) || len(filters) == 1 && config.FilterSubject == filters[0] {
			return found, nil
		}
		config.FilterSubject, config.FilterSubjects = "", filters
		return stream.UpdateConsumer(ctx, config)
	}
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, err
	}
	config := jetstream.ConsumerConfig{Durable: o.Durable, FilterSubjects: filters, AckPolicy: jetstream.AckExplicitPolicy, AckWait: durableWait, DeliverPolicy: jetstream.DeliverNewPolicy}
	if !o.Since.IsZero() {
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &o.Since
	}
	return stream.CreateConsumer(ctx, config)
}

// durableSource hears events of a consumer that remembers what was heard.
type durableSource struct {
	consumer jetstream.Consumer
	onError  func(error)
	over     chan struct{}
	close    sync.Once

	mu    sync.Mutex
	batch <-chan jetstream.Msg // what was asked for last
	fault func() error         // of the batch, once it is over
	last  jetstream.Msg        // not yet heard
}

func listenDurably(ctx context.Context, stream jetstream.Stream, o ListenOptions, filters []string, onError func(error)) (source, error) {
	consumer, err := durableConsumer(ctx, stream, o, filters)
	if err != nil {
		return nil, err
	}
	return &durableSource{consumer: consumer, onError: onError, over: make(chan struct{})}, nil
}

func (s *durableSource) next(ctx context.Context) (subject string, body []byte, err error) {
	for fails := 0; ; {
		batch, err := s.current()
		if err == nil {
			select {
			case m, ok := <-batch:
				if ok {
					s.mu.Lock()
					s.last = m
					s.mu.Unlock()
					return m.Subject(), m.Data(), nil
				}
				err = s.ended(batch)
			case <-ctx.Done():
				return "", nil, ctx.Err()
			case <-s.over:
				return "", nil, jetstream.ErrMsgIteratorClosed
			}
		}
		if err == nil {
			fails = 0
			continue
		}
		if err := final(ctx, s.consumer, err); err != nil {
			return "", nil, err
		}
		fails++
		select {
		case <-ctx.Done():
		case <-s.over:
		case <-time.After(pullPause(fails)):
		}
	}
}

// current acknowledges the event before, and asks for more if nothing is asked for.
func (s *durableSource) current() (<-chan jetstream.Msg, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.over:
		return nil, nil // read by nobody: over comes first
	default:
	}
	if s.last != nil {
		if err := s.last.Ack(); err != nil {
			s.onError(fmt.Errorf("an event will be told again: %w", err))
		}
		s.last = nil
	}
	if s.batch == nil {
		batch, err := s.consumer.Fetch(durableAhead, jetstream.FetchMaxWait(pullFor))
		if err != nil {
			return nil, err
		}
		s.batch, s.fault = batch.Messages(), batch.Error
	}
	return s.batch, nil
}

func (s *durableSource) ended(batch <-chan jetstream.Msg) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.batch != batch {
		return nil
	}
	s.batch = nil
	return s.fault()
}

// stop gives back what was not heard, oldest first, once the request for more is over: it
// would be answered with what was given back.
func (s *durableSource) stop() {
	s.close.Do(func() {
		close(s.over)
		s.mu.Lock()
		defer s.mu.Unlock()
		var unheard []jetstream.Msg
		if s.last != nil {
			unheard = append(unheard, s.last)
		}
		if s.batch != nil {
			for m := range s.batch {
				unheard = append(unheard, m)
			}
		}
		for _, m := range unheard {
			_ = m.Nak() // if it is lost, the event comes after its time
		}
		s.last, s.batch = nil, nil
	})
}
