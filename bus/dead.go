package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/recoveryd/recoveryd/schemas"
)

// DeadState is how the store of dead letters is filled.
func (b *Bus) DeadState(ctx context.Context) (state schemas.StoreState, err error) {
	info, err := b.lookup(ctx, b.stream(dead))
	if err != nil {
		return state, err
	}
	s := streamState(info)
	return schemas.StoreState{
		Messages: s.Messages, Bytes: s.Bytes, FirstSeq: s.FirstSeq, LastSeq: s.LastSeq, FirstTime: s.FirstTime, LastTime: s.LastTime,
	}, nil
}

// ReadDead returns dead letters on filter ("" = all) from a sequence on, in order, at most
// max and about 8 MiB.
func (b *Bus) ReadDead(ctx context.Context, from uint64, max int, filter string) ([]schemas.Stored, error) {
	return b.read(ctx, b.stream(dead), batch{From: from, Filter: b.deadFilter(filter), Count: max, MaxBytes: 8 << 20})
}

// LastDead returns the newest dead letter on filter ("" = all), schemas.ErrNotFound if there
// is none.
func (b *Bus) LastDead(ctx context.Context, filter string) (schemas.Stored, error) {
	request := struct {
		Last string `json:"last_by_subj"`
	}{b.deadFilter(filter)}
	m, err := b.getMessage(ctx, b.stream(dead), request)
	if err != nil {
		return schemas.Stored{}, fmt.Errorf("last dead letter on %s: %w", request.Last, err)
	}
	return m, nil
}

// DeadCounts calls each with every subject below filter ("" = all) that holds dead letters,
// and how many. The server answers with at most 100,000 subjects at once, so that letters
// which come or go between two answers may be missed.
func (b *Bus) DeadCounts(ctx context.Context, filter string, each func(subject string, n uint64)) error {
	for seen := 0; ; {
		page, err := b.subjectCounts(ctx, b.stream(dead), b.deadFilter(filter), seen)
		if err != nil {
			return fmt.Errorf("count dead letters on %s: %w", b.deadFilter(filter), err)
		}
		for subject, n := range page.State.Subjects {
			each(subject, n)
		}
		seen += len(page.State.Subjects)
		if len(page.State.Subjects) == 0 || seen >= page.Total {
			return nil
		}
	}
}

// PurgeDead removes the dead letters on filter ("" = all) whose sequence is below before,
// and returns how many they were. Later ones stay.
func (b *Bus) PurgeDead(ctx context.Context, filter string, before uint64) (uint64, error) {
	return b.purge(ctx, b.stream(dead), b.deadFilter(filter), before)
}

// DeleteDead removes dead letters, some at the same time. Those that are gone are no error.
func (b *Bus) DeleteDead(ctx context.Context, sequences ...uint64) error {
	const lanes = 8 // more make the server no faster
	var wg sync.WaitGroup
	faults := make([]error, lanes)
	for lane := range min(lanes, len(sequences)) {
		wg.Go(func() {
			for i := lane; i < len(sequences) && faults[lane] == nil; i += lanes {
				faults[lane] = b.remove(ctx, b.stream(dead), sequences[i])
			}
		})
	}
	wg.Wait()
	return errors.Join(faults...)
}

func (b *Bus) deadFilter(filter string) string {
	if filter == "" {
		return b.cfg.Subjects.Dead("*", ">")
	}
	return filter
}
