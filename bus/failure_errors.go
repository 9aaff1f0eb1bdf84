package bus

import (
	"context"
	"errors"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/recoveryd/recoveryd/schemas"
)

// What an error says about a failure besides its text is wrapped around it, and found
// again however deep it lies. Of two marks of the same sort the outer one counts.

// Permanent marks an error that no retry can help: the work goes to the fallbacks of its
// policy, then to the dead letters. Permanent(nil) is nil.
func Permanent(err error) error { return classify(err, schemas.ClassPermanent) }

// Ignored marks an error that is not the work's fault, as when the worker itself is not
// ready: it is retried without using up an attempt. Ignored(nil) is nil.
func Ignored(err error) error { return classify(err, schemas.ClassIgnored) }

// Throttled marks an error whose sender asked to be left alone for after; negative = for
// ever, 0 = as long as the policy says. Throttled(nil, …) is nil.
func Throttled(err error, after time.Duration) error {
	if err == nil {
		return nil
	}
	return &throttledError{&classError{err, schemas.ClassThrottled}, after}
}

// WithCode gives an error a short machine code, like 429 or ECONNREFUSED, that policies
// can match. WithCode(nil, …) is nil.
func WithCode(err error, code string) error {
	if err == nil {
		return nil
	}
	return &codeError{err, code}
}

func classify(err error, class string) error {
	if err == nil {
		return nil
	}
	return &classError{err, class}
}

type classError struct {
	error
	class string
}

func (e *classError) Unwrap() error { return e.error }

type codeError struct {
	error
	code string
}

func (e *codeError) Unwrap() error { return e.error }

type throttledError struct {
	error
	after time.Duration
}

func (e *throttledError) Unwrap() error { return e.error }

// describe writes what an error says into the headers of a report.
func describe(h nats.Header, err error) {
	set := func(name, value string) {
		if value != "" {
			h[name] = []string{value}
		}
	}
	if err == nil {
		return
	}
	set(schemas.HeaderError, cut(err.Error(), schemas.MaxErrorRunes))
	set(schemas.HeaderClass, classOf(err))
	if c, ok := errors.AsType[*codeError](err); ok {
		set(schemas.HeaderCode, cut(c.code, schemas.MaxCode))
	}
	if t, ok := errors.AsType[*throttledError](err); ok && t.after != 0 && classOf(err) == schemas.ClassThrottled {
		set(schemas.HeaderRetryAfter, strconv.FormatFloat(t.after.Seconds(), 'f', -1, 64))
	}
}

// classOf is the class that err was marked with, else timeout for what calls itself one,
// else "", which is read as transient.
func classOf(err error) string {
	if c, ok := errors.AsType[*classError](err); ok {
		return c.class
	}
	if timedOut(err) {
		return schemas.ClassTimeout
	}
	return ""
}

func timedOut(err error) bool {
	for _, class := range []error{context.DeadlineExceeded, os.ErrDeadlineExceeded, nats.ErrTimeout, schemas.ErrTimeout} {
		if errors.Is(err, class) {
			return true
		}
	}
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}

// cut keeps the first characters of a text.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	n := 0
	for i := range s {
		if n == most {
			return s[:i]
		}
		n++
	}
	return s
}
