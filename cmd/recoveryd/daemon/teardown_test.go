package daemon

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

func TestTeardownGoesBackwards(t *testing.T) {
	t.Parallel()
	var order []string
	var stack teardown
	for _, name := range []string{"http", "connection", "engine"} {
		stack.add(name, func(context.Context) error { order = append(order, name); return nil })
	}
	if err := stack.run(t.Context(), zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"engine", "connection", "http"}; !slices.Equal(order, want) {
		t.Errorf("order is %v, want %v", order, want)
	}
}

func TestTeardownSharesOneDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var stack teardown
		ran := false
		release := make(chan struct{})
		stack.add("http", func(context.Context) error { ran = true; return nil })
		stack.add("stuck", func(context.Context) error { <-release; return nil })
		stack.add("engine", func(context.Context) error {
			time.Sleep(3 * time.Second)
			return errors.New("two publishes without an answer")
		})
		ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Second, errors.New("too late"))
		defer cancel()
		start := time.Now()
		err := stack.run(ctx, zerolog.Nop())
		if took := time.Since(start); took != 5*time.Second+lastMoment {
			t.Errorf("took %s, want the 5s of the deadline and a moment", took)
		}
		for _, want := range []string{"stop engine: two publishes without an answer", "stop stuck: too late"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v does not say %q", err, want)
			}
		}
		if !ran {
			t.Error("the rest was not stopped")
		}
		close(release)
	})
}
