package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Timing of a feed.
const (
	pullExpires   = 30 * time.Second
	pullHeartbeat = 2 * time.Second // of the server while it has nothing to say
	pullSilence   = 2*pullHeartbeat + time.Second
	retryFirst    = 50 * time.Millisecond
	retryMax      = 2 * time.Second
)

// feed pulls messages from a consumer, one request at a time, and calls on for each from
// one goroutine; on may block, then nothing more is asked for. Whatever goes wrong ends
// the session with a reason: consumer deleted, connection lost, server silent, a gap. Then
// attach finds or makes the consumer anew and the next session begins.
//
// The library's own loops are not used: they take a stored message without a body and
// with a Status header, which any reporter may send, for a word of the server, and they
// notice a consumer that vanished during a reconnection only ten seconds later.
type feed struct {
	bus      *Bus
	nc       *nats.Conn // over which it reads
	stream   string
	batch    int // messages of one request
	maxBytes int // of one request; grows if a message is larger
	attach   func(ctx context.Context) (consumer string, err error)
	on       func(m *nats.Msg, at place) error
	progress bool // the session delivered something
}

// Reasons to end a session.
var (
	errSilent = errors.New("the server said nothing for too long")
	errGap    = errors.New("messages were lost on the way")
	errGone   = errors.New("the consumer is gone")
)

// start attaches, so that an error is the caller's, and runs until ctx is done or stop is
// called. stop waits: afterwards on is not called any more. It must not be called from on.
func (f *feed) start(ctx context.Context) (stop func(), err error) {
	consumer, err := f.attach(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { f.run(ctx, consumer) })
	return sync.OnceFunc(func() { cancel(); running.Wait() }), nil
}

func (f *feed) run(ctx context.Context, consumer string) {
	wait := retryFirst
	for {
		f.progress = false
		err := f.session(ctx, consumer)
		if f.progress {
			wait = retryFirst
		}
		for ; err != nil && ctx.Err() == nil; wait = min(2*wait, retryMax) {
			f.bus.cfg.OnEvent("retry", fmt.Errorf("feed from stream %s: %w", f.stream, err))
			if !f.connected(ctx) || !sleep(ctx, wait) {
				return
			}
			consumer, err = f.attach(ctx)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// connected waits for a connection; false means there will be none, or ctx is done.
func (f *feed) connected(ctx context.Context) bool {
	nc := f.nc
	change := nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer nc.RemoveStatusListener(change)
	for !nc.IsConnected() {
		if nc.IsClosed() {
			return false
		}
		select {
		case <-change:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// session is one inbox and one consumer. It returns nil only when ctx is done.
func (f *feed) session(ctx context.Context, consumer string) error {
	nc := f.nc
	lost := nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	defer nc.RemoveStatusListener(lost)
	inbox := nc.NewInbox() + "."
	msgs := make(chan *nats.Msg, f.batch+64) // and words of the server: heartbeats, the end
	sub, err := nc.ChanSubscribe(inbox+"*", msgs)
	if err != nil {
		return clientError(err)
	}
	defer sub.Unsubscribe()
	p := pull{feed: f, inbox: inbox, msgs: msgs, lost: lost, silence: time.NewTimer(pullSilence)}
	defer p.silence.Stop()
	subject := f.bus.api + "CONSUMER.MSG.NEXT." + f.stream + "." + consumer
	for n := 0; ctx.Err() == nil; n++ {
		p.reply = inbox + strconv.Itoa(n)
		if err := nc.PublishRequest(subject, p.reply, f.next()); err != nil {
			return clientError(err)
		}
		if err := p.receive(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (f *feed) next() []byte {
	data, _ := json.Marshal(struct { // four numbers cannot fail
		Batch     int           `json:"batch"`
		MaxBytes  int           `json:"max_bytes"`
		Expires   time.Duration `json:"expires"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}{f.batch, f.maxBytes, pullExpires, pullHeartbeat})
	return data
}

// pull is one request's answers.
type pull struct {
	*feed
	inbox   string // with its final dot
	reply   string // of this request: the end of one may be told after its last message
	msgs    chan *nats.Msg
	lost    chan nats.Status
	silence *time.Timer
}

// receive returns nil when the request is used up or ctx is done. The server says nothing
// when its bytes are used up exactly, hence they are counted as the server does.
func (p *pull) receive(ctx context.Context) error {
	for n, bytes := 0, p.maxBytes; n < p.batch && bytes > 0; {
		p.silence.Reset(pullSilence)
		select {
		case <-ctx.Done():
			return nil
		case <-p.lost:
			return errInterrupted
		case <-p.silence.C:
			return errSilent
		case m := <-p.msgs:
			if ctx.Err() != nil {
				return nil
			}
			if strings.HasPrefix(m.Subject, p.inbox) { // the server's word; a message has its own subject
				if over, err := p.word(m, n); over || err != nil {
					return err
				}
				continue
			}
			at, err := readPlace(m.Reply)
			if err != nil {
				return err
			}
			if err := p.on(m, at); err != nil {
				return err
			}
			n, bytes = n+1, bytes-m.Size()
			p.progress = true
		}
	}
	return nil
}

// word says whether the request is over, or why the session must end.
func (p *pull) word(m *nats.Msg, received int) (over bool, err error) {
	if m.Subject != p.reply {
		return false, nil
	}
	text := m.Header.Get("Description")
	switch status := m.Header.Get("Status"); {
	case status == "100": // heartbeat
		return false, nil
	case status == "404", status == "408", status == "409" && text == "Batch Completed":
		return true, nil
	case status == "409" && text == "Message Size Exceeds MaxBytes":
		if received == 0 {
			p.maxBytes *= 2
		}
		return true, nil
	case status == "503", status == "409" && text == "Consumer Deleted":
		return true, errGone
	default:
		return true, fmt.Errorf("the server ended the request: %s %s", status, text)
	}
}
