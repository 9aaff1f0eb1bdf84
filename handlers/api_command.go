package handlers

import (
	"context"
	"errors"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// commandTime is how long a reply waits for what follows from a command: less than another
// replica waits for the reply.
const commandTime = peerTime - time.Second

// commandWaiting makes the handler that cancels one piece of work that waits, or has it tried
// now.
func (e *Engine) commandWaiting(cancel bool) func(context.Context, schemas.CommandRequest) (schemas.CommandReply, error) {
	return func(ctx context.Context, q schemas.CommandRequest) (schemas.CommandReply, error) {
		h, err := parseHandle(q.ID, q.Handle)
		if err != nil {
			return schemas.CommandReply{}, err
		}
		f, err := e.findWaiting(ctx, h)
		reply := schemas.CommandReply{Item: f.item}
		reply.Item.History, reply.Item.Headers, reply.Item.Body = "", nil, nil
		if err != nil || q.DryRun {
			return reply, err
		}
		settled := make(chan string, 1)
		c := &command{cancel: cancel, actor: q.Actor, note: q.Reason, done: func(kind string) { settled <- kind }}
		if err := e.carryOut(ctx, &f, c); err != nil {
			return reply, err
		}
		timer := time.NewTimer(commandTime)
		defer timer.Stop()
		select {
		case reply.Result = <-settled:
			if reply.Result == "" {
				reply.Result = schemas.ResultWaiting
			}
		case <-timer.C:
			reply.Result = schemas.ResultPending
		case <-ctx.Done():
			reply.Result = schemas.ResultPending
		}
		return reply, nil
	}
}

// carryOut hands a command to the shard of what was found.
func (e *Engine) carryOut(ctx context.Context, f *found, c *command) error {
	gone := conflict("it has gone on this moment: look again")
	act := func(s *shard, now time.Time) error {
		acted, err := s.commandReport(now, f.report, c)
		if !acted {
			return gone
		}
		return err
	}
	if f.report == 0 {
		m, err := e.bus.ReadEntry(ctx, f.loop.shard.index, f.spot.seq) // as the leader has it
		if errors.Is(err, schemas.ErrNotFound) {
			return gone
		}
		if err != nil {
			return err
		}
		entries := appendEntries(nil, &m)
		if int(f.spot.part) >= len(entries) {
			return gone
		}
		act = func(s *shard, now time.Time) error {
			return s.commandEntry(now, m.Subject, &entries[f.spot.part], c)
		}
	}
	refusal, err := inShard(ctx, f.loop, func(s *shard, now time.Time) error {
		err := act(s, now)
		s.look(now)
		return err
	})
	if err != nil {
		return err
	}
	return refusal
}
