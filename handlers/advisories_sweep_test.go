package handlers

import (
	"context"
	"slices"
	"testing"

	"github.com/recoveryd/recoveryd/schemas"
)

// queue is a stub whose stream holds some sequences.
type queue struct {
	stubStore
	holds []uint64
}

func (q *queue) NextMessage(_ context.Context, _ string, _ []string, from uint64) (uint64, error) {
	for _, s := range q.holds {
		if s >= from {
			return s, nil
		}
	}
	return 0, nil
}

// A sweep reports what it finds the second time, and only while its consumer has nothing under
// way.
func TestSweepBelievesTheSecondTime(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		between  func(*queue)
		state    func(*schemas.ConsumerState)
		reported int
	}{
		"given up":                     {reported: 2},
		"given up with a limit of one": {state: func(c *schemas.ConsumerState) { c.MaxDeliver, c.Redelivered = 1, 0 }, reported: 2},
		"one was just acknowledged":    {between: func(q *queue) { q.faults = map[string]error{"read": schemas.ErrNotFound} }},
		"one is delivered":             {between: func(q *queue) { q.state.AckPending = 1 }},
		"one always was":               {state: func(c *schemas.ConsumerState) { c.AckPending = 1 }},
		"another consumer":             {between: func(q *queue) { q.state.Created = q.state.Created.Add(1) }},
		"nothing is given up":          {state: func(c *schemas.ConsumerState) { c.Redelivered = 0 }},
		"not delivered yet":            {state: func(c *schemas.ConsumerState) { c.Delivered = 2 }},
		"no work queue":                {state: func(c *schemas.ConsumerState) { c.Retention = schemas.RetentionLimits }},
		"no limit":                     {state: func(c *schemas.ConsumerState) { c.MaxDeliver = -1 }},
		"recoveryd's own":              {state: func(c *schemas.ConsumerState) { c.Own = true }},
	} {
		q := &queue{holds: []uint64{3, 5}}
		a := advising(&q.stubStore)
		a.store = q
		if test.state != nil {
			test.state(&q.state)
		}
		before, err := a.sweep(t.Context(), consumerName{"S", "W"}, nil)
		if err != nil || slices.Contains(q.took(), "report") {
			t.Errorf("%s: reported at the first sight, %v", name, err)
		}
		if test.between != nil {
			test.between(q)
		}
		if _, err := a.sweep(t.Context(), consumerName{"S", "W"}, before); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		done := q.took()
		for _, what := range []string{"report", "ack for it"} {
			if got := len(slices.DeleteFunc(slices.Clone(done), func(d string) bool { return d != what })); got != test.reported {
				t.Errorf("%s: %d times %s, want %d", name, got, what, test.reported)
			}
		}
	}
}

// However many there are, each sweep looks at some, goes on where the last one stopped, and
// then begins anew: what cannot be reported does not hide the others.
func TestSweepGoesRound(t *testing.T) {
	t.Parallel()
	q := &queue{}
	for s := range uint64(maxSwept * 5 / 2) {
		q.holds = append(q.holds, s+1)
	}
	q.faults = map[string]error{"report": schemas.ErrTooLarge}
	a := advising(&q.stubStore)
	a.store = q
	q.state.Delivered = 1000
	var seen *suspects
	var first []uint64
	for range 4 {
		var err error
		if seen, err = a.sweep(t.Context(), consumerName{"S", "W"}, seen); err != nil || len(seen.sequences) == 0 || len(seen.sequences) > maxSwept {
			t.Fatalf("%+v %v", seen, err)
		}
		first = append(first, seen.sequences[0])
	}
	if want := []uint64{1, maxSwept + 1, 2*maxSwept + 1, 1}; !slices.Equal(first, want) {
		t.Errorf("sweeps began at %d, want %d", first, want)
	}
}
