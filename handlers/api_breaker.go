package handlers

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

func (s *shard) breakerStatus(k breakerKey) schemas.BreakerStatus {
	snapshot, ok := s.set(k.policy).Snapshot(k.key)
	if !ok {
		snapshot = strategies.Snapshot{Policy: k.policy, Key: k.key}
	}
	b := breakerStatus(s.index, snapshot, s.laneLength(k))
	b.Causes = slices.Clone(s.causes[k])
	return b
}

// StoredBreaker reads a breaker from the state store, where those that are not closed are.
// How much it holds only its owner knows.
func StoredBreaker(data []byte) (schemas.BreakerStatus, error) {
	st, err := parseState(data, 0)
	return breakerStatus(0, st.snapshot, 0), err
}

func breakerStatus(shard int, n strategies.Snapshot, held int) schemas.BreakerStatus {
	b := schemas.BreakerStatus{
		Policy: n.Policy, Key: n.Key, Shard: shard, State: n.State.String(), Generation: n.Generation, Level: n.Level, Held: held,
		OpenUntil: stampNanos(n.OpenUntil), Until: stampNanos(n.Until), ChangedAt: stampNanos(n.ChangedAt), Reason: n.Reason,
		Actor: n.Actor, CauseID: n.Cause, Failures: n.Failures, Distinct: n.Distinct, Total: n.Total,
		LastSuccess: stampNanos(n.LastSuccess), Samples: n.Samples, InFlight: len(n.Leases), RampLimit: n.RampLimit,
	}
	b.NextAt = cmp.Or(b.OpenUntil, b.Until)
	return b
}

func (e *Engine) listBreakers(ctx context.Context, q schemas.BreakerListRequest) (schemas.BreakerListReply, error) {
	reply := schemas.BreakerListReply{Breakers: []schemas.BreakerStatus{}}
	if q.Limit == 0 {
		q.Limit = 100
	}
	if q.Limit < 1 || q.Limit > 1000 {
		return reply, badRequest("limit: %d is not between 1 and 1000", q.Limit)
	}
	if q.State != "" {
		if _, err := strategies.ParseState(q.State); err != nil {
			return reply, badRequest("state: %v", err)
		}
	}
	for _, l := range e.running() {
		found, err := inShard(ctx, l, func(s *shard, _ time.Time) []schemas.BreakerStatus { return s.viewBreakers(q) })
		if err != nil {
			return reply, err
		}
		reply.Breakers = append(reply.Breakers, found...)
	}
	sortBreakers(reply.Breakers)
	reply.More = len(reply.Breakers) > q.Limit
	reply.Breakers = reply.Breakers[:min(q.Limit, len(reply.Breakers))]
	return reply, nil
}

// sortBreakers puts first what needs attention.
func sortBreakers(all []schemas.BreakerStatus) {
	slices.SortFunc(all, func(a, b schemas.BreakerStatus) int {
		return cmp.Or(rank(a.State)-rank(b.State), b.Held-a.Held, b.Failures-a.Failures, cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Key, b.Key))
	})
}

// rank lists what needs attention first.
func rank(state string) int {
	return slices.Index([]string{"forced_open", "open", "half_open", "recovering", "disabled", "closed"}, state)
}

// viewBreakers copies the breakers with a record that q selects; for a request without
// filters the closed ones are cut short, because there may be 100,000.
func (s *shard) viewBreakers(q schemas.BreakerListRequest) []schemas.BreakerStatus {
	var found []schemas.BreakerStatus
	closed := 0
	for policy, set := range s.sets {
		if q.Policy != "" && q.Policy != policy {
			continue
		}
		set.Each(func(n strategies.Snapshot) {
			if q.State != "" && q.State != n.State.String() || q.Key != "" && q.Key != n.Key && !schemas.Match(q.Key, n.Key) {
				return
			}
			if n.State == strategies.Closed {
				if closed++; closed > q.Limit+1 {
					return
				}
			}
			found = append(found, breakerStatus(s.index, n, s.laneLength(breakerKey{policy, n.Key})))
		})
	}
	return found
}

// breakerOf finds the shard and the policy of a breaker that a request names.
func (e *Engine) breakerOf(q schemas.BreakerRequest) (breakerKey, *loop, error) {
	if q.Key == "" {
		return breakerKey{}, nil, badRequest("key: missing")
	}
	policies := e.Policies()
	p := policies.Named(q.Policy)
	switch {
	case q.Policy != "" && p == nil:
		return breakerKey{}, nil, badRequest("policy: there is none named %q", q.Policy)
	case p == nil:
		if p = policies.For(q.Key); p == nil {
			return breakerKey{}, nil, badRequest("key: no policy serves %q as a subject, name the policy", q.Key)
		}
	}
	shard := e.Subjects.Partition(q.Key, e.Shards)
	l := e.loopOf(shard)
	if l == nil {
		return breakerKey{}, nil, &schemas.APIError{Code: 503, Message: "the shard of this breaker is served by another replica, or by none at the moment: try again"}
	}
	return breakerKey{p.Name, q.Key}, l, nil
}

func (e *Engine) showBreaker(ctx context.Context, q schemas.BreakerRequest) (schemas.BreakerStatus, error) {
	k, l, err := e.breakerOf(q)
	if err != nil {
		return schemas.BreakerStatus{}, err
	}
	return inShard(ctx, l, func(s *shard, _ time.Time) schemas.BreakerStatus { return s.breakerStatus(k) })
}

// operator makes the handler of one act. open holds everything back, close and reset end
// an outage and forget what was counted (what is held then drains by ramp), disable lets
// everything through uncounted, probe looks now whether the outage is over.
func (e *Engine) operator(verb string) func(context.Context, schemas.BreakerRequest) (schemas.BreakerStatus, error) {
	return func(ctx context.Context, q schemas.BreakerRequest) (schemas.BreakerStatus, error) {
		k, l, err := e.breakerOf(q)
		if err != nil {
			return schemas.BreakerStatus{}, err
		}
		if q.ForMS < 0 {
			return schemas.BreakerStatus{}, badRequest("for_ms: is negative")
		}
		if q.ForMS > 0 && verb != "open" && verb != "disable" {
			return schemas.BreakerStatus{}, badRequest("for_ms: only open and disable have an end")
		}
		op := strategies.Operation{Actor: cmp.Or(q.Actor, "operator"), Reason: q.Reason}
		switch verb {
		case "open":
			op.To = strategies.ForcedOpen
		case "disable":
			op.To = strategies.Disabled
		case "probe":
			op.To = strategies.HalfOpen
		default:
			op.To = strategies.Closed
		}
		return inShard(ctx, l, func(s *shard, now time.Time) schemas.BreakerStatus {
			if q.DryRun {
				return s.breakerStatus(k)
			}
			if q.ForMS > 0 {
				op.Until = now.Add(time.Duration(q.ForMS) * time.Millisecond).UnixNano()
			}
			s.operate(now, k, op)
			return s.breakerStatus(k)
		})
	}
}
