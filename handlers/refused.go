package handlers

import (
	"context"
	"fmt"
)

// maxRefused bounds, in bytes, the letters whose subject was refused: anybody who may
// report can make them, so they must not fill the store. The oldest go first.
const maxRefused = 64 << 20

// boundRefused follows the refused letters and purges the oldest over the bound.
func (e *Engine) boundRefused(ctx context.Context) error {
	type letter struct {
		sequence uint64
		size     int
	}
	ctx, cancel := context.WithCancel(ctx)
	letters := make(chan letter, 1024)
	stop, err := e.bus.FollowRefused(ctx, func(sequence uint64, size int) {
		select {
		case letters <- letter{sequence, size}:
		case <-ctx.Done():
		}
	})
	if err != nil {
		cancel()
		return err
	}
	defer stop()
	defer cancel() // before, as what is followed may wait for its turn here
	var kept []letter
	total := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case l := <-letters:
			kept = append(kept, l)
			total += l.size
		}
		if total <= maxRefused || len(letters) > 0 {
			continue
		}
		n := 0
		for ; total > maxRefused*7/8; n++ {
			total -= kept[n].size
		}
		removed, err := e.bus.PurgeDead(ctx, e.Subjects.Prefix+".dead.*._refused.>", kept[n].sequence)
		if err != nil {
			return fmt.Errorf("purge refused letters: %w", err)
		}
		kept = append([]letter(nil), kept[n:]...)
		e.observer.Observe(Event{Kind: EventFault, At: e.clock.Now(), Op: "bound refused letters", Err: fmt.Errorf(
			"%d letters with refused subjects were dropped, the oldest of more than %d MiB", removed, maxRefused>>20)})
	}
}
