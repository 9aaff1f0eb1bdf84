package demo

import (
	"sync"

	"github.com/recoveryd/recoveryd/schemas"
)

// tally counts what recoveryd says, by scene. Each message counts once for each kind of
// outcome, so that probes and repeats change nothing.
type tally struct {
	changed chan struct{} // holds a token when something was counted

	mu       sync.Mutex
	ids      map[string]map[string]map[string]bool // scene, kind, id
	attempts map[string]int                        // scene
	breakers map[string]map[string]int             // scene, new state
	state    map[string]string                     // scene, last state
}

func newTally() *tally {
	return &tally{
		changed: make(chan struct{}, 1), ids: map[string]map[string]map[string]bool{},
		attempts: map[string]int{}, breakers: map[string]map[string]int{}, state: map[string]string{},
	}
}

// reported is the kind of every outcome: there is none without a report.
const reported = "reported"

func (t *tally) outcome(scene string, o *schemas.Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kinds := t.ids[scene]
	if kinds == nil {
		kinds = map[string]map[string]bool{}
		t.ids[scene] = kinds
	}
	for _, kind := range []string{reported, o.Kind} {
		if kinds[kind] == nil {
			kinds[kind] = map[string]bool{}
		}
		kinds[kind][o.ID] = true
	}
	t.attempts[scene] = max(t.attempts[scene], o.Attempt)
	t.tell()
}

func (t *tally) breaker(scene string, b *schemas.BreakerEvent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.breakers[scene] == nil {
		t.breakers[scene] = map[string]int{}
	}
	t.breakers[scene][b.To]++
	t.state[scene] = b.To
	t.tell()
}

func (t *tally) tell() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// counts is what was seen of a scene.
func (t *tally) counts(scene string) Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := func(kind string) int { return len(t.ids[scene][kind]) }
	return Counts{
		Reported: of(reported), Redelivered: of(schemas.KindRedelivered), Recovered: of(schemas.KindRecovered), Held: of(schemas.KindHeld),
		Fallback: of(schemas.KindFallback), Dead: of(schemas.KindDead), Attempts: t.attempts[scene],
	}
}

// breakerOf is how often the breaker of a scene opened, and its state now.
func (t *tally) breakerOf(scene string) (opened int, state string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.breakers[scene]["open"], t.state[scene]
}
