package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// storedState is the state of a breaker as the state store held it.
type storedState struct {
	key      breakerKey
	snapshot strategies.Snapshot
	revision uint64
}

// stateRecord follows one breaker's place in the state store: at most one write is under
// way, and the newest state is written after it.
type stateRecord struct {
	revision uint64 // 0 = not stored
	unsure   bool   // a write was not answered: what is stored must be read before it counts as deleted
	writing  bool
	again    bool
}

// stateKey is the key of a breaker in the state store.
func stateKey(shard int, k breakerKey) string {
	return fmt.Sprintf("breaker.%d.%s.%s", shard, schemas.Escape(k.policy), schemas.EscapeKey(k.key))
}

func parseState(data []byte, revision uint64) (storedState, error) {
	var st storedState
	if err := json.Unmarshal(data, &st.snapshot); err != nil {
		return st, fmt.Errorf("stored breaker: %w", err)
	}
	st.key, st.revision = breakerKey{st.snapshot.Policy, st.snapshot.Key}, revision
	return st, nil
}

// store writes the state of a breaker, or deletes it when the breaker is closed: no record
// means closed.
func (s *shard) store(k breakerKey) {
	r := s.records[k]
	if r == nil {
		r = &stateRecord{}
		s.records[k] = r
	}
	if r.writing {
		r.again = true
		return
	}
	e := effect{kind: effStore, breaker: k, revision: r.revision}
	if snapshot, ok := s.set(k.policy).Snapshot(k.key); ok && snapshot.State != strategies.Closed {
		e.snapshot = &snapshot
	} else if r.revision == 0 && !r.unsure {
		delete(s.records, k)
		return
	}
	r.writing, r.again = true, false
	s.emit(e)
}

// storing says whether a checkpoint or the state of a breaker is on its way to the store,
// or something is being purged.
func (s *shard) storing() bool {
	if s.intake.writing || s.intake.trimming {
		return true
	}
	for _, r := range s.records {
		if r.writing {
			return true
		}
	}
	for _, l := range s.lanes {
		if l.purging {
			return true
		}
	}
	return false
}

// stored takes the answer of the state store. A conflict means that another owner wrote it:
// what it wrote is passed as found, nil if it deleted it, and the newer generation wins.
func (s *shard) stored(now time.Time, k breakerKey, revision uint64, conflict bool, found *storedState, err error) {
	r := s.records[k]
	if r == nil {
		return
	}
	r.writing, r.unsure = false, err != nil
	if err != nil {
		s.observe(Event{Kind: EventFault, At: now, Policy: k.policy, Op: "store breaker", Subject: k.key, Err: err})
		r.again = true
	} else {
		r.revision = revision
		r.again = r.again || conflict
	}
	if found != nil {
		s.set(k.policy).Restore(found.snapshot)
		s.view.set(k, s.set(k.policy).State(k.key))
		s.dirty = append(s.dirty, k)
	}
	if r.again {
		s.store(k)
	} else if revision == 0 {
		delete(s.records, k)
	}
	s.look(now)
}

// restore takes a breaker over from the state store.
func (s *shard) restore(now time.Time, st storedState) {
	s.set(st.key.policy).Restore(st.snapshot)
	s.records[st.key] = &stateRecord{revision: st.revision}
	s.view.set(st.key, s.set(st.key.policy).State(st.key.key))
	s.dirty = append(s.dirty, st.key)
}

func (l *loop) states(ctx context.Context) ([]storedState, error) {
	var states []storedState
	err := l.bus.StateList(ctx, fmt.Sprintf("breaker.%d.>", l.shard.index), func(key string, data []byte, revision uint64) {
		st, err := parseState(data, revision)
		if err != nil {
			l.observer.Observe(Event{Kind: EventAlarm, At: l.clock.Now(), Shard: l.shard.index, Op: "read breaker", Subject: key, Err: err})
			return
		}
		states = append(states, st)
	})
	return states, err
}

// storeState writes a breaker with compare-and-set. After a conflict it reads what the
// other owner wrote; the newer generation wins.
func (l *loop) storeState(ctx context.Context, e *effect) func(*shard, time.Time) {
	key := stateKey(l.shard.index, e.breaker)
	revision, err := e.revision, error(nil)
	if e.snapshot == nil {
		revision, err = 0, l.bus.StateDelete(ctx, key, e.revision)
	} else {
		var data []byte
		if data, err = json.Marshal(e.snapshot); err == nil {
			revision, err = l.bus.StatePut(ctx, key, data, e.revision)
		}
	}
	var found *storedState
	conflict := errors.Is(err, schemas.ErrConflict)
	if conflict {
		found, revision, err = l.reread(ctx, key)
	}
	l.pause(ctx, err)
	breaker := e.breaker
	return func(s *shard, now time.Time) { s.stored(now, breaker, revision, conflict, found, err) }
}

func (l *loop) reread(ctx context.Context, key string) (*storedState, uint64, error) {
	data, revision, err := l.bus.StateGet(ctx, key)
	if errors.Is(err, schemas.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	st, err := parseState(data, revision)
	return &st, revision, err
}
