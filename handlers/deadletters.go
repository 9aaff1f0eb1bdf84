package handlers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

// DeadStore is the store of dead letters and the outcomes beside it; package bus implements
// it on JetStream.
type DeadStore interface {
	DeadState(ctx context.Context) (schemas.StoreState, error)
	// DeadCounts tells every subject below filter, and how many letters it holds.
	DeadCounts(ctx context.Context, filter string, each func(subject string, n uint64)) error
	// ReadDead returns letters on filter from a sequence on, in order, at most max.
	ReadDead(ctx context.Context, from uint64, max int, filter string) ([]schemas.Stored, error)
	// LastDead is the newest letter on filter, ErrNotFound if there is none.
	LastDead(ctx context.Context, filter string) (schemas.Stored, error)
	// DeleteDead removes letters; those that are gone are no error.
	DeleteDead(ctx context.Context, sequences ...uint64) error
	MaxBody() int // bytes that a payload may have
	FollowOutcomes(ctx context.Context, filter string, since time.Time, on func(schemas.Stored)) (stop func(), err error)
}

// scan walks the letters that a filter selects, in the order of their sequences.
type scan struct {
	store    DeadStore
	subjects schemas.Subjects
	filter   *deadletter.Filter
	at       uint64 // next sequence to look at
}

// maxScan is how many letters are read at once.
const maxScan = 1000

// next reads once and returns the selected letters of what it read. over says that there
// are no more.
func (s *scan) next(ctx context.Context, most int) (selected []deadletter.Letter, scanned int, over bool, err error) {
	from, ok := s.filter.After(s.at)
	if !ok {
		return nil, 0, true, nil
	}
	n := min(most, maxScan)
	switch {
	case s.filter.Picks():
		n = 1
	case !s.filter.Exact():
		n = maxScan
	}
	stored, err := s.store.ReadDead(ctx, from, n, s.filter.Pattern(s.subjects))
	if err != nil {
		return nil, 0, false, err
	}
	for i := range stored {
		if s.filter.Picks() && stored[i].Sequence != from {
			s.at = from + 1 // the one that was named is gone
			return nil, 1, false, nil
		}
		if _, ok := s.filter.After(stored[i].Sequence); !ok {
			return selected, scanned, true, nil
		}
		if l := deadletter.Read(stored[i], s.subjects); s.filter.Match(&l) {
			if len(selected) == most {
				return selected, scanned, false, nil
			}
			selected = append(selected, l)
		}
		s.at, scanned = stored[i].Sequence+1, scanned+1
	}
	return selected, scanned, len(stored) == 0, nil
}

func (e *Engine) scan(f *deadletter.Filter, from uint64) *scan {
	return &scan{store: e.Dead, subjects: e.Subjects, filter: f, at: max(1, from)}
}

// compileFilter checks a filter of a request.
func (e *Engine) compileFilter(spec schemas.DeadFilter) (*deadletter.Filter, error) {
	f, err := deadletter.CompileFilter(spec, e.clock.Now())
	if err != nil {
		return nil, badRequest("%s", strings.ReplaceAll(err.Error(), "\n", "; ")) // a header holds one line
	}
	return f, nil
}

// letterAt reads one letter, ErrNotFound if it is gone.
func (e *Engine) letterAt(ctx context.Context, sequence uint64) (deadletter.Letter, error) {
	stored, err := e.Dead.ReadDead(ctx, sequence, 1, "")
	if err == nil && (len(stored) == 0 || stored[0].Sequence != sequence) {
		err = fmt.Errorf("dead letter %d: %w", sequence, schemas.ErrNotFound)
	}
	if err != nil {
		return deadletter.Letter{}, err
	}
	return deadletter.Read(stored[0], e.Subjects), nil
}

// newestWith finds the newest letter with an id.
func (e *Engine) newestWith(ctx context.Context, id string) (found deadletter.Letter, err error) {
	f, err := e.compileFilter(schemas.DeadFilter{IDs: []string{id}})
	if err != nil {
		return found, err
	}
	s := e.scan(f, 1)
	for over := false; !over; {
		var letters []deadletter.Letter
		if letters, _, over, err = s.next(ctx, maxScan); err != nil {
			return found, err
		}
		if n := len(letters); n > 0 {
			found = letters[n-1]
		}
	}
	if found.Stored.Sequence == 0 {
		return found, fmt.Errorf("dead letter with the id %q: %w", id, schemas.ErrNotFound)
	}
	return found, nil
}

// gone turns a letter that is not there into an error of the API.
func gone(err error) error {
	if errors.Is(err, schemas.ErrNotFound) {
		return notFound("%s: it may have been replayed or discarded (recoveryd outcomes --id)", err)
	}
	return err
}
