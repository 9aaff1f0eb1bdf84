package handlers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// endpoint is one kind of request: as clients ask it, and as replicas ask each other.
type endpoint struct{ public, local APIFunc }

// peerTime bounds what another replica may take for its part of an answer.
const peerTime = 5 * time.Second

// atOwner answers a request where its shard is served.
func atOwner[Q, R any](e *Engine, name string, shardOf func(Q) (int, error), handle func(context.Context, Q) (R, error)) endpoint {
	local := answer(handle)
	return endpoint{local: local, public: func(ctx context.Context, data []byte) (any, error) {
		q, err := decodeRequest[Q](data)
		if err != nil {
			return nil, err
		}
		shard, err := shardOf(q)
		if err != nil {
			return nil, err
		}
		return e.forward(ctx, shard, name, data, local)
	}}
}

// forward has the owner of a shard answer.
func (e *Engine) forward(ctx context.Context, shard int, name string, data []byte, local APIFunc) (any, error) {
	owner := e.leases.Owner(shard)
	if e.loopOf(shard) != nil || owner == e.Instance || shard < 0 || shard >= e.Shards {
		return local(ctx, data)
	}
	if owner == "" {
		return nil, &schemas.APIError{Code: 503, Message: fmt.Sprintf("nobody serves shard %d at the moment: try again", shard)}
	}
	reply, err := e.ask(ctx, owner, name, data)
	if errors.Is(err, schemas.ErrNoStream) || errors.Is(err, schemas.ErrTimeout) {
		return nil, &schemas.APIError{Code: 503, Message: fmt.Sprintf("shard %d is %s's, who does not answer: try again", shard, owner)}
	}
	return json.RawMessage(reply), err
}

func (e *Engine) ask(ctx context.Context, instance, name string, data []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, peerTime)
	defer cancel()
	return e.bus.Ask(ctx, instance, name, data)
}

// others are the live replicas but this one.
func (e *Engine) others() []string {
	var names []string
	for _, i := range e.leases.Instances() {
		if i.Instance != e.Instance {
			names = append(names, i.Instance)
		}
	}
	return names
}

// everywhere has all replicas answer and merges what they said. One that is gone has
// nothing to say; one that does not answer makes the whole an error, because what it has
// would be missing.
func everywhere[Q, R any](e *Engine, name string, handle func(context.Context, Q) (R, error), merge func(Q, []R) R) endpoint {
	local := answer(handle)
	return endpoint{local: local, public: func(ctx context.Context, data []byte) (any, error) {
		others := e.others()
		if len(others) == 0 {
			return local(ctx, data)
		}
		q, err := decodeRequest[Q](data)
		if err != nil {
			return nil, err
		}
		mine, err := handle(ctx, q)
		if err != nil {
			return nil, err
		}
		parts := make([]*R, len(others))
		faults := make([]error, len(others))
		var wg sync.WaitGroup
		for i, instance := range others {
			wg.Go(func() { parts[i], faults[i] = askFor[R](ctx, e, instance, name, data) })
		}
		wg.Wait()
		if err := errors.Join(faults...); err != nil {
			return nil, &schemas.APIError{Code: 503, Message: err.Error()}
		}
		all := []R{mine}
		for _, p := range parts {
			if p != nil {
				all = append(all, *p)
			}
		}
		return merge(q, all), nil
	}}
}

// askFor returns nil if the replica is gone.
func askFor[R any](ctx context.Context, e *Engine, instance, name string, data []byte) (*R, error) {
	reply, err := e.ask(ctx, instance, name, data)
	if errors.Is(err, schemas.ErrNoStream) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("replica %s: %w", instance, err)
	}
	var r R
	if err := json.Unmarshal(reply, &r); err != nil {
		return nil, fmt.Errorf("reply of replica %s: %w", instance, err)
	}
	return &r, nil
}

// anywhere answers where the shard is served if the request names one (else -1), or by the
// first replica that has what is asked for.
func anywhere[Q, R any](e *Engine, name string, shardOf func(Q) (int, error), handle func(context.Context, Q) (R, error)) endpoint {
	local := answer(handle)
	return endpoint{local: local, public: func(ctx context.Context, data []byte) (any, error) {
		q, err := decodeRequest[Q](data)
		if err != nil {
			return nil, err
		}
		shard, err := shardOf(q)
		if err != nil {
			return nil, err
		}
		if shard >= 0 {
			return e.forward(ctx, shard, name, data, local)
		}
		found, err := local(ctx, data)
		for _, instance := range e.others() {
			var fault *schemas.APIError
			if err == nil || !errors.As(err, &fault) || fault.Code != 404 {
				break
			}
			reply, asked := e.ask(ctx, instance, name, data)
			if !errors.Is(asked, schemas.ErrNoStream) { // one that is gone has nothing
				found, err = json.RawMessage(reply), asked
			}
		}
		return found, err
	}}
}

func (e *Engine) shardOfBreaker(q schemas.BreakerRequest) (int, error) {
	if q.Key == "" {
		return 0, badRequest("key: missing")
	}
	return e.Subjects.Partition(q.Key, e.Shards), nil
}

func shardOfHandle(q schemas.HandleRequest) (int, error) {
	h, err := parseHandle(q.ID, q.Handle)
	if err != nil || q.Handle == "" {
		return -1, err
	}
	return h.shard, nil
}

func shardOfCommand(q schemas.CommandRequest) (int, error) {
	return shardOfHandle(schemas.HandleRequest{ID: q.ID, Handle: q.Handle})
}

func mergeWaiting(q schemas.WaitingRequest, parts []schemas.WaitingReply) schemas.WaitingReply {
	all := schemas.WaitingReply{Items: []schemas.WaitingItem{}}
	for _, p := range parts {
		all.Items = append(all.Items, p.Items...)
		all.Total += p.Total
		all.More = all.More || p.More
	}
	order := []string{stateNear, stateFar, stateHeld, stateParked}
	slices.SortStableFunc(all.Items, func(a, b schemas.WaitingItem) int {
		return cmp.Or(slices.Index(order, a.State)-slices.Index(order, b.State), cmp.Compare(a.DueAt, b.DueAt))
	})
	limit := cmp.Or(q.Limit, 50)
	all.More = all.More || len(all.Items) > limit
	all.Items = all.Items[:min(limit, len(all.Items))]
	return all
}

func mergeBreakers(q schemas.BreakerListRequest, parts []schemas.BreakerListReply) schemas.BreakerListReply {
	all := schemas.BreakerListReply{Breakers: []schemas.BreakerStatus{}}
	for _, p := range parts {
		all.Breakers = append(all.Breakers, p.Breakers...)
		all.More = all.More || p.More
	}
	sortBreakers(all.Breakers)
	limit := cmp.Or(q.Limit, 100)
	all.More = all.More || len(all.Breakers) > limit
	all.Breakers = all.Breakers[:min(limit, len(all.Breakers))]
	return all
}
