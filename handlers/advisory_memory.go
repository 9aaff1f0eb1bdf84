package handlers

import (
	"sync"
	"time"
)

// adviceKey is one message that was given up: streams, consumers and sequences have namesakes
// after they were deleted, and the server says the same twice.
type adviceKey struct {
	consumer               consumerName
	streamCreated, created int64
	sequence, deliveries   uint64
}

// progress is how far the recovery of a message got.
type progress uint8

const (
	adviceNew    progress = iota
	adviceBusy            // being worked on
	adviceStored          // its report is stored, the message itself not settled
	adviceDone
)

// maxAdvices is how many messages are remembered, at least; a repeat that is older is
// recognised by its id when it is redelivered.
const maxAdvices = 20_000

// adviceMemory recognises repeats.
type adviceMemory struct {
	mu     sync.Mutex
	recent map[adviceKey]progress
	older  map[adviceKey]progress
}

func newAdviceMemory() *adviceMemory {
	return &adviceMemory{recent: map[adviceKey]progress{}, older: map[adviceKey]progress{}}
}

// begin says how far a message is. If it is new or stored it is the caller's until note.
func (m *adviceMemory) begin(k adviceKey) progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.recent[k]
	if !ok {
		at = m.older[k]
	}
	if at == adviceNew || at == adviceStored {
		m.put(k, adviceBusy)
	}
	return at
}

// note says how far the caller got.
func (m *adviceMemory) note(k adviceKey, at progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(k, at)
}

func (m *adviceMemory) put(k adviceKey, at progress) {
	delete(m.older, k)
	if at == adviceNew {
		delete(m.recent, k)
		return
	}
	if len(m.recent) >= maxAdvices {
		m.recent, m.older = make(map[adviceKey]progress, maxAdvices), m.recent
		delete(m.older, k)
	}
	m.recent[k] = at
}

// adviceBackoff is the pause before try n + 1.
func adviceBackoff(n uint64) time.Duration {
	return min(time.Second<<min(n, 6), time.Minute)
}
