package daemon

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/console"
	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// What the console shows at most.
const (
	keptOutcomes  = 200
	shownBreakers = 200
	shownLetters  = 500 // the latest ones, grouped
)

// recent keeps the last outcomes of this replica.
type recent struct {
	mu   sync.Mutex
	ring [keptOutcomes]console.Outcome
	next uint64 // number of the next one, from 1
}

func newRecent() *recent { return &recent{next: 1} }

// Observe implements handlers.Observer.
func (r *recent) Observe(e handlers.Event) {
	if e.Kind != handlers.EventOutcome {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring[r.next%keptOutcomes] = console.Outcome{Number: r.next, At: e.At, Outcome: e.Outcome}
	r.next++
}

// after lists the outcomes with a higher number, newest first.
func (r *recent) after(number uint64) []console.Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := []console.Outcome{}
	for n := r.next - 1; n > number && n > 0 && n+keptOutcomes >= r.next; n-- {
		list = append(list, r.ring[n%keptOutcomes])
	}
	return list
}

// Outcomes implements console.Source.
func (d *Daemon) Outcomes(after uint64) []console.Outcome { return d.recent.after(after) }

// breakers lists the breakers that are not closed, of all replicas.
func (d *Daemon) breakers(ctx context.Context) []console.Breaker {
	list := []console.Breaker{}
	if d.engine.Load() == nil || !d.connected() {
		return list
	}
	// What cannot be read is missing on the page; the checks beside it say why.
	_ = d.bus.StateList(ctx, "breaker.>", func(_ string, data []byte, _ uint64) {
		var s strategies.Snapshot
		if json.Unmarshal(data, &s) == nil && s.State != strategies.Closed && len(list) < shownBreakers {
			list = append(list, console.Breaker{
				Policy: s.Policy, Key: s.Key, State: s.State.String(), Since: unixNano(s.ChangedAt),
				Until: unixNano(max(s.OpenUntil, s.Until)), Reason: s.Reason, Level: s.Level,
			})
		}
	})
	slices.SortFunc(list, func(a, b console.Breaker) int { return b.Since.Compare(a.Since) })
	return list
}

func unixNano(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// Dead implements console.Source.
func (d *Daemon) Dead(ctx context.Context) (console.Dead, error) {
	dead := console.Dead{Groups: []console.DeadGroup{}}
	if d.engine.Load() == nil {
		return dead, nil
	}
	d.renew(ctx)
	store, ok := d.stores.dead()
	if !ok || store.Messages == 0 {
		return dead, nil
	}
	dead.Total = store.Messages
	from := store.FirstSeq
	if store.LastSeq > shownLetters {
		from = max(from, store.LastSeq-shownLetters+1)
	}
	letters, err := d.bus.ReadDead(ctx, from, shownLetters, "")
	if err != nil {
		return dead, err
	}
	dead.Looked = len(letters)
	dead.Groups = group(letters)
	return dead, nil
}

// group puts letters of one cause together, those with the latest letter first.
func group(letters []schemas.Stored) []console.DeadGroup {
	byCause := map[string]*console.DeadGroup{}
	for i := range letters {
		l, err := schemas.ParseDeadLetter(&letters[i])
		if err != nil {
			continue // not one of ours; the store holds what anybody published there
		}
		g := byCause[l.Cause]
		if g == nil {
			g = &console.DeadGroup{Cause: l.Cause, Reason: l.Reason}
			byCause[l.Cause] = g
		}
		g.Count++
		g.Error, g.Subject, g.ID, g.Policy, g.Latest, g.Sequence = l.Error, l.Subject, l.ID, l.Policy, l.DeadAt, l.Sequence
	}
	groups := []console.DeadGroup{}
	for _, g := range byCause {
		groups = append(groups, *g)
	}
	slices.SortFunc(groups, func(a, b console.DeadGroup) int { return b.Latest.Compare(a.Latest) })
	return groups
}
