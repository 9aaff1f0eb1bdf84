package cli

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/recoveryd/recoveryd/schemas"
)

// life is a daemon whose end is decided by the test.
type life struct {
	end      error
	dies     chan struct{} // closed: it ends by itself
	stopping time.Duration // how long Stop takes
	done     chan struct{}
}

func newLife(end error, stopping time.Duration) *life {
	return &life{end: end, dies: make(chan struct{}), stopping: stopping, done: make(chan struct{})}
}

func (l *life) Wait() error {
	select {
	case <-l.dies:
	case <-l.done:
	}
	return l.end
}

func (l *life) Stop(ctx context.Context) error {
	select {
	case <-time.After(l.stopping):
		close(l.done)
		return l.end
	case <-ctx.Done():
		close(l.done)
		return ctx.Err()
	}
}

func TestSupervise(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		life    *life
		signals []time.Duration // when they come
		dies    bool
		took    time.Duration
		want    string
	}{
		"a signal stops it gently":        {newLife(nil, 2*time.Second), []time.Duration{0}, false, 2 * time.Second, ""},
		"what goes wrong then is told":    {newLife(broken, time.Second), []time.Duration{0}, false, time.Second, "broken"},
		"it may not take for ever":        {newLife(nil, time.Hour), []time.Duration{0}, false, 10 * time.Second, "deadline"},
		"a second signal ends it at once": {newLife(nil, time.Hour), []time.Duration{0, 3 * time.Second}, false, 3 * time.Second, "second signal"},
		"it may end by itself":            {newLife(schemas.ErrClosed, 0), nil, true, 0, "closed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newLife(test.life.end, test.life.stopping)
				signals := make(chan os.Signal, 2)
				for _, at := range test.signals {
					time.AfterFunc(at, func() { signals <- syscall.SIGTERM })
				}
				if test.dies {
					close(l.dies)
				}
				start := time.Now()
				err := supervise(t.Context(), l, signals, 10*time.Second, zerolog.Nop())
				if took := time.Since(start); took != test.took {
					t.Errorf("took %s, want %s", took, test.took)
				}
				if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
					t.Errorf("ended with %v, want %q", err, test.want)
				}
				time.Sleep(2 * time.Hour) // lets what was left behind end
			})
		})
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want int
	}{
		"failed":             {errors.New("x"), 1},
		"usage":              {&exit{code: exitUsage, err: errors.New("x")}, 2},
		"connection lost":    {schemas.ErrClosed, 4},
		"foreign stream":     {schemas.ErrForeign, 2},
		"other partitions":   {schemas.ErrMismatch, 2},
		"refused, but by us": {&exit{code: exitRefused, err: schemas.ErrClosed}, 5},
	} {
		if got := codeOf(test.err); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestPrintableIsHarmless(t *testing.T) {
	t.Parallel()
	if got := printable("a\x1b[31mb\u009bc\nd größe"); got != "a [31mb c d größe" {
		t.Errorf("%q", got)
	}
}

func TestColoursOnlyOnRequest(t *testing.T) {
	t.Parallel()
	a, stdout, _ := newSession(t).app()
	if a.colour(stdout) {
		t.Error("a buffer is no terminal")
	}
	if paint("x", red, false) != "x" || paint("x", red, true) != "\x1b[31mx\x1b[0m" {
		t.Error("colours are wrong")
	}
}
