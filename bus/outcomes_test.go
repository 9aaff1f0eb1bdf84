package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

// tellOutcome publishes an outcome as the daemon does.
func tellOutcome(t testing.TB, b *bus.Bus, kind, subject, id string) {
	t.Helper()
	m := names.OutcomeMessage(&schemas.Outcome{Kind: kind, Subject: subject, ID: id, Attempt: 1, Delivery: 1}, nil, time.Now())
	if _, err := publish(t, b, m); err != nil {
		t.Fatal(err)
	}
}

func tellBreaker(t testing.TB, b *bus.Bus, to, key string) {
	t.Helper()
	m, err := names.BreakerMessage(&schemas.BreakerEvent{Policy: "p", Key: key, From: "closed", To: to, Generation: 1}, time.Now())
	if err == nil {
		_, err = publish(t, b, m)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// hear takes n events.
func hear[T any](t testing.TB, l *bus.Listener[T], n int) (all []T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range n {
		event, err := l.Next(ctx)
		if err != nil {
			t.Fatalf("after %d events: %v", len(all), err)
		}
		all = append(all, event)
	}
	return all
}

func ids(all []schemas.Outcome) string {
	var out []string
	for _, o := range all {
		out = append(out, o.ID)
	}
	return strings.Join(out, " ")
}

func TestListenersHearWhatTheyAskFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options bus.ListenOptions
		want    string
	}{
		"everything": {bus.ListenOptions{}, "1 2 3 4 end"},
		"live":       {bus.ListenOptions{Live: true}, "1 2 3 4 end"},
		"durable":    {bus.ListenOptions{Durable: "me"}, "1 2 3 4 end"},
		"kinds":      {bus.ListenOptions{Kinds: []string{"dead", "recovered"}}, "2 4 end"},
		"live kinds": {bus.ListenOptions{Live: true, Kinds: []string{"dead", "recovered"}}, "2 4 end"},
		"subject":    {bus.ListenOptions{Subject: "orders.*"}, "1 2 end"},
		"id":         {bus.ListenOptions{ID: "3"}, "3"},
		"the past":   {bus.ListenOptions{Since: time.Now().Add(-time.Hour)}, "0 1 2 3 4 end"},
		"both":       {bus.ListenOptions{Durable: "me", Since: time.Now().Add(-time.Hour), Subject: "orders.>", Kinds: []string{"dead"}}, "0 2 end"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, nc := start(t)
			tellOutcome(t, b, "dead", "orders.past", "0")
			c.options.OnError = func(err error) { t.Error(err) }
			l, err := bus.Outcomes(t.Context(), nc, c.options)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Stop()
			tellOutcome(t, b, "redelivered", "orders.new", "1")
			tellOutcome(t, b, "dead", "orders.new", "2")
			tellBreaker(t, b, "open", "orders.new")
			tellOutcome(t, b, "scheduled", "orders.new.deep.er", "3")
			tellOutcome(t, b, "recovered", "invoices.new", "4")
			tellOutcome(t, b, "dead", "orders.last", "end")
			if got := ids(hear(t, l, len(strings.Fields(c.want)))); got != c.want {
				t.Errorf("heard %q, want %q", got, c.want)
			}
		})
	}
}

func TestListenersHearBreakers(t *testing.T) {
	t.Parallel()
	for _, live := range []bool{false, true} {
		b, nc := start(t)
		l, err := bus.BreakerEvents(t.Context(), nc, bus.ListenOptions{Live: live, Kinds: []string{"opened", "closed"}, Subject: "orders.ü"})
		if err != nil {
			t.Fatal(err)
		}
		tellOutcome(t, b, "dead", "orders.new", "1")
		tellBreaker(t, b, "open", "orders.new")
		tellBreaker(t, b, "open", "orders.ü")
		tellBreaker(t, b, "half_open", "orders.ü")
		tellBreaker(t, b, "closed", "orders.ü")
		got := hear(t, l, 2)
		if got[0].To != "open" || got[1].To != "closed" || got[0].Key != "orders.ü" {
			t.Errorf("heard %+v", got)
		}
		l.Stop()
	}
}

func TestDurableListenersGoOnWhereTheyWere(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	listen := func(o bus.ListenOptions) *bus.Listener[schemas.Outcome] {
		t.Helper()
		o.Durable = "billing"
		l, err := bus.Outcomes(t.Context(), nc, o)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := listen(bus.ListenOptions{})
	for i := range 4 {
		tellOutcome(t, b, "dead", "orders.new", fmt.Sprint(i))
	}
	hear(t, l, 3) // of which the last was not yet done
	tellOutcome(t, b, "dead", "orders.new", "4")
	l.Stop()
	tellOutcome(t, b, "dead", "orders.new", "while nobody listens")
	l = listen(bus.ListenOptions{})
	if got := ids(hear(t, l, 4)); got != "2 3 4 while nobody listens" {
		t.Errorf("heard %q", got)
	}
	l.Stop()
	l = listen(bus.ListenOptions{Kinds: []string{"recovered", "discarded"}}) // another wish, the same memory
	tellOutcome(t, b, "dead", "orders.new", "no")
	tellOutcome(t, b, "recovered", "orders.new", "yes")
	if got := ids(hear(t, l, 2)); got != "while nobody listens yes" { // the first was not done before
		t.Errorf("heard %q", got)
	}
	l.Stop()
}

func TestListenersPassOverWhatTheyCannotRead(t *testing.T) {
	t.Parallel()
	for _, o := range []bus.ListenOptions{{}, {Live: true}, {Durable: "me"}} {
		b, nc := start(t)
		var seen errorsSeen
		o.OnError = func(err error) { seen.add(nil, err) }
		l, err := bus.Outcomes(t.Context(), nc, o)
		if err != nil {
			t.Fatal(err)
		}
		store(t, b, "recovery.outcomes.dead.orders.new", "{")
		tellOutcome(t, b, "dead", "orders.new", "1")
		if got := ids(hear(t, l, 1)); got != "1" || seen.mention("recovery.outcomes.dead.orders.new") != 1 {
			t.Errorf("heard %q, told %q", got, seen.all)
		}
		l.Stop()
	}
}

func TestListenersEnd(t *testing.T) {
	t.Parallel()
	for _, o := range []bus.ListenOptions{{}, {Live: true}, {Durable: "me"}} {
		b, nc := start(t)
		l, err := bus.Outcomes(t.Context(), nc, o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		tellOutcome(t, b, "dead", "orders.new", "1")
		for outcome, err := range l.All(ctx) {
			if err != nil || outcome.ID != "1" {
				t.Errorf("%+v, %v", outcome, err)
			}
			cancel()
		}
		if _, err := l.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end of the context: %v", err)
		}
		ended := make(chan error, 1)
		go func() {
			for _, err := range l.All(t.Context()) {
				ended <- err
			}
		}()
		l.Stop()
		if err := receive(t, ended); err == nil {
			t.Error("Stop ends without an error")
		}
	}
}

func TestListenersEndWithTheConnection(t *testing.T) {
	t.Parallel()
	for _, o := range []bus.ListenOptions{{}, {Live: true}} {
		_, nc := start(t)
		l, err := bus.Outcomes(t.Context(), nc, o)
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
		if _, err := l.Next(t.Context()); !errors.Is(err, schemas.ErrClosed) {
			t.Errorf("live %v: %v", o.Live, err)
		}
		l.Stop()
	}
}

func TestListenersOutliveTheServer(t *testing.T) {
	t.Parallel()
	url, restart := restartable(t)
	nc := dial(t, url)
	b := newBus(t, nc, testConfig())
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	var all []*bus.Listener[schemas.Outcome]
	for _, o := range []bus.ListenOptions{{}, {Live: true}, {Durable: "me"}} {
		l, err := bus.Outcomes(t.Context(), nc, o)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Stop()
		all = append(all, l)
	}
	restart()
	tellUntilStored(t, b, nc)
	for _, l := range all {
		if got := ids(hear(t, l, 1)); got != "after" {
			t.Errorf("heard %q", got)
		}
	}
}

// tellUntilStored repeats an outcome until the server is there again.
func tellUntilStored(t testing.TB, b *bus.Bus, nc *nats.Conn) {
	t.Helper()
	m := names.OutcomeMessage(&schemas.Outcome{Kind: "dead", Subject: "orders.new", ID: "after", Delivery: 1}, nil, time.Now())
	for deadline := time.Now().Add(patience); ; {
		_, err := publish(t, b, m)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		_ = nc.FlushTimeout(patience) // waits for the connection
	}
}

func TestListenOptionsNameAllFaults(t *testing.T) {
	t.Parallel()
	_, err := bus.BreakerEvents(t.Context(), nil, bus.ListenOptions{Prefix: "a.>", StreamPrefix: "a.b", Kinds: []string{"a.b"}, Subject: "a..b", Live: true, Durable: "x"})
	for _, field := range []string{"Prefix", "StreamPrefix", "Kinds", "Subject", "Live"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v does not name %s", err, field)
		}
	}
	if _, err := bus.Outcomes(t.Context(), nil, bus.ListenOptions{Kinds: []string{"deda"}}); err == nil || !strings.Contains(err.Error(), `"deda" is none of scheduled`) {
		t.Errorf("unknown kind: %v", err)
	}
	nc := dial(t, startServer(t).URL())
	_, err = bus.Outcomes(t.Context(), nc, bus.ListenOptions{})
	wantError(t, err, schemas.ErrNotFound, "RECOVERY_OUTCOMES", "start recoveryd once", "StreamPrefix")
}

func TestListenersFilterAtTheServer(t *testing.T) {
	t.Parallel()
	_, nc := start(t)
	l, err := bus.Outcomes(t.Context(), nc, bus.ListenOptions{Durable: "me", Kinds: []string{"dead", "recovered"}, Subject: "orders.*"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Stop()
	c, err := jetStream(t, nc).Consumer(t.Context(), "RECOVERY_OUTCOMES", "me")
	if err != nil {
		t.Fatal(err)
	}
	config := c.CachedInfo().Config
	if want := []string{"recovery.outcomes.dead.orders.*", "recovery.outcomes.recovered.orders.*"}; !slices.Equal(config.FilterSubjects, want) || config.AckPolicy != jetstream.AckExplicitPolicy {
		t.Errorf("filters %q, acknowledges %v", config.FilterSubjects, config.AckPolicy)
	}
}
