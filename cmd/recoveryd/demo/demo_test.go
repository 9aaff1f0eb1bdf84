package demo

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/bus/embedded"
	"github.com/recoveryd/recoveryd/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options() Options {
	return Options{Embedded: true, Version: "test", Beat: 100 * time.Millisecond, Scenes: Story(), Log: io.Discard, Tell: func(Progress) {}}
}

func TestTheStoryComesTrue(t *testing.T) {
	t.Parallel()
	o := options()
	var over []string
	o.Tell = func(p Progress) {
		if p.Over {
			over = append(over, p.Scene)
		}
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Scenes {
		if !s.OK {
			t.Errorf("%s: want %+v, saw %+v", s.Name, s.Want, s.Seen)
		}
	}
	for _, c := range r.Checks {
		if !c.OK {
			t.Errorf("%s: %s", c.Name, c.Detail)
		}
	}
	if want := []string{"flaky", "poison", "outage", "fallback"}; !r.OK || len(r.Checks) != 5 || !slices.Equal(over, want) {
		t.Errorf("ok is %v, %d checks, the scenes were %v", r.OK, len(r.Checks), over)
	}
}

func TestAWrongCountIsFound(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Counts){
		"a dead letter too many": func(c *Counts) { c.Dead = 0 },
		"an attempt too many":    func(c *Counts) { c.Attempts = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options()
			o.Scenes = o.Scenes[1:2] // the poison message
			change(&o.Scenes[0].Want)
			r, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if r.OK || r.Scenes[0].OK || r.Scenes[0].Seen.Dead != 1 || r.Scenes[0].Seen.Attempts != 3 {
				t.Errorf("the result is %+v", r)
			}
		})
	}
}

// somebodys is a server with the streams of another recoveryd.
func somebodys(t *testing.T) (url string, streams func() []string) {
	t.Helper()
	server, err := embedded.Start(embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	nc, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	b, err := bus.New(nc, bus.Config{Subjects: schemas.Subjects{Prefix: "recovery"}, StreamPrefix: "RECOVERY"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return server.URL(), func() []string {
		var names []string
		for name := range js.StreamNames(t.Context()).Name() {
			names = append(names, name)
		}
		slices.Sort(names)
		return names
	}
}

func TestAnotherServerIsLeftAsItWas(t *testing.T) {
	t.Parallel()
	url, streams := somebodys(t)
	before := streams()
	o := options()
	o.Embedded, o.Connection, o.Scenes = false, bus.Options{Servers: url}, o.Scenes[1:2]
	r, err := Run(t.Context(), o)
	if err != nil || !r.OK {
		t.Fatalf("%+v, %v", r, err)
	}
	if after := streams(); !slices.Equal(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
}

func TestAnInterruptedRunIsRemovedToo(t *testing.T) {
	t.Parallel()
	url, streams := somebodys(t)
	before := streams()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	enough := errors.New("enough")
	o := options()
	o.Embedded, o.Connection = false, bus.Options{Servers: url}
	var during []string
	o.Tell = func(Progress) {
		if during == nil {
			during = streams()
			cancel(enough)
		}
	}
	if r, err := Run(ctx, o); !errors.Is(err, enough) {
		t.Errorf("%+v, %v", r, err)
	}
	if after := streams(); len(during) <= len(before) || !slices.Equal(before, after) {
		t.Errorf("before %v, during %v, after %v", before, during, after)
	}
}

func TestNoServer(t *testing.T) {
	t.Parallel()
	o := options()
	o.Embedded, o.Connection = false, bus.Options{Servers: "nats://127.0.0.1:1"}
	var unreachable *ConnectError
	if r, err := Run(t.Context(), o); !errors.As(err, &unreachable) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestOptionsThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	_, err := Run(t.Context(), Options{Beat: time.Hour})
	for _, field := range []string{"Version", "Beat is 1h0m0s", "Scenes", "Log"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
}

func TestNothingIsLeftBelowTheTemporaryFolder(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	o := options()
	o.Scenes = o.Scenes[1:2]
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

func TestEachMessageCountsOnce(t *testing.T) {
	t.Parallel()
	y := newTally()
	for range 3 {
		y.outcome("flaky", &schemas.Outcome{Kind: schemas.KindHeld, ID: "a", Attempt: 2})
		y.outcome("flaky", &schemas.Outcome{Kind: schemas.KindRecovered, ID: "a", Attempt: 2})
	}
	y.outcome("flaky", &schemas.Outcome{Kind: schemas.KindHeld, ID: "b", Attempt: 1})
	y.outcome("poison", &schemas.Outcome{Kind: schemas.KindDead, ID: "c", Attempt: 3})
	if got, want := y.counts("flaky"), (Counts{Reported: 2, Held: 2, Recovered: 1, Attempts: 2}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	y.breaker("flaky", &schemas.BreakerEvent{To: "open"})
	y.breaker("flaky", &schemas.BreakerEvent{To: "half_open"})
	if opened, state := y.breakerOf("flaky"); opened != 1 || state != "half_open" {
		t.Errorf("opened %d times, %s", opened, state)
	}
}
