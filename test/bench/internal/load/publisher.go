package load

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// Bus is what a publisher needs of the bus.
type Bus interface {
	Publish(m schemas.Message, done func(schemas.Ack, error))
}

// Publisher publishes messages of one size without waiting for each answer.
type Publisher struct {
	bus    Bus
	bodies chan []byte // as many as may be under way: the bound and the memory in one

	mu     sync.Mutex
	failed error
}

// most bounds the bodies under way.
const (
	mostMessages = 4096
	mostBytes    = 16 << 20
)

// InFlight is how many messages of a size are under way at most.
func InFlight(size int) int { return min(mostMessages, max(64, mostBytes/max(1, size))) }

// NewPublisher makes one for bodies of size bytes, at least StampSize.
func NewPublisher(bus Bus, size int) *Publisher {
	p := &Publisher{bus: bus, bodies: make(chan []byte, InFlight(size))}
	for range cap(p.bodies) {
		body := make([]byte, max(size, StampSize))
		for i := range body {
			body[i] = 'a' + byte(i%26)
		}
		p.bodies <- body
	}
	return p
}

// Make fills the message number i, whose body is given, or says that there are no more.
type Make func(i int, body []byte) (m schemas.Message, more bool)

// Send publishes what next makes, at a pace, until there is no more or ctx ends, and
// waits for all answers. It returns how many were stored and the first error.
func (p *Publisher) Send(ctx context.Context, pace Pace, next Make) (sent int, err error) {
	start := time.Now()
	for pace.wait(ctx, start, sent) && p.err() == nil {
		body := <-p.bodies
		m, more := next(sent, body)
		if !more {
			p.bodies <- body
			break
		}
		p.bus.Publish(m, func(_ schemas.Ack, err error) {
			p.fail(err)
			p.bodies <- body
		})
		sent++
	}
	p.settle()
	return sent, p.err()
}

// settle waits until nothing is under way.
func (p *Publisher) settle() {
	all := make([][]byte, cap(p.bodies))
	for i := range all {
		all[i] = <-p.bodies
	}
	for _, body := range all {
		p.bodies <- body
	}
}

func (p *Publisher) fail(err error) {
	if err == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil {
		p.failed = fmt.Errorf("publish: %w", err)
	}
}

func (p *Publisher) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}
