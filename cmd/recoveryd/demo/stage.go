package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/daemon"
)

// stage is what a run stands on.
type stage struct {
	names
	Options
	tally   *tally
	daemon  *daemon.Daemon
	bus     *bus.Bus
	work    *bus.WorkStream
	report  *bus.Reporter
	listen  func(ctx context.Context) error // hears what becomes of the work
	down    atomic.Bool                     // what the work needs cannot be reached
	reports atomic.Int64                    // failures of the worker
	fault   chan error                      // makes going on useless; holds the first

	running  sync.WaitGroup
	stop     context.CancelFunc // ends what runs
	teardown []func(ctx context.Context) error
}

// setUp builds the stage. After an error what was built is removed again.
func setUp(ctx context.Context, o Options) (*stage, error) {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &stage{names: newNames(), Options: o, tally: newTally(), fault: make(chan error, 1), stop: stop}
	if err := s.build(ctx, running); err != nil {
		return nil, errors.Join(err, s.tearDown(ctx))
	}
	return s, nil
}

func (s *stage) build(ctx, running context.Context) error {
	folder, err := os.MkdirTemp("", "recoveryd-demo-")
	if err != nil {
		return fmt.Errorf("folder of the demonstration: %w", err)
	}
	s.later(func(context.Context) error { return os.RemoveAll(folder) })
	if s.Embedded {
		if err := s.startDaemon(ctx, folder); err != nil {
			return err
		}
		if err := s.connect(bus.Options{Servers: s.daemon.Server()}); err != nil {
			return err
		}
		return s.startWorker(ctx, running)
	}
	if err := s.connect(s.Connection); err != nil {
		return err
	}
	s.later(s.removeStreams)
	if err := s.startDaemon(ctx, folder); err != nil {
		return err
	}
	return s.startWorker(ctx, running)
}

func (s *stage) later(step func(ctx context.Context) error) { s.teardown = append(s.teardown, step) }

// tearDownWithin bounds the removal of everything.
const tearDownWithin = 30 * time.Second

// tearDown removes everything, last first, also when ctx has ended.
func (s *stage) tearDown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tearDownWithin)
	defer cancel()
	s.stop()
	s.running.Wait()
	var faults []error
	for _, step := range slices.Backward(s.teardown) {
		faults = append(faults, step(ctx))
	}
	return errors.Join(faults...)
}

// removeStreams leaves nothing behind at somebody else's server.
func (s *stage) removeStreams(ctx context.Context) error {
	err := s.bus.RemoveStreams(ctx)
	if s.work != nil {
		err = errors.Join(err, s.work.Remove(ctx))
	}
	if err != nil {
		return fmt.Errorf("remove what the demonstration made, see nats stream ls for %s: %w", s.streams(), err)
	}
	return nil
}

// broke takes note of a fault that makes going on useless.
func (s *stage) broke(err error) {
	select {
	case s.fault <- err:
	default: // the first one says why
	}
}
