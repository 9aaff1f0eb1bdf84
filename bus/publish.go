package bus

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/recoveryd/recoveryd/schemas"
)

// Publish stores a message. It never waits for the server; done is called exactly once,
// with the acknowledgement or an error of package schemas:
//
//   - ErrNoStream, ErrStoreFull, ErrTooLarge, ErrClosed: it is not stored.
//   - ErrTimeout: unknown; repeat it with the same Nats-Msg-Id.
//   - ErrDisconnected and ErrBusy of this package: it was not sent.
//
// done runs on the caller's goroutine if the message could not be sent, else on one of
// the publisher's two goroutines: it must be quick and must not wait for another answer.
// Header and body must not change until done was called.
func (b *Bus) Publish(m schemas.Message, done func(schemas.Ack, error)) {
	b.out.send(m, b.cfg.PublishTimeout, pending{subject: m.Subject, ack: done})
}

// Request sends a message and hands its first answer to done, under the same rules as
// Publish. Nobody listening is ErrNoResponders.
func (b *Bus) Request(m schemas.Message, timeout time.Duration, done func(schemas.Message, error)) {
	b.out.send(m, timeout, pending{subject: m.Subject, reply: done})
}

// pending is a message that waits for its answer; one of the callbacks is set.
type pending struct {
	subject  string
	deadline time.Time
	ack      func(schemas.Ack, error)
	reply    func(schemas.Message, error)
}

func (p *pending) fail(err error) {
	err = about(p.subject, err)
	if p.ack != nil {
		p.ack(schemas.Ack{}, err)
		return
	}
	p.reply(schemas.Message{}, err)
}

// sweepEvery is how late a timeout may be noticed.
const sweepEvery = 50 * time.Millisecond

// publisher correlates answers with messages. All answers come to one wildcard inbox;
// the last token of the reply subject is a slot's number and how often it was used, so
// that a late answer never meets the slot's next user. Whoever takes a slot out under
// the lock calls its callback, outside of it.
type publisher struct {
	nc    *nats.Conn
	inbox string // with its final dot
	sub   *nats.Subscription
	acks  ackReader // of the reply goroutine only
	stop  chan struct{}
	swept chan struct{}

	mu    sync.Mutex
	over  bool
	slots []slot
	free  []uint32
}

type slot struct {
	uses    uint32
	taken   bool
	pending pending
}

func newPublisher(nc *nats.Conn, maxInFlight int, timeout time.Duration) (*publisher, error) {
	p := &publisher{nc: nc, inbox: nc.NewInbox() + ".", acks: ackReader{names: map[string]string{}},
		stop: make(chan struct{}), swept: make(chan struct{}),
		slots: make([]slot, maxInFlight), free: make([]uint32, maxInFlight)}
	for i := range p.free {
		p.free[i] = uint32(maxInFlight - 1 - i)
	}
	var err error
	if p.sub, err = nc.Subscribe(p.inbox+"*", p.answer); err != nil {
		return nil, fmt.Errorf("inbox for answers: %w", clientError(err))
	}
	// Answers are bounded by the slots; dropping one would cost a timeout.
	if err := p.sub.SetPendingLimits(-1, -1); err != nil {
		return nil, fmt.Errorf("inbox for answers: %w", clientError(err))
	}
	lost := nc.StatusChanged(nats.RECONNECTING, nats.CLOSED) // from now on none is missed
	go p.sweep(lost, min(sweepEvery, max(timeout/10, time.Millisecond)))
	return p, nil
}

func (p *publisher) send(m schemas.Message, timeout time.Duration, entry pending) {
	if err := checkSubject(m.Subject); err != nil {
		entry.fail(err)
		return
	}
	entry.deadline = time.Now().Add(timeout)
	token, err := p.take(entry)
	if err != nil {
		entry.fail(err)
		return
	}
	reply := p.replySubject(token, entry.ack != nil)
	msg := nats.Msg{Subject: m.Subject, Reply: reply, Header: nats.Header(m.Header), Data: m.Body}
	if err := p.nc.PublishMsg(&msg); err != nil {
		if entry, ok := p.release(token); ok {
			entry.fail(clientError(err))
		}
	}
}

// First letters of a reply subject's last token.
const (
	forAck   = 'a'
	forReply = 'r'
)

func (p *publisher) replySubject(token uint64, ack bool) string {
	buf := make([]byte, 0, 96)
	buf = append(buf, p.inbox...)
	if ack {
		buf = append(buf, forAck)
	} else {
		buf = append(buf, forReply)
	}
	return string(strconv.AppendUint(buf, token, 36))
}

// take puts an entry into a free slot.
func (p *publisher) take(entry pending) (token uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return 0, schemas.ErrClosed
	}
	if len(p.free) == 0 {
		return 0, ErrBusy
	}
	i := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	s := &p.slots[i]
	s.uses++
	s.taken, s.pending = true, entry
	return uint64(s.uses)<<32 | uint64(i), nil
}

// release takes the entry out, unless an answer or the sweeper already did.
func (p *publisher) release(token uint64) (pending, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := uint32(token)
	if int(i) >= len(p.slots) || !p.slots[i].taken || p.slots[i].uses != uint32(token>>32) {
		return pending{}, false
	}
	return p.empty(i), true
}

// empty needs the lock.
func (p *publisher) empty(i uint32) pending {
	s := &p.slots[i]
	entry := s.pending
	s.taken, s.pending = false, pending{}
	p.free = append(p.free, i)
	return entry
}

// answer runs on the goroutine of the subscription.
func (p *publisher) answer(m *nats.Msg) {
	last := m.Subject[len(p.inbox):]
	token, err := strconv.ParseUint(last[1:], 36, 64)
	if err != nil {
		return // nobody of ours wrote it
	}
	nobody := len(m.Data) == 0 && m.Header.Get("Status") == "503"
	if last[0] == forAck {
		p.answerAck(token, m.Data, nobody)
		return
	}
	entry, ok := p.release(token)
	switch {
	case !ok: // too late, or a second answer
	case nobody:
		entry.fail(ErrNoResponders)
	default:
		entry.reply(schemas.Message{Subject: entry.subject, Header: schemas.Header(m.Header), Body: m.Data}, nil)
	}
}

// answerAck passes over answers that are no acknowledgements: a service may listen on the
// subject of a stream, and its answer says nothing about storing.
func (p *publisher) answerAck(token uint64, data []byte, nobody bool) {
	ack, err := schemas.Ack{}, schemas.ErrNoStream
	if !nobody {
		ack, err = p.acks.read(data)
	}
	if errors.Is(err, errNoAck) {
		return
	}
	entry, ok := p.release(token)
	switch {
	case !ok:
	case err != nil:
		entry.fail(err)
	default:
		entry.ack(ack, nil)
	}
}

// sweep fails what is overdue, everything in flight when the connection is lost, and all
// that comes once it is closed for good.
func (p *publisher) sweep(lost chan nats.Status, every time.Duration) {
	defer close(p.swept)
	tick := time.NewTicker(every)
	defer tick.Stop()
	defer p.nc.RemoveStatusListener(lost)
	for {
		select {
		case <-p.stop:
			p.finish()
			return
		case status := <-lost:
			if status == nats.RECONNECTING {
				p.fail(errInterrupted, func(*pending) bool { return true })
				continue
			}
			p.finish()
			lost = nil // closed as well
		case now := <-tick.C:
			p.fail(schemas.ErrTimeout, func(e *pending) bool { return now.After(e.deadline) })
		}
	}
}

func (p *publisher) finish() {
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	p.fail(schemas.ErrClosed, func(*pending) bool { return true })
}

func (p *publisher) fail(err error, which func(*pending) bool) {
	for _, entry := range p.remove(which) {
		entry.fail(err)
	}
}

func (p *publisher) remove(which func(*pending) bool) []pending {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == len(p.slots) {
		return nil
	}
	var out []pending
	for i := range p.slots {
		if s := &p.slots[i]; s.taken && which(&s.pending) {
			out = append(out, p.empty(uint32(i)))
		}
	}
	return out
}

func (p *publisher) close() {
	close(p.stop)
	<-p.swept
	_ = p.sub.Unsubscribe() // fails only on a closed connection, where nothing is left to do
}
