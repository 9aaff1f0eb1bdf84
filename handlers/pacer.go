package handlers

import (
	"context"
	"time"
)

// tact is how often a busy shard takes its turn. What comes meanwhile is handled together:
// it leaves in one write, is answered in one, and wakes everybody once. All shards share
// the beat, as they share the connection.
const tact = time.Millisecond

// pacer has the turns of a busy loop begin on the beat. One that was idle for longer than
// that begins at once.
type pacer struct {
	last  time.Time // when the last turn began
	timer *time.Timer
}

func (p *pacer) began() { p.last = time.Now() }

// wait returns when the next turn may begin, false when ctx ended.
func (p *pacer) wait(ctx context.Context) bool {
	now := time.Now()
	if now.Sub(p.last) >= tact {
		return ctx.Err() == nil
	}
	beat := now.Truncate(tact).Add(tact).Sub(now)
	if p.timer == nil {
		p.timer = time.NewTimer(beat)
	} else {
		p.timer.Reset(beat)
	}
	select {
	case <-p.timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *pacer) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}
