package handlers

import (
	"context"
	"time"
)

// tact is how often a busy shard takes its turn. What comes meanwhile is handled together:
// it leaves in one write, is answered in one, and wakes everybody once. All shards share
// the beat, as they share the connection.
const tact = time.Millisecond

// A shard is busy after busyTurns in a window. A busy one has at most window/tact of them.
const (
	window    = 10 * tact
	busyTurns = 8
)

// pacer has the turns of a busy loop begin on the beat, and those of others at once.
type pacer struct {
	busy  bool
	since time.Time // when the window began
	turns int       // in it
	last  time.Time // when the last turn began
	timer *time.Timer
}

// began notes that a turn begins.
func (p *pacer) began() {
	p.last = time.Now()
	if p.last.Sub(p.since) >= window {
		p.busy = p.turns >= busyTurns && p.last.Sub(p.since) < 2*window
		p.since, p.turns = p.last, 0
	}
	p.turns++
}

// wait returns when the next turn may begin, false when ctx ended.
func (p *pacer) wait(ctx context.Context) bool {
	now := time.Now()
	if !p.busy || now.Sub(p.last) >= tact {
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
