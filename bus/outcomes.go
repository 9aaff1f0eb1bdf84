package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/recoveryd/recoveryd/schemas"
)

// ListenOptions say which events are heard. The zero value hears everything that happens
// from now on.
type ListenOptions struct {
	Prefix       string // first part of recoveryd's subjects; "" = recovery
	StreamPrefix string // first part of the names of its streams; "" = RECOVERY
	Domain       string // JetStream domain; "" = that of the server

	Kinds   []string // kinds of outcomes, or new states of breakers; none = all
	Subject string   // pattern of original subjects, or of breaker keys; "" = all
	ID      string   // of one piece of work; "" = all

	Since   time.Time // also what happened since then; zero = only what is new
	Durable string    // name of a consumer that remembers what was heard, also while nobody listens
	Live    bool      // without the stream: cheaper, but what is missed is missed

	// OnError is told of events that cannot be read or were missed; they are passed over.
	// nil = log with slog.
	OnError func(error)
}

// Validate names every field that cannot be used.
func (o ListenOptions) Validate() error {
	var faults []error
	if o.Prefix != "" {
		if err := schemas.CheckLiteral(o.Prefix); err != nil {
			faults = append(faults, fmt.Errorf("Prefix: %w", err))
		}
	}
	if o.StreamPrefix != "" && !streamPrefix.MatchString(o.StreamPrefix) {
		faults = append(faults, fmt.Errorf("StreamPrefix %q must be 1 to 64 letters, digits, _ or -", o.StreamPrefix))
	}
	for _, kind := range o.Kinds {
		if err := schemas.CheckLiteral(kind); err != nil || strings.Contains(kind, ".") {
			faults = append(faults, fmt.Errorf("Kinds: %q is no kind", kind))
		}
	}
	if o.Subject != "" {
		if err := schemas.CheckPattern(o.Subject); err != nil {
			faults = append(faults, fmt.Errorf("Subject: %w", err))
		}
	}
	if o.Live && (o.Durable != "" || !o.Since.IsZero()) {
		faults = append(faults, errors.New("Live hears nothing of the past: leave out Durable and Since"))
	}
	return errors.Join(faults...)
}

// Outcomes listens to what becomes of failed work.
func Outcomes(ctx context.Context, nc *nats.Conn, o ListenOptions) (*Listener[schemas.Outcome], error) {
	read := func(body []byte) (schemas.Outcome, string, error) {
		outcome, _, err := schemas.ParseOutcome(body)
		return outcome, outcome.ID, err
	}
	for _, kind := range o.Kinds {
		if !slices.Contains(schemas.Kinds[:], kind) {
			return nil, fmt.Errorf("options of Outcomes: Kinds: %q is none of %s", kind, strings.Join(schemas.Kinds[:], ", "))
		}
	}
	return listen(ctx, nc, o, read, func(s schemas.Subjects, kind, pattern string) string {
		return s.Prefix + ".outcomes." + kind + "." + pattern
	})
}

// BreakerEvents listens to the changes of breakers. Kinds are the names in subjects:
// opened, half_open, recovering, closed, forced_open, disabled. ID is that of the work
// behind the change.
func BreakerEvents(ctx context.Context, nc *nats.Conn, o ListenOptions) (*Listener[schemas.BreakerEvent], error) {
	read := func(body []byte) (schemas.BreakerEvent, string, error) {
		event, _, err := schemas.ParseBreakerEvent(body)
		return event, event.ID, err
	}
	return listen(ctx, nc, o, read, func(s schemas.Subjects, kind, pattern string) string {
		return s.Prefix + ".breakers." + kind + "." + escapePattern(pattern)
	})
}

// escapePattern escapes the tokens of a pattern of keys as subjects have them.
func escapePattern(pattern string) string {
	tokens := strings.Split(pattern, ".")
	for i, t := range tokens {
		if t != "*" && t != ">" {
			tokens[i] = schemas.Escape(t)
		}
	}
	return strings.Join(tokens, ".")
}

// Listener hears events one after the other. It is for one goroutine, except Stop.
//
// With Durable an event counts as heard when the next one is asked for. What was not is
// told again to whoever listens next with that name: at once after Stop, after two minutes
// if the process died.
type Listener[T any] struct {
	source  source
	read    func(body []byte) (event T, id string, err error)
	id      string
	onError func(error)
}

// source is where a listener's events come from. next may assume that the event before was
// heard.
type source interface {
	next(ctx context.Context) (subject string, body []byte, err error)
	stop()
}

func listen[T any](ctx context.Context, nc *nats.Conn, o ListenOptions, read func([]byte) (T, string, error),
	subject func(s schemas.Subjects, kind, pattern string) string) (*Listener[T], error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("options of the listener: %w", err)
	}
	names := schemas.Subjects{Prefix: cmp.Or(o.Prefix, schemas.DefaultPrefix)}
	var filters []string
	kinds := o.Kinds
	if len(kinds) == 0 {
		kinds = []string{"*"}
	}
	for _, kind := range kinds {
		filters = append(filters, subject(names, kind, cmp.Or(o.Subject, ">")))
	}
	l := &Listener[T]{read: read, id: o.ID, onError: o.OnError}
	if l.onError == nil {
		l.onError = func(err error) { slog.Error("listen", "error", err) }
	}
	var err error
	if o.Live {
		l.source, err = listenLive(nc, filters, l.onError)
	} else {
		l.source, err = listenStored(ctx, nc, o, filters, l.onError)
	}
	if err != nil {
		return nil, fmt.Errorf("listen to %s: %w", strings.Join(filters, ", "), err)
	}
	return l, nil
}

// Next waits for the next event that fits. An error is final: ctx has ended, Stop was
// called, or the stream, the consumer or the connection is gone.
func (l *Listener[T]) Next(ctx context.Context) (event T, err error) {
	for {
		subject, body, err := l.source.next(ctx)
		if err != nil {
			return event, fmt.Errorf("listen: %w", clientError(err))
		}
		event, id, err := l.read(body)
		if err != nil {
			l.onError(fmt.Errorf("event on %s: %w", subject, err))
		} else if l.id == "" || l.id == id {
			return event, nil
		}
	}
}

// All ranges over the events until ctx ends or the loop is left. The last error, if it is
// not the end of ctx, comes with a zero event.
func (l *Listener[T]) All(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			event, err := l.Next(ctx)
			if err != nil {
				if ctx.Err() == nil {
					yield(event, err)
				}
				return
			}
			if !yield(event, nil) {
				return
			}
		}
	}
}

// Stop ends the listener, and a Next that waits. A durable consumer stays, and remembers;
// giving back what was not heard takes up to a second.
func (l *Listener[T]) Stop() { l.source.stop() }
