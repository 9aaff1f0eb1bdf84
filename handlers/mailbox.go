package handlers

import (
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// mailbox takes what others have for the loop. Posting never blocks: what is posted is
// bounded by the publishes and chores under way.
type mailbox struct {
	mu      sync.Mutex
	letters []letter
	spare   []letter
	signal  chan struct{}
	closed  bool
}

// letter is something to be done with the shard, or the answer to a publish: those are so
// many that they have no function each.
type letter struct {
	act func(s *shard, now time.Time)

	item *item
	part string // of recoveryd's subjects that it was published to, "" if it is none
	ack  schemas.Ack
	err  error
}

// post returns false if the loop has ended, so that nobody would read the letter.
func (m *mailbox) post(act func(s *shard, now time.Time)) bool { return m.put(letter{act: act}) }

func (m *mailbox) put(l letter) bool {
	m.mu.Lock()
	closed := m.closed
	if !closed {
		m.letters = append(m.letters, l)
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
	m.closed, m.letters, m.spare = true, nil, nil
}

// take returns what was posted, until take is called again: two buffers take turns.
func (m *mailbox) take() []letter {
	m.mu.Lock()
	defer m.mu.Unlock()
	letters := m.letters
	clear(m.spare)
	m.letters, m.spare = m.spare[:0], letters
	return letters
}
