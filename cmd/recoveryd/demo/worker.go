package demo

import (
	"context"
	"fmt"
	"iter"
	"strconv"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

// workers is how many messages are handled at the same time.
const workers = 8

// connect opens the connection of everything but the daemon, which has its own.
func (s *stage) connect(o bus.Options) error {
	o.Name = "recoveryd/" + s.Version + " demo"
	nc, err := bus.Connect(o)
	if err != nil {
		return &ConnectError{err}
	}
	s.later(func(context.Context) error { nc.Close(); return nil })
	subjects := s.subjects()
	if s.bus, err = bus.New(nc, bus.Config{Subjects: subjects, StreamPrefix: s.streams(), Domain: s.Domain}); err != nil {
		return err
	}
	s.later(func(context.Context) error { s.bus.Close(); return nil })
	if s.report, err = bus.NewReporter(nc, bus.ReporterOptions{Prefix: subjects.Prefix}); err != nil {
		return err
	}
	s.listen = func(ctx context.Context) error {
		options := bus.ListenOptions{Prefix: subjects.Prefix, StreamPrefix: s.streams(), Domain: s.Domain, OnError: s.broke}
		outcomes, err := bus.Outcomes(ctx, nc, options)
		if err != nil {
			return err
		}
		breakers, err := bus.BreakerEvents(ctx, nc, options)
		if err != nil {
			outcomes.Stop()
			return err
		}
		hear(s, outcomes.All(ctx), outcomes.Stop, func(o *schemas.Outcome) { s.tally.outcome(s.scene(o.Subject), o) })
		hear(s, breakers.All(ctx), breakers.Stop, func(b *schemas.BreakerEvent) { s.tally.breaker(s.scene(b.Key), b) })
		return nil
	}
	return nil
}

// hear has events counted until they end.
func hear[T any](s *stage, events iter.Seq2[T, error], stop func(), count func(*T)) {
	s.running.Go(func() {
		defer stop()
		for event, err := range events {
			if err != nil {
				s.broke(err)
				return
			}
			count(&event)
		}
	})
}

// startWorker makes the stream of work, listens to what becomes of it, and lets the
// worker work.
func (s *stage) startWorker(ctx, running context.Context) error {
	if err := s.bus.Adopt(ctx); err != nil {
		return err
	}
	var err error
	s.work, err = s.bus.MakeWorkStream(ctx, s.streams()+"_WORK", []string{s.names.work(">"), s.fallback(">")}, s.names.work(">"))
	if err != nil {
		return err
	}
	if err := s.listen(running); err != nil {
		return err
	}
	s.running.Go(func() {
		if err := s.work.Handle(running, s.report, workers, s.handle, s.broke); err != nil {
			s.broke(err)
		}
	})
	return nil
}

// handle does the work of one message as its scene says.
func (s *stage) handle(_ context.Context, m schemas.Message) error {
	name := s.scene(m.Subject)
	for _, scene := range s.Scenes {
		if scene.Name != name {
			continue
		}
		try := attempt{number: 1, down: s.down.Load()}
		if n, err := strconv.Atoi(m.Header.Get(schemas.HeaderAttempt)); err == nil {
			try.number = n
		}
		err := scene.work(try)
		if err != nil {
			s.reports.Add(1)
		}
		return err
	}
	return bus.Permanent(fmt.Errorf("no scene is called %q", name))
}

// ConnectError says that the server cannot be reached.
type ConnectError struct{ err error }

func (e *ConnectError) Error() string { return e.err.Error() }
func (e *ConnectError) Unwrap() error { return e.err }
