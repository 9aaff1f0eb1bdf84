package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"
)

// teardown stops what was started, last first. It is not safe for concurrent use.
type teardown struct{ steps []step }

type step struct {
	name string
	stop func(context.Context) error
}

func (t *teardown) add(name string, stop func(context.Context) error) {
	t.steps = append(t.steps, step{name, stop})
}

// lastMoment is what a step gets that begins after the deadline.
const lastMoment = 100 * time.Millisecond

// run stops everything within the deadline of ctx, which all steps share. A step that does
// not return in time is named and left behind, the others still get their turn.
func (t *teardown) run(ctx context.Context, log zerolog.Logger) error {
	var faults []error
	for _, s := range slices.Backward(t.steps) {
		if err := s.within(ctx); err != nil {
			faults = append(faults, fmt.Errorf("stop %s: %w", s.name, err))
			log.Error().Err(err).Str("part", s.name).Msg("did not stop cleanly")
			continue
		}
		log.Debug().Str("part", s.name).Msg("stopped")
	}
	t.steps = nil
	return errors.Join(faults...)
}

func (s step) within(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- s.stop(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(lastMoment) // steps that obey the deadline end with it
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return context.Cause(ctx)
	}
}

// waitFor is the step of a goroutine that ends by itself and closes done.
func waitFor(done <-chan struct{}) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
