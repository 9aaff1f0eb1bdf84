package handlers

import (
	"strconv"
	"testing"

	"github.com/recoveryd/recoveryd/schemas"
)

// A report that is read before the answer to its release is not forgotten.
func TestAReportBeforeItsReleaseIsKnown(t *testing.T) {
	t.Parallel()
	b := newAckBook()
	b.early.add(deliveryOf{"a", 2})
	for i, id := range []string{"a", "b"} {
		b.add(&awaited{at: storedAt{"WORK", uint64(i)}, success: schemas.Success{ID: id, Delivery: 2}})
	}
	if len(b.delivery) != 1 || b.delivery[deliveryOf{"b", 2}] == nil {
		t.Errorf("awaited %v, want b only: a was reported as failed", b.delivery)
	}
	for i := range maxAwaited + 10 {
		b.early.add(deliveryOf{strconv.Itoa(i), 2})
	}
	if len(b.early.is) != maxAwaited || len(b.early.order) != maxAwaited {
		t.Errorf("%d and %d early reports are kept, want %d", len(b.early.is), len(b.early.order), maxAwaited)
	}
}
