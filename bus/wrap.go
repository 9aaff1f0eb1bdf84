package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// Handler does the work of one message. nil means that it is done. It must not acknowledge
// the message, and should return soon after its context ended: the cause of that is
// ErrHandlerTimeout, or ErrStopped when the program stops.
type Handler func(ctx context.Context, m jetstream.Msg) error

// Why the context of a handler ended.
var (
	ErrHandlerTimeout error = &kind{"the handler took longer than it may", []error{context.DeadlineExceeded}}
	ErrStopped              = errors.New("the program stops")
)

// ConsumeOptions say how messages are handled. The zero value is usable.
type ConsumeOptions struct {
	Concurrency   int           // handlers at the same time, 1 to 10,000; 0 = 1, which keeps the order
	Timeout       time.Duration // until the context of a handler ends; 0 = 1 minute
	Drain         time.Duration // how long handlers may go on when Consume is told to stop; 0 = 10 s
	Grace         time.Duration // how long a handler may go on after its context ended; 0 = 5 s
	AckWait       time.Duration // of the consumer; 0 = as Consume finds it, 30 s for Wrap
	ReportSuccess bool          // report success of redelivered messages

	// OnError is told what went wrong besides the work itself: a report that could not be
	// stored, a handler that does not return, a consumer that does not answer (then m is
	// nil). It may be called from several goroutines. nil = log with slog.
	OnError func(m jetstream.Msg, err error)
}

// Validate names every field that cannot be used.
func (o ConsumeOptions) Validate() error {
	var faults []error
	if o.Concurrency < 0 || o.Concurrency > 10_000 {
		faults = append(faults, fmt.Errorf("Concurrency is %d, not 1 to 10,000 or 0 for 1", o.Concurrency))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Timeout", o.Timeout}, {"Drain", o.Drain}, {"Grace", o.Grace}, {"AckWait", o.AckWait}} {
		if d.value < 0 {
			faults = append(faults, fmt.Errorf("%s is negative", d.name))
		}
	}
	return errors.Join(faults...)
}

func (o ConsumeOptions) withDefaults() ConsumeOptions {
	if o.Concurrency == 0 {
		o.Concurrency = 1
	}
	for _, d := range []struct {
		field *time.Duration
		usual time.Duration
	}{{&o.Timeout, time.Minute}, {&o.Drain, 10 * time.Second}, {&o.Grace, 5 * time.Second}, {&o.AckWait, 30 * time.Second}} {
		if *d.field == 0 {
			*d.field = d.usual
		}
	}
	if o.OnError == nil {
		o.OnError = logError
	}
	return o
}

func logError(m jetstream.Msg, err error) {
	if m == nil {
		slog.Error("consume", "error", err)
		return
	}
	slog.Error("handle message", "subject", m.Subject(), "error", err)
}

// Wrap gives a handler what Consume gives it, for programs that pull their messages
// themselves. A message is acknowledged only after the handler returned nil or the report
// of its failure is stored:
//
//   - The handler fails, panics or takes longer than Timeout: reported, then acknowledged.
//   - The report cannot be stored: OnError is told, and the consumer is asked to deliver
//     the message again later.
//   - ctx ends while the handler runs, and it fails: not a failure of the work; the
//     consumer is asked to deliver the message again at once.
//   - The process dies: the consumer delivers the message again after its AckWait, which
//     is extended as long as the handler may run.
func Wrap(ctx context.Context, r *Reporter, h Handler, o ConsumeOptions) (jetstream.MessageHandler, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("options of Wrap: %w", err)
	}
	w := &worker{reporter: r, handler: h, ConsumeOptions: o.withDefaults()}
	return func(m jetstream.Msg) { w.handle(ctx, m, func() {}) }, nil
}

// worker handles one message at a time for each caller.
type worker struct {
	ConsumeOptions
	reporter *Reporter
	handler  Handler
	lost     atomic.Int64 // handlers that were given up and still run
}

// handle does the work of one message and settles it. It returns in bounded time; left is
// called when the handler has returned too.
func (w *worker) handle(ctx context.Context, m jetstream.Msg, left func()) {
	release := w.hold(m)
	defer release()
	within, cancel := context.WithTimeoutCause(ctx, w.Timeout, ErrHandlerTimeout)
	defer cancel()
	done := make(chan error, 1)
	go w.run(within, m, done)
	select {
	case err := <-done:
		defer left()
		w.settle(within, m, err)
		return
	case <-within.Done():
	}
	select {
	case err := <-done:
		defer left()
		w.settle(within, m, err)
	case <-time.After(w.Grace):
		w.giveUp(within, m, done, left)
	}
}

// giveUp settles a message whose handler does not heed its context. If that ended because
// the program stops, the consumer delivers it again after its AckWait.
func (w *worker) giveUp(ctx context.Context, m jetstream.Msg, done <-chan error, left func()) {
	w.lost.Add(1)
	go func() {
		<-done
		w.lost.Add(-1)
		left()
	}()
	cause := context.Cause(ctx)
	err := fmt.Errorf("%w, and the handler did not return within %v after that", cause, w.Grace)
	w.OnError(m, fmt.Errorf("%w: it keeps its place until it returns", err))
	if errors.Is(cause, ErrHandlerTimeout) {
		w.settle(ctx, m, err)
	}
}

// settle is the only place that acknowledges.
func (w *worker) settle(ctx context.Context, m jetstream.Msg, err error) {
	cause := context.Cause(ctx)
	ctx = context.WithoutCancel(ctx) // what happened is told even if the program stops
	switch {
	case err == nil:
		if w.ReportSuccess && m.Headers().Get(schemas.HeaderSeal) != "" {
			w.tell(m, "it succeeded and nobody knows", w.reporter.Succeeded(ctx, m))
		}
		w.tell(m, "acknowledge", m.Ack())
	case cause != nil && !errors.Is(cause, ErrHandlerTimeout):
		w.tell(m, "give back", m.Nak())
	default:
		if cause != nil && classOf(err) == "" {
			err = classify(err, schemas.ClassTimeout)
		}
		w.report(ctx, m, err)
	}
}

func (w *worker) report(ctx context.Context, m jetstream.Msg, cause error) {
	if _, err := w.reporter.Failed(ctx, m, cause); err != nil {
		w.OnError(m, fmt.Errorf("%w; it failed with: %s; the message stays unacknowledged and is delivered again", err, cut(cause.Error(), 200)))
		w.tell(m, "give back", m.NakWithDelay(unreportedDelay(m)))
		return
	}
	w.tell(m, "acknowledge", m.Ack())
}

// unreportedDelay is 1 s after the first delivery and doubles up to a minute.
func unreportedDelay(m jetstream.Msg) time.Duration {
	meta, err := m.Metadata()
	if err != nil {
		return time.Second
	}
	return min(time.Second<<min(max(meta.NumDelivered, 1)-1, 6), time.Minute)
}

// tell passes an error on. A handler that acknowledged by itself is at peace.
func (w *worker) tell(m jetstream.Msg, op string, err error) {
	if err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) && !errors.Is(err, nats.ErrMsgAlreadyAckd) {
		w.OnError(m, fmt.Errorf("%s: %w", op, err))
	}
}

// hold keeps the consumer from delivering the message to somebody else until release is
// called. An extension that is lost costs at most that.
func (w *worker) hold(m jetstream.Msg) (release func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(max(w.AckWait/3, time.Millisecond))
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = m.InProgress()
			case <-stop:
				return
			}
		}
	}()
	return func() { close(stop); <-stopped }
}

// run calls the handler and sends exactly one result, whatever it does.
func (w *worker) run(ctx context.Context, m jetstream.Msg, done chan<- error) {
	err := errors.New("the handler ended its goroutine instead of returning")
	defer func() {
		if v := recover(); v != nil {
			err = panicked(v)
		}
		done <- err
	}()
	err = w.handler(ctx, m)
}

// panicked makes an error of a panic: its text, and the line of code that panicked.
func panicked(v any) error {
	at := ""
	callers := make([]uintptr, 32)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	for begun := false; ; {
		f, more := frames.Next()
		if inRuntime := strings.HasPrefix(f.Function, "runtime."); inRuntime {
			begun = true // the frames before are those that recovered
		} else if begun {
			at = fmt.Sprintf(" (%s at %s:%d)", filepath.Base(f.Function), filepath.Base(f.File), f.Line)
			break
		}
		if !more {
			break
		}
	}
	if err, ok := v.(error); ok {
		return WithCode(fmt.Errorf("panic: %w%s", err, at), "panic")
	}
	return WithCode(fmt.Errorf("panic: %v%s", v, at), "panic")
}
