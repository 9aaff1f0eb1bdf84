package daemon

import (
	"slices"
	"sync/atomic"

	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

// tally counts what this replica does, for who asks twice and takes the difference.
type tally struct {
	failures atomic.Int64
	outcomes [len(schemas.Kinds)]atomic.Int64
}

// Observe implements handlers.Observer.
func (t *tally) Observe(e handlers.Event) {
	switch e.Kind {
	case handlers.EventFailure:
		t.failures.Add(1)
	case handlers.EventOutcome:
		if i := slices.Index(schemas.Kinds[:], e.Outcome.Kind); i >= 0 {
			t.outcomes[i].Add(1)
		}
	}
}

func (t *tally) counts() *schemas.Counts {
	of := func(kind string) int64 { return t.outcomes[slices.Index(schemas.Kinds[:], kind)].Load() }
	return &schemas.Counts{
		Failures: t.failures.Load(), Scheduled: of(schemas.KindScheduled), Held: of(schemas.KindHeld), Redelivered: of(schemas.KindRedelivered),
		Recovered: of(schemas.KindRecovered), Fallback: of(schemas.KindFallback), Dead: of(schemas.KindDead), Discarded: of(schemas.KindDiscarded),
		Rejected: of(schemas.KindRejected), Replayed: of(schemas.KindReplayed),
	}
}
