package bus

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/recoveryd/recoveryd/schemas"
)

// errInterrupted: the answer to what was asked before will never come.
var errInterrupted error = &kind{"the connection was lost before the answer came, it is unknown whether it was done", []error{schemas.ErrTimeout}}

// link ends the requests that were under way when the connection was lost, instead of
// letting them wait for their timeouts.
type link struct {
	stop, done chan struct{}

	mu     sync.Mutex
	ctx    context.Context // ends with the connection, until the next one
	cancel context.CancelCauseFunc
}

func newLink(nc *nats.Conn) *link {
	l := &link{stop: make(chan struct{}), done: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	go l.watch(nc, nc.StatusChanged(nats.RECONNECTING, nats.CLOSED))
	return l
}

func (l *link) watch(nc *nats.Conn, lost chan nats.Status) {
	defer close(l.done)
	defer nc.RemoveStatusListener(lost)
	for {
		select {
		case _, open := <-lost:
			l.interrupt()
			if !open {
				return
			}
		case <-l.stop:
			return
		}
	}
}

func (l *link) interrupt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel(errInterrupted)
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
}

// bind is ctx that also ends with the connection and, if it has no deadline, after a
// time. Its Err says which.
func (l *link) bind(ctx context.Context, within time.Duration) (context.Context, context.CancelFunc) {
	l.mu.Lock()
	connection := l.ctx
	l.mu.Unlock()
	ctx, interrupt := context.WithCancelCause(ctx)
	unbind := context.AfterFunc(connection, func() { interrupt(errInterrupted) })
	release := func() { unbind(); interrupt(nil) }
	if _, ok := ctx.Deadline(); !ok {
		inner, cancel := context.WithTimeout(ctx, within)
		return reasoned{inner}, func() { cancel(); release() }
	}
	return reasoned{ctx}, release
}

// reasoned is a context whose Err is the cause of its end: the client library returns it.
type reasoned struct{ context.Context }

func (r reasoned) Err() error { return context.Cause(r.Context) }

func (l *link) close() {
	close(l.stop)
	<-l.done
}
