package cli

import (
	"context"
	"errors"
	"slices"

	"github.com/recoveryd/recoveryd/schemas"
)

// askEach asks every live replica for itself and adds what they say to the replies that
// are known. It returns why others did not answer.
func (c *client) askEach(ctx context.Context, live []schemas.InstanceStatus, known map[string]*schemas.StatusReply) (silent map[string]error) {
	unasked := slices.DeleteFunc(slices.Clone(live), func(r schemas.InstanceStatus) bool { return known[r.Instance] != nil })
	replies, faults := make([]*schemas.StatusReply, len(unasked)), make([]error, len(unasked))
	var asks []func()
	for i, r := range unasked {
		asks = append(asks, func() { replies[i], faults[i] = c.statusOf(ctx, r.Instance) })
	}
	together(asks...)
	silent = map[string]error{}
	for i, r := range unasked {
		switch {
		case faults[i] == nil:
			known[r.Instance] = replies[i]
		case !older(faults[i]):
			silent[r.Instance] = faults[i]
		}
	}
	return silent
}

// statusOf asks one replica in particular.
func (c *client) statusOf(ctx context.Context, instance string) (*schemas.StatusReply, error) {
	data, err := c.Ask(ctx, instance, "status.get", nil)
	if err != nil {
		return nil, err
	}
	var reply schemas.StatusReply
	if err := decodeReply(data, &reply, c.version); err != nil {
		return nil, err
	}
	return &reply, nil
}

// older says whether a replica is of a version that tells its state only to those who ask
// any replica.
func older(err error) bool {
	var fault *schemas.APIError
	return errors.As(err, &fault) && fault.Code == 404
}
