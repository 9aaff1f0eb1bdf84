package handlers

import (
	"context"
	"errors"
	"time"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// autoActor is who asks for replays that begin by themselves.
const autoActor = "auto_replay"

// autoBack is how far back closed breakers are looked for when a replica begins to run jobs:
// longer than nobody did.
const autoBack = 5 * time.Minute

// autoReplay begins a replay whenever the breaker of a policy closes that wants it, until ctx
// ends.
func (e *Engine) autoReplay(ctx context.Context) error {
	closed := make(chan schemas.BreakerEvent, 64)
	stop, err := e.Dead.FollowOutcomes(ctx, e.Subjects.Prefix+".breakers.closed.>", e.clock.Now().Add(-autoBack), func(m schemas.Stored) {
		b, _, err := schemas.ParseBreakerEvent(m.Body)
		if err != nil || b.To != strategies.Closed.String() {
			return
		}
		select {
		case closed <- b:
		case <-ctx.Done():
		}
	})
	if err != nil {
		return err
	}
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case b := <-closed:
			if err := e.replayAfter(ctx, &b); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// replayAfter makes the job for a breaker that closed; it is the same job however often the
// event is read. A letter goes back by itself only once in its life.
func (e *Engine) replayAfter(ctx context.Context, b *schemas.BreakerEvent) error {
	p := e.Policies().Named(b.Policy)
	if p == nil || p.AutoReplay == nil {
		return nil
	}
	never, rate := 0, float64(p.AutoReplay.Rate)
	q := schemas.JobRequest{
		Filter: schemas.DeadFilter{Reasons: p.AutoReplay.Reasons, Classes: p.AutoReplay.Classes, Policies: []string{p.Name}, MaxReplays: &never},
		Rate:   &rate, MaxLetters: p.AutoReplay.Max, Actor: autoActor, Reason: "the breaker of " + b.Key + " closed",
	}
	j, f, err := e.newJob(ctx, deadletter.JobReplay, q)
	if err != nil {
		return err
	}
	j.ID, j.Policy, j.Key = autoID(b), p.Name, b.Key
	if _, _, err := e.readJob(ctx, j.ID); !errors.Is(err, schemas.ErrNotFound) {
		return err
	}
	if letters, _, over, err := e.scan(f, 1).next(ctx, 1); err != nil || over && len(letters) == 0 {
		return err
	}
	if _, err = e.writeJob(ctx, j, 0); errors.Is(err, schemas.ErrConflict) {
		return nil
	}
	return err
}

func autoID(b *schemas.BreakerEvent) string {
	w := schemas.Work{ID: b.Policy, Subject: b.Key}
	return "auto-" + w.MsgID("auto", int(b.Generation&0x7fffffff))[:16]
}
