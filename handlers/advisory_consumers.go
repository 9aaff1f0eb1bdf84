package handlers

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// For how long what was learnt of a consumer is used, and of how many at most.
const (
	consumerFresh  = 2 * time.Second
	consumerFailed = 10 * time.Second // after an error
	maxConsumers   = 1000
)

// consumerStates asks for consumers, once for many messages.
type consumerStates struct {
	store AdvisoryStore
	now   func() time.Time

	mu  sync.Mutex
	all map[consumerName]*consumerLook
}

// consumerLook is one look at a consumer. The rest is set when over is closed.
type consumerLook struct {
	over  chan struct{}
	ended time.Time
	state *schemas.ConsumerState // nil if it is not there
	err   error
}

// get returns nil for a consumer that is not there. What it returns may be as old as a moment
// ago unless it shall be fresh; an error may be that old in any case.
func (s *consumerStates) get(ctx context.Context, c consumerName, fresh bool) (*schemas.ConsumerState, error) {
	s.mu.Lock()
	look := s.all[c]
	if look != nil && look.usable(s.now(), fresh) {
		s.mu.Unlock()
		select {
		case <-look.over:
			return look.state, look.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	look = &consumerLook{over: make(chan struct{})}
	if len(s.all) >= maxConsumers {
		clear(s.all)
	}
	s.all[c] = look
	s.mu.Unlock()
	look.state, look.err = s.store.ConsumerState(ctx, c.stream, c.name)
	if errors.Is(look.err, schemas.ErrNotFound) {
		look.state, look.err = nil, nil
	}
	look.ended = s.now()
	close(look.over)
	return look.state, look.err
}

// failed has everything else of a consumer fail for a moment, too. A question without an answer
// takes ten seconds: asked for each message it would keep all others waiting.
func (s *consumerStates) failed(c consumerName, err error) {
	if !errors.Is(err, schemas.ErrTimeout) {
		return
	}
	l := &consumerLook{over: make(chan struct{}), ended: s.now(), err: err}
	close(l.over)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[c] = l
}

func (l *consumerLook) usable(now time.Time, fresh bool) bool {
	select {
	case <-l.over:
		return now.Sub(l.ended) <= l.lasts() && (!fresh || l.err != nil)
	default:
		return !fresh
	}
}

// lasts is for how long a look counts.
func (l *consumerLook) lasts() time.Duration {
	if l.err != nil {
		return consumerFailed
	}
	return consumerFresh
}
