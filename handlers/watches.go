package handlers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// watchKeys selects the watches in the state store.
const watchKeys = "watch.*.*"

// parseWatch reads a stored watch. Its key counts, as only one of each can be there.
func parseWatch(key string, data []byte) (w schemas.Watch, err error) {
	if err := json.Unmarshal(data, &w); err != nil {
		return w, fmt.Errorf("watch %s: %w", key, err)
	}
	if key != schemas.WatchKey(w.Stream, w.Consumer) {
		return w, fmt.Errorf("watch %s is of another key: stream %q, consumer %q", key, w.Stream, w.Consumer)
	}
	return w, nil
}

// readWatches lists all watches, in order.
func (e *Engine) readWatches(ctx context.Context) ([]schemas.Watch, error) {
	var all []schemas.Watch
	err := e.bus.StateList(ctx, watchKeys, func(key string, data []byte, _ uint64) {
		w, err := parseWatch(key, data)
		if err != nil {
			e.observer.Observe(Event{Kind: EventAlarm, At: e.clock.Now(), Op: "read watch", Err: err})
			return
		}
		all = append(all, w)
	})
	slices.SortFunc(all, func(a, b schemas.Watch) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Consumer, b.Consumer))
	})
	return all, err
}

// watches are the consumers that are watched, kept up to date.
type watches struct {
	e *Engine

	mu     sync.Mutex
	all    map[consumerName]bool
	absent map[consumerName]time.Time // when, by the server's clock, one was looked for in vain
}

// follow returns when all watches are known.
func (w *watches) follow(ctx context.Context) (stop func(), err error) {
	known, err := w.e.readWatches(ctx)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	for _, k := range known {
		w.all[consumerName{k.Stream, k.Consumer}] = true
	}
	w.mu.Unlock()
	return w.e.bus.FollowState(ctx, watchKeys, w.heard)
}

func (w *watches) heard(key string, data []byte) {
	parts := strings.Split(key, ".")
	stream, err := schemas.Unescape(parts[1])
	consumer, fault := schemas.Unescape(parts[len(parts)-1])
	if err = errors.Join(err, fault); err != nil {
		w.e.observer.Observe(Event{Kind: EventAlarm, At: w.e.clock.Now(), Op: "read watch", Subject: key, Err: err})
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(data) == 0 {
		delete(w.all, consumerName{stream, consumer})
		return
	}
	w.all[consumerName{stream, consumer}] = true
}

// has says whether a consumer was watched at a time of the server. What follows the store may
// be late: that a consumer is not watched is looked up, for an advisory is given only once.
func (w *watches) has(ctx context.Context, c consumerName, at time.Time) (bool, error) {
	w.mu.Lock()
	watched, absent := w.all[c], w.absent[c]
	w.mu.Unlock()
	if watched || absent.After(at) {
		return watched, nil
	}
	now := w.e.clock.Now()
	_, _, err := w.e.bus.StateGet(ctx, schemas.WatchKey(c.stream, c.name))
	if !errors.Is(err, schemas.ErrNotFound) {
		return err == nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.absent) >= maxConsumers {
		clear(w.absent)
	}
	w.absent[c] = now
	return false, nil
}

// list is all that are watched, in order.
func (w *watches) list() []consumerName {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]consumerName, 0, len(w.all))
	for c := range w.all {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b consumerName) int {
		return cmp.Or(cmp.Compare(a.stream, b.stream), cmp.Compare(a.name, b.name))
	})
	return all
}
