package handlers

import (
	"sync"

	"github.com/recoveryd/recoveryd/strategies"
)

// view shows the shards which breakers are not closed, also those of other shards: a
// fallback whose own breaker is open is passed over.
type view struct {
	mu     sync.RWMutex
	states map[breakerKey]strategies.State
}

func newView() *view { return &view{states: map[breakerKey]strategies.State{}} }

func (v *view) set(k breakerKey, state strategies.State) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if state == strategies.Closed {
		delete(v.states, k)
	} else {
		v.states[k] = state
	}
}

// refuses says whether a breaker lets nothing through.
func (v *view) refuses(k breakerKey) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	switch v.states[k] {
	case strategies.Open, strategies.HalfOpen, strategies.ForcedOpen:
		return true
	}
	return false
}
