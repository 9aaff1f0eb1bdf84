package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/recoveryd/recoveryd/schemas"
)

// FollowAcks hears of every message of a stream that a consumer acknowledged, as long as
// this connection lives; metrics are not stored. The consumer must sample all acks
// (sample_freq 100), which FollowAcks checks. on is called with the sequence in the
// stream, from one goroutine.
func (b *Bus) FollowAcks(ctx context.Context, stream, consumer string, on func(sequence uint64)) (stop func(), err error) {
	what := fmt.Sprintf("acknowledgements of consumer %s on stream %s", consumer, stream)
	c, err := b.js.Consumer(ctx, stream, consumer)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, clientError(err))
	}
	if f := strings.TrimSuffix(c.CachedInfo().Config.SampleFrequency, "%"); f != "100" {
		return nil, fmt.Errorf("%s: sample_freq is %q, it must be 100 for every success to be seen: nats consumer edit %s %s --sample 100",
			what, f, stream, consumer)
	}
	subject := "$JS.EVENT.METRIC.CONSUMER.ACK." + stream + "." + consumer
	sub, err := b.nc.Subscribe(subject, func(m *nats.Msg) {
		var metric struct {
			Sequence uint64 `json:"stream_seq"`
		}
		if json.Unmarshal(m.Data, &metric) == nil && metric.Sequence > 0 {
			on(metric.Sequence)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, clientError(err))
	}
	return func() {
		// A connection that is closed has ended the subscription already.
		if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrBadSubscription) {
			b.cfg.OnEvent("retry", fmt.Errorf("%s: %w: %w", what, schemas.ErrClosed, err))
		}
	}, nil
}
