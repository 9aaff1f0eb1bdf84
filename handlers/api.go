package handlers

import (
	"context"
	"fmt"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// APIFunc answers one kind of request of the control API.
type APIFunc = func(ctx context.Context, request []byte) (any, error)

// API lists what the engine answers, by "<resource>.<verb>".
func (e *Engine) API() map[string]APIFunc {
	return map[string]APIFunc{
		"waiting.ls":      answer(e.listWaiting),
		"waiting.show":    answer(e.showWaiting),
		"breaker.ls":      answer(e.listBreakers),
		"breaker.show":    answer(e.showBreaker),
		"breaker.open":    answer(e.operator("open")),
		"breaker.close":   answer(e.operator("close")),
		"breaker.reset":   answer(e.operator("reset")),
		"breaker.disable": answer(e.operator("disable")),
		"breaker.probe":   answer(e.operator("probe")),
	}
}

// answer decodes the request strictly before it is handled.
func answer[Q, R any](handle func(context.Context, Q) (R, error)) APIFunc {
	return func(ctx context.Context, data []byte) (any, error) {
		var request Q
		if len(data) > 0 {
			if err := schemas.DecodeStrict(data, &request); err != nil {
				return nil, &schemas.APIError{Code: 400, Message: "request: " + err.Error()}
			}
		}
		return handle(ctx, request)
	}
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
	l.mail.post(func(s *shard, now time.Time) { result <- ask(s, now) })
	select {
	case v := <-result:
		return v, nil
	case <-ctx.Done():
		var none T
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
