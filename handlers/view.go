package handlers

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
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

// restrains says whether a breaker is one that holds work back or lets it through in measure:
// all states but closed and disabled.
func (v *view) restrains(k breakerKey) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	state, known := v.states[k]
	return known && state != strategies.Disabled
}

// watchBreakers keeps the view of other replicas' breakers up to date until ctx ends. Of
// its own shards a replica knows more than was stored.
func (e *Engine) watchBreakers(ctx context.Context) error {
	names := map[string]breakerKey{} // of what is not closed, by key in the store
	stop, err := e.bus.FollowState(ctx, "breaker.>", func(key string, data []byte) {
		k, state := names[key], strategies.Closed
		delete(names, key)
		var snapshot strategies.Snapshot
		if len(data) > 0 && json.Unmarshal(data, &snapshot) == nil { // else its owner raises the alarm
			k, state = breakerKey{snapshot.Policy, snapshot.Key}, snapshot.State
			names[key] = k
		}
		if shard, ok := shardOfState(key); ok && e.loopOf(shard) == nil {
			e.view.set(k, state)
		}
	})
	if err != nil {
		return err
	}
	defer stop()
	<-ctx.Done()
	return nil
}

// shardOfState reads the shard in the key of a breaker in the state store.
func shardOfState(key string) (int, bool) {
	rest, _ := strings.CutPrefix(key, "breaker.")
	number, _, _ := strings.Cut(rest, ".")
	shard, err := strconv.Atoi(number)
	return shard, err == nil
}
