package strategies

import (
	"container/heap"
	"fmt"
	"testing"
	"time"
)

// A handler that takes some messages at once and refuses the rest must be found out by the ramp, without another
// opening: everything held goes out, at the pace that the handler can take. Those refused come back to the lane.
func TestDrainingOntoALimitedHandlerDoesNotTrip(t *testing.T) {
	t.Parallel()
	for _, evidence := range []Evidence{EvidenceSilence, EvidenceReport} {
		for _, capacity := range []int{1, 2, 3, 5, 9, 50, 700, 5_000} {
			t.Run(fmt.Sprintf("%s %d", evidence, capacity), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, func(c *BreakerConfig) { c.Evidence = evidence })
				r.now = time.Duration(r.trip().Change.OpenUntil)
				lane := min(20_000, 200*capacity)
				d := &drainage{rig: r, capacity: capacity, lane: lane, again: 100 * time.Millisecond}
				took := d.run()
				if d.done != lane || d.opened > 0 {
					t.Errorf("%d of %d done, opened again %d times", d.done, lane, d.opened)
				}
				t.Logf("%d messages in %v, %d refused", lane, took, d.refused)
			})
		}
	}
}

// A handler that goes down again while the lane drains is noticed after about half of what was on its way.
func TestDrainingOntoABrokenHandlerTrips(t *testing.T) {
	t.Parallel()
	r := newRig(t, reported)
	r.recovering(1 << 20)
	r.climb(64)
	for i := range r.tick(1 << 20).Want {
		r.release(fmt.Sprint("down-", i), 1)
	}
	failures := 0
	for ; r.set.State(rigKey) == Recovering; failures++ {
		r.after(time.Millisecond).fail(fmt.Sprint("down-", failures), 1)
	}
	r.in(Open)
	r.eq("failures", failures, 33)
}

// drainage is a lane before a handler that works on each message for a while.
type drainage struct {
	*rig
	capacity int
	lane     int
	again    time.Duration // until a refused message is due again

	working, done, refused, opened, released int
	events                                   happenings
}

type happening struct {
	at  time.Duration
	act func()
}

type happenings []happening

func (h happenings) Len() int           { return len(h) }
func (h happenings) Less(i, j int) bool { return h[i].at < h[j].at }
func (h happenings) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)        { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// apply is step without its checks, which copy every lease.
func (d *drainage) apply(in Input) Output {
	in.Now = int64(d.now)
	return d.set.Step(rigKey, in)
}

func (d *drainage) later(pause time.Duration, act func()) {
	heap.Push(&d.events, happening{d.now + pause, act})
}

func (d *drainage) run() time.Duration {
	start := d.now
	for d.set.State(rigKey) != Closed || len(d.events) > 0 || d.lane > 0 {
		d.look()
		next := time.Duration(d.set.Next())
		if len(d.events) > 0 && d.events[0].at <= next {
			e := heap.Pop(&d.events).(happening)
			d.now = e.at
			e.act()
			continue
		}
		d.now = max(d.now, next)
	}
	return d.now - start
}

func (d *drainage) look() {
	out := d.apply(Input{Kind: InTick, Lane: d.lane})
	if out.Changed && out.Change.To == Open {
		d.opened++
	}
	for range out.Want {
		d.lane--
		d.released++
		id := fmt.Sprint("held-", d.released)
		d.apply(Input{Kind: InReleased, ID: id, Delivery: 1})
		d.later(time.Millisecond, func() { d.arrive(id, out.Generation) })
	}
}

func (d *drainage) arrive(id string, generation int64) {
	if d.working >= d.capacity {
		d.refused++
		if out := d.apply(Input{Kind: InFailure, ID: id, Delivery: 1, Generation: generation}); out.Changed {
			d.opened++
		}
		d.later(d.again, func() { d.lane++ })
		return
	}
	d.working++
	d.later(20*time.Millisecond, func() {
		d.working--
		d.done++
		if d.set.cfg.Evidence.Reported() {
			d.apply(Input{Kind: InSuccess, ID: id, Delivery: 1, Generation: generation})
		}
	})
}
