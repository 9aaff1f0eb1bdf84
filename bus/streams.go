package bus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// StreamState is how a stream is filled.
type StreamState struct {
	Name                string
	Messages, Bytes     uint64
	MaxBytes            int64 // -1 = unlimited
	FirstSeq, LastSeq   uint64
	FirstTime, LastTime time.Time
	Replicas, Consumers int
}

// StreamStates tells of every stream of recoveryd that exists.
func (b *Bus) StreamStates(ctx context.Context) ([]StreamState, error) {
	var out []StreamState
	for _, name := range []string{failed, succeeded, ledger, outcomes, dead, advisories} {
		info, err := b.lookup(ctx, b.stream(name))
		if errors.Is(err, schemas.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, streamState(info))
	}
	return out, nil
}

func streamState(info *jetstream.StreamInfo) StreamState {
	s := info.State
	return StreamState{
		Name:     info.Config.Name,
		Messages: s.Msgs, Bytes: s.Bytes, MaxBytes: info.Config.MaxBytes,
		FirstSeq: s.FirstSeq, LastSeq: s.LastSeq, FirstTime: s.FirstTime, LastTime: s.LastTime,
		Replicas: info.Config.Replicas, Consumers: s.Consumers,
	}
}
