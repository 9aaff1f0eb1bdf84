package daemon

import (
	"strings"
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

func TestRecentKeepsTheLastOutcomes(t *testing.T) {
	t.Parallel()
	r := newRecent()
	if got := r.after(0); len(got) != 0 {
		t.Errorf("an empty ring lists %d", len(got))
	}
	r.Observe(handlers.Event{Kind: handlers.EventProbe})
	for range 3 * keptOutcomes {
		r.Observe(handlers.Event{Kind: handlers.EventOutcome, Outcome: &schemas.Outcome{Kind: schemas.KindDead}})
	}
	got := r.after(0)
	if len(got) != keptOutcomes || got[0].Number != 3*keptOutcomes || got[len(got)-1].Number != 2*keptOutcomes+1 {
		t.Errorf("%d listed, from %d to %d", len(got), got[0].Number, got[len(got)-1].Number)
	}
	if got := r.after(3*keptOutcomes - 2); len(got) != 2 {
		t.Errorf("%d are newer, want 2", len(got))
	}
	if got := r.after(1 << 60); len(got) != 0 {
		t.Errorf("%d are newer than what never was", len(got))
	}
}

func TestLettersAreGroupedByCause(t *testing.T) {
	t.Parallel()
	s := schemas.Subjects{Prefix: "recovery"}
	var letters []schemas.Stored
	for i, l := range []struct{ cause, id string }{{"0000000a", "1"}, {"0000000b", "2"}, {"0000000a", "3"}} {
		m := s.DeadLetterMessage(&schemas.DeadLetter{
			Work:   schemas.Work{ID: l.id, Subject: "orders.new", Attempt: 3, Delivery: 3, Error: "refused " + l.id, Fallback: schemas.NoFallback},
			Reason: schemas.ReasonExhausted, Cause: l.cause, DeadAt: time.Unix(int64(100+i), 0),
		})
		letters = append(letters, schemas.Stored{Message: m, Sequence: uint64(i + 1)})
	}
	letters = append(letters, schemas.Stored{Message: schemas.Message{Subject: "recovery.dead.x.y", Header: schemas.Header{}}})
	groups := group(letters)
	if len(groups) != 2 || groups[0].Cause != "0000000a" || groups[0].Count != 2 || groups[0].ID != "3" || groups[1].Count != 1 {
		t.Errorf("groups are %+v", groups)
	}
	if !strings.HasPrefix(groups[0].Error, "refused 3") || groups[0].Sequence != 3 {
		t.Errorf("the sample is %+v", groups[0])
	}
}
