package integration

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/recoveryd/recoveryd/handlers"
)

// A stream of failures may lose its end in a power cut, or be made anew: its sequences are
// then given to others. No report of the new ones is taken for one that is settled.
func TestStreamOfFailuresMadeAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, quick("orders", "orders.>")), nil)
	r.stream("ORDERS", "orders.>")
	deliveries := r.watch("ORDERS")
	const n = 12
	fail := func(life string) {
		for i := range n {
			id := life + "-" + strconv.Itoa(i)
			r.fail("orders."+strconv.Itoa(i%5), []byte(id), "Recovery-Id", id)
		}
	}
	fail("old")
	deliveries.atLeast(t, "deliveries", n)
	r.settled()
	if err := r.js.DeleteStream(t.Context(), "RECOVERY_FAILED"); err != nil {
		t.Fatal(err)
	}
	if err := r.bus.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	fail("new")
	got := ids(deliveries.atLeast(t, "deliveries of the new stream", 2*n))
	for i := range n {
		if id := "new-" + strconv.Itoa(i); !slices.Contains(got, id) {
			t.Errorf("%s was not delivered", id)
		}
	}
	eventually(t, "no report is left", func() bool { return r.stored("RECOVERY_FAILED") == 0 })
}

// One report that cannot go on keeps no others in the stream.
func TestStuckReportPinsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, quick("orders", "orders.>")), func(c *handlers.Config) { c.Near = 30 * time.Second })
	r.stream("ORDERS", "orders.>")
	r.fail("orders.a", []byte("waits"), "Recovery-Id", "waits", "Recovery-Retry-After", "25s")
	const n = 3000
	r.failAll(n, func(i int) *nats.Msg { return r.failAfter(0, "orders.a", strconv.Itoa(i), []byte("x")) })
	eventually(t, "the stream of failures is empty", func() bool { return r.stored("RECOVERY_FAILED") == 0 })
	if waiting := r.stored("RECOVERY_LEDGER_" + strconv.Itoa(subjects.Partition("orders.a", 4)%2)); waiting != 1 {
		t.Errorf("%d messages wait in the ledger, want the one that is not due", waiting)
	}
}
