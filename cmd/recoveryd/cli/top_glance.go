package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

// Bounds of one picture.
const (
	shownOutcomes  = 10
	listedBreakers = 20
	glanceWithin   = 2 * time.Second
)

// glance is what all daemons said at one moment.
type glance struct {
	at       time.Time // of this machine, to measure how much time is between two
	fault    error     // no daemon answers
	live     []schemas.InstanceStatus
	replies  map[string]*schemas.StatusReply
	breakers []schemas.BreakerStatus // not closed, the first ones
	outcomes []schemas.Stored        // the newest, the oldest of them first
	faults   []string                // what could not be looked at
}

// glance asks any daemon who is there, then each of the others for itself. However many
// messages are under way, it costs the server one request of its API and one direct read.
func (c *client) glance(ctx context.Context) *glance {
	ctx, cancel := context.WithTimeout(ctx, glanceWithin)
	defer cancel()
	s := &glance{at: time.Now(), replies: map[string]*schemas.StatusReply{}}
	var any schemas.StatusReply
	together(
		func() { s.fault = c.Call(ctx, "status", "get", schemas.StatusRequest{}, &any) },
		func() {
			var err error
			if s.outcomes, err = c.LastOutcomes(ctx, shownOutcomes); err != nil {
				s.faults = append(s.faults, err.Error())
			}
		},
	)
	if s.fault != nil {
		s.fault = c.nobody(s.fault)
		if !c.Connected() {
			s.faults = nil // for the same reason
		}
		return s
	}
	s.at, s.live, s.replies[any.Instance] = time.Now(), any.Instances, &any
	c.askOthers(ctx, s)
	c.askBreakers(ctx, s)
	return s
}

// nobody says why no daemon answers.
func (c *client) nobody(err error) error {
	if !c.Connected() {
		return &exit{code: exitConnect, err: errors.New("no connection to a server at the moment, trying to reach one")}
	}
	return fmt.Errorf("no daemon answers, recoveryd doctor says more: %w", err)
}

func (c *client) askOthers(ctx context.Context, s *glance) {
	for instance, err := range c.askEach(ctx, s.live, s.replies) {
		if errors.Is(err, bus.ErrNoResponders) {
			err = fmt.Errorf("%s does not answer: it was stopped, and its lease is about to end", instance)
		}
		s.faults = append(s.faults, err.Error())
	}
	slices.Sort(s.faults)
}

// askBreakers lists them only when some are not closed: there may be very many that are.
func (c *client) askBreakers(ctx context.Context, s *glance) {
	open := 0
	for _, reply := range s.replies {
		for _, shard := range reply.Shards {
			open += shard.Open
		}
	}
	if open == 0 {
		return
	}
	var list schemas.BreakerListReply
	if err := c.Call(ctx, "breaker", "ls", schemas.BreakerListRequest{Limit: listedBreakers}, &list); err != nil {
		s.faults = append(s.faults, "breakers: "+err.Error())
	}
	s.breakers = slices.DeleteFunc(list.Breakers, func(b schemas.BreakerStatus) bool { return b.State == "closed" })
}
