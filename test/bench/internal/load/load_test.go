package load

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

func TestStamp(t *testing.T) {
	t.Parallel()
	body := make([]byte, 20)
	want := Stamp{Index: 1 << 40, Delay: 90 * time.Second}
	want.Put(body)
	if got, ok := ReadStamp(body); !ok || got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, ok := ReadStamp(body[:15]); ok {
		t.Error("a short body has a stamp")
	}
}

func TestSeen(t *testing.T) {
	t.Parallel()
	s := NewSeen(130)
	for _, i := range []uint64{0, 63, 64, 129, 64, 130, 1 << 60} {
		s.Add(i)
	}
	if s.Distinct != 4 || s.Twice != 1 || s.Strangers != 2 {
		t.Errorf("%d distinct, %d twice, %d strangers", s.Distinct, s.Twice, s.Strangers)
	}
}

// slow answers each publish after a second.
type slow struct {
	flying, most atomic.Int64
	fail         error
}

func (b *slow) Publish(_ schemas.Message, done func(schemas.Ack, error)) {
	if n := b.flying.Add(1); n > b.most.Load() {
		b.most.Store(n)
	}
	time.AfterFunc(time.Second, func() {
		b.flying.Add(-1)
		done(schemas.Ack{}, b.fail)
	})
}

func upTo(n int) Make {
	return func(i int, body []byte) (schemas.Message, bool) { return schemas.Message{Body: body}, i < n }
}

func TestUnderWayIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const size = 64 << 10
		b, start := &slow{}, time.Now()
		sent, err := NewPublisher(b, size).Send(t.Context(), Pace{}, upTo(1000))
		if err != nil || sent != 1000 || b.flying.Load() != 0 {
			t.Errorf("sent %d, %v, %d without an answer", sent, err, b.flying.Load())
		}
		if most := b.most.Load(); most != int64(InFlight(size)) || time.Since(start) != 4*time.Second {
			t.Errorf("%d were under way, it took %s", most, time.Since(start))
		}
	})
}

func TestPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if _, err := NewPublisher(&slow{}, 100).Send(t.Context(), Pace{Rate: 50}, upTo(501)); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 11*time.Second {
			t.Errorf("501 at 50/s took %s, want 10 s and the last answer", took)
		}
		b := &slow{}
		var done atomic.Int64
		ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
		defer cancel()
		p := NewPublisher(counting{b, &done}, 100)
		sent, err := p.Send(ctx, Pace{Window: 7, Done: func() int { return int(done.Load()) }}, upTo(1000))
		if err != nil || b.most.Load() != 7 || sent != 42 {
			t.Errorf("sent %d with at most %d under way, %v; want 42 with 7", sent, b.most.Load(), err)
		}
	})
}

type counting struct {
	Bus
	done *atomic.Int64
}

func (c counting) Publish(m schemas.Message, done func(schemas.Ack, error)) {
	c.Bus.Publish(m, func(ack schemas.Ack, err error) { c.done.Add(1); done(ack, err) })
}

func TestAnErrorEndsTheLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := NewPublisher(&slow{fail: schemas.ErrStoreFull}, 100)
		if sent, err := p.Send(t.Context(), Pace{Rate: 10}, upTo(1000)); !errors.Is(err, schemas.ErrStoreFull) || sent > 11 {
			t.Errorf("sent %d, %v", sent, err)
		}
	})
}
