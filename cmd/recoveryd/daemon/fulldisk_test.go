package daemon

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/bus/embedded"
)

// TestAFullDisk fills the store of the server while work waits: everything that cannot be
// stored is said and tried again, and goes on by itself when there is room.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	s, err := embedded.Start(embedded.Options{Dir: t.TempDir(), MaxStore: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	o, log := options(t, s.URL(), "RECOVERYD_OUTCOMES_MAX_BYTES=1MiB", "RECOVERYD_DEAD_MAX_BYTES=1MiB")
	d := start(t, o)
	ready(t, d)
	_, js := client(t, s.URL())
	orders, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}})
	if err != nil {
		t.Fatal(err)
	}
	redelivered := func() uint64 {
		info, err := orders.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.State.Msgs
	}
	filler, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "FILLER", Subjects: []string{"filler"}})
	if err != nil {
		t.Fatal(err)
	}
	report(t, js, "orders.new", nats.Header{"Recovery-Error": {"refused"}, "Recovery-Retry-After": {"3"}})
	report(t, js, "orders.bad", nats.Header{"Recovery-Error": {"no such order"}, "Recovery-Class": {"transient"}, "Recovery-Retry-After": {"2"}, "Recovery-Attempt": {"2"}})
	for _, size := range []int{256 << 10, 4 << 10, 16} {
		for full := false; !full; {
			_, err := js.Publish(t.Context(), "filler", make([]byte, size))
			full = err != nil
		}
	}
	eventually(t, "the log does not say why nothing is redelivered", func() bool {
		return strings.Contains(log.String(), "insufficient") && strings.Contains(log.String(), "orders.new")
	})
	eventually(t, "metrics count no fault", func() bool {
		_, text := fetch(t, d, "metrics")
		return strings.Contains(text, `recoveryd_redeliveries_total{policy="default",result="failed"}`) && !strings.Contains(text, `recoveryd_redeliveries_total{policy="default",result="failed"} 0`)
	})
	eventually(t, "readyz does not say that the disk is full", func() bool {
		_, text := fetch(t, d, "readyz?verbose")
		return strings.Contains(text, "insufficient")
	})
	if n := redelivered(); n != 0 {
		t.Fatalf("%d were stored on a full disk", n)
	}
	eventually(t, "a lease that could not be stored is still held", func() bool {
		_, text := fetch(t, d, "metrics")
		return strings.Contains(text, "\nrecoveryd_shards_owned 0\n")
	})
	if err := filler.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "not redelivered when there was room again", func() bool { return redelivered() == 2 })
	eventually(t, "readyz still complains", func() bool {
		code, text := fetch(t, d, "readyz?verbose")
		return code == 200 && !strings.Contains(text, "insufficient")
	})
	eventually(t, "reports are left", func() bool {
		f, err := js.Stream(t.Context(), "RECOVERY_FAILED")
		return err == nil && f.CachedInfo().State.Msgs == 0
	})
}
