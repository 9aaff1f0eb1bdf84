package handlers

import (
	"context"
	"fmt"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// APIFunc answers one kind of request of the control API.
type APIFunc = func(ctx context.Context, request []byte) (any, error)

// API lists what the engine answers to clients, by "<resource>.<verb>": what this replica
// does not have it gets from the others.
func (e *Engine) API() map[string]APIFunc {
	return e.endpoints(func(p endpoint) APIFunc { return p.public })
}

// PeerAPI lists what it answers to other replicas, from what it has itself.
func (e *Engine) PeerAPI() map[string]APIFunc {
	return e.endpoints(func(p endpoint) APIFunc { return p.local })
}

func (e *Engine) endpoints(which func(endpoint) APIFunc) map[string]APIFunc {
	all := map[string]endpoint{
		"waiting.ls":     everywhere(e, "waiting.ls", e.listWaiting, mergeWaiting),
		"waiting.show":   anywhere(e, "waiting.show", shardOfHandle, e.showWaiting),
		"waiting.cancel": anywhere(e, "waiting.cancel", shardOfCommand, e.commandWaiting(true)),
		"waiting.now":    anywhere(e, "waiting.now", shardOfCommand, e.commandWaiting(false)),
		"breaker.ls":     everywhere(e, "breaker.ls", e.listBreakers, mergeBreakers),
		"breaker.show":   atOwner(e, "breaker.show", e.shardOfBreaker, e.showBreaker),
	}
	for _, verb := range []string{"open", "close", "reset", "disable", "probe"} {
		all["breaker."+verb] = atOwner(e, "breaker."+verb, e.shardOfBreaker, e.operator(verb))
	}
	e.addDead(all)
	e.addWatch(all)
	chosen := map[string]APIFunc{}
	for name, p := range all {
		chosen[name] = which(p)
	}
	return chosen
}

// answer decodes the request strictly before it is handled.
func answer[Q, R any](handle func(context.Context, Q) (R, error)) APIFunc {
	return func(ctx context.Context, data []byte) (any, error) {
		request, err := decodeRequest[Q](data)
		if err != nil {
			return nil, err
		}
		return handle(ctx, request)
	}
}

func decodeRequest[Q any](data []byte) (request Q, err error) {
	if len(data) > 0 {
		if err := schemas.DecodeStrict(data, &request); err != nil {
			return request, &schemas.APIError{Code: 400, Message: "request: " + err.Error()}
		}
	}
	return request, nil
}

func badRequest(format string, args ...any) error {
	return &schemas.APIError{Code: 400, Message: fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &schemas.APIError{Code: 404, Message: fmt.Sprintf(format, args...)}
}

// inShard lets the loop of a shard compute something between two steps.
func inShard[T any](ctx context.Context, l *loop, ask func(s *shard, now time.Time) T) (T, error) {
	result := make(chan T, 1)
	var none T
	if !l.mail.post(func(s *shard, now time.Time) { result <- ask(s, now) }) {
		return none, &schemas.APIError{Code: 503, Message: fmt.Sprintf("shard %d is changing hands: try again", l.shard.index)}
	}
	select {
	case v := <-result:
		return v, nil
	case <-ctx.Done():
		return none, &schemas.APIError{Code: 503, Message: fmt.Sprintf("shard %d does not answer: %v", l.shard.index, ctx.Err())}
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func stampNanos(n int64) string {
	if n == 0 {
		return ""
	}
	return stamp(time.Unix(0, n))
}
