package bus

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// What the tests outside need of the inside.

func Older(version, floor string) bool { return older(version, floor) }

func ReadAck(data []byte) (schemas.Ack, error) {
	r := ackReader{names: map[string]string{}}
	return r.read(data)
}

func ReadAckCommon(data []byte) (schemas.Ack, bool) {
	r := ackReader{names: map[string]string{}}
	return r.common(data)
}

func ReadPlace(reply string) (stream, consumer uint64, at time.Time, err error) {
	p, err := readPlace(reply)
	return p.stream, p.consumer, p.time, err
}

func ServerError(e *jetstream.APIError) error { return serverError(e) }

func TooFewServers(err error) bool { return tooFewServers(err) }

// AssumeLag has what is missing be confirmed as on a replicated stream.
func (b *Bus) AssumeLag() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.replicated = true
}

// ReadLaneFromLeader is how an empty answer is confirmed on a replicated stream.
func (b *Bus) ReadLaneFromLeader(ctx context.Context, subject string, from uint64) ([]schemas.Stored, error) {
	stream, err := b.ledgerWith(subject)
	if err != nil {
		return nil, err
	}
	return b.leaderGet(ctx, stream, batch{From: from, Filter: subject})
}
