package bus_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

func TestWorkStream(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	w, err := b.MakeWorkStream(t.Context(), "WORK", []string{"work.>", "manual.>"}, "work.>")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.MakeWorkStream(t.Context(), "OTHER", []string{"work.>"}, "work.>"); err == nil {
		t.Error("a second stream on the same subjects was made")
	}
	for _, subject := range []string{"work.a", "work.b", "manual.a"} {
		if err := w.Publish(t.Context(), subject, []byte(subject)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := bus.NewReporter(nc, bus.ReporterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	got, ended := make(chan string, 10), make(chan error, 1)
	go func() {
		ended <- w.Handle(ctx, r, 1, func(_ context.Context, m schemas.Message) error {
			got <- m.Subject + " " + string(m.Body)
			return nil
		}, func(err error) { t.Error(err) })
	}()
	for _, want := range []string{"work.a work.a", "work.b work.b"} {
		if m := receive(t, got); m != want {
			t.Errorf("handled %q, want %q", m, want)
		}
	}
	cancel()
	if err := receive(t, ended); err != nil {
		t.Error(err)
	}
	if n, err := w.Count(t.Context(), "manual.>"); n != 1 || err != nil {
		t.Errorf("%d left, %v; want the one that nobody handles", n, err)
	}
	if err := errors.Join(w.Remove(t.Context()), w.Remove(t.Context())); err != nil {
		t.Error(err)
	}
	if err := w.Publish(t.Context(), "work.a", nil); err == nil {
		t.Error("the stream is still there")
	}
}

func TestRemoveStreamsLeavesWhatOthersMade(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders"}}); err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), "RECOVERY_DEAD"); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "RECOVERY_DEAD", Subjects: []string{"somebody.elses"}}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.RemoveStreams(t.Context()), b.RemoveStreams(t.Context())); err != nil {
		t.Error(err)
	}
	var left []string
	for name := range js.StreamNames(t.Context()).Name() {
		left = append(left, name)
	}
	if len(left) != 2 {
		t.Errorf("left are %v, want ORDERS and RECOVERY_DEAD", left)
	}
}
