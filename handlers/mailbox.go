package handlers

import (
	"sync"
	"time"
)

// mailbox takes what others have for the loop. Posting never blocks: what is posted is
// bounded by the publishes and chores under way.
type mailbox struct {
	mu      sync.Mutex
	letters []func(s *shard, now time.Time)
	signal  chan struct{}
	closed  bool
}

// post returns false if the loop has ended, so that nobody would read the letter.
func (m *mailbox) post(letter func(s *shard, now time.Time)) bool {
	m.mu.Lock()
	closed := m.closed
	if !closed {
		m.letters = append(m.letters, letter)
	}
	m.mu.Unlock()
	select {
	case m.signal <- struct{}{}:
	default:
	}
	return !closed
}

func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed, m.letters = true, nil
}

func (m *mailbox) take() []func(*shard, time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	letters := m.letters
	m.letters = nil
	return letters
}
