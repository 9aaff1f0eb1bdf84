package handlers

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// Times of leases. Nobody can take a lease within ten seconds of its last keep, so whoever
// stops eight seconds after it sent that keep stops before, even with a clock that runs
// slow by a fifth.
const (
	leaseTTL   = 10 * time.Second
	leaseSafe  = 8 * time.Second
	leaseEvery = 3 * time.Second
	leaseRetry = 500 * time.Millisecond
	leaseCall  = 2 * time.Second // bounds one request, so that there is time for others
)

// Why a shard is not owned any more.
var (
	errSurplus = errors.New("given back: other replicas have fewer shards")
	errLapsed  = errors.New("the lease could not be kept in time")
)

// hold is a lease in this replica's hands.
type hold struct {
	store  LeaseStore
	now    func() time.Time
	key    string
	value  []byte
	cancel context.CancelCauseFunc // ends what is done under the lease

	revision uint64                    // of the goroutine that keeps it
	sent     atomic.Pointer[time.Time] // when the last keep that succeeded was sent
	lost     atomic.Bool
}

// valid says whether the lease is certainly still ours. Once it was not, it stays lost:
// what was given up must not be taken up again under the same lease.
func (h *hold) valid() bool {
	if h.lost.Load() {
		return false
	}
	if !fresh(*h.sent.Load(), h.now()) {
		h.lose(errLapsed)
		return false
	}
	return true
}

// fresh holds the time since a keep against both clocks: the monotonic one stands still
// while the machine is suspended, the other one may be set.
func fresh(sent, now time.Time) bool {
	return now.Sub(sent) < leaseSafe && now.Round(0).Sub(sent.Round(0)) < leaseSafe
}

func (h *hold) lose(why error) {
	if !h.lost.Swap(true) {
		h.cancel(why)
	}
}

// renew takes or keeps the lease.
func (h *hold) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaseCall)
	defer cancel()
	sent := h.now()
	next, err := h.store.HoldLease(ctx, h.key, h.value, h.revision)
	if err == nil {
		h.revision = next
		h.sent.Store(&sent)
	}
	return err
}

// keep renews the lease until ctx ends or it is lost.
func (h *hold) keep(ctx context.Context) {
	timer := time.NewTimer(leaseEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if !h.valid() {
			return
		}
		switch err := h.renew(ctx); {
		case err == nil:
			timer.Reset(leaseEvery)
		case errors.Is(err, schemas.ErrConflict):
			h.lose(err)
			return
		default:
			timer.Reset(leaseRetry)
		}
	}
}

// free ends the lease at once; if that fails it runs out by itself.
func (h *hold) free() error {
	ctx, cancel := context.WithTimeout(context.Background(), leaseCall)
	defer cancel()
	err := h.store.FreeLease(ctx, h.key, h.revision)
	if errors.Is(err, schemas.ErrConflict) || errors.Is(err, schemas.ErrClosed) {
		return nil // somebody has it already, or it runs out
	}
	return err
}
