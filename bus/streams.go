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

// ReadDead returns dead letters on filter ("" = all) from a sequence on, in order, at most
// max and about 8 MiB.
func (b *Bus) ReadDead(ctx context.Context, from uint64, max int, filter string) ([]schemas.Stored, error) {
	return b.read(ctx, b.stream(dead), batch{From: from, Filter: b.deadFilter(filter), Count: max, MaxBytes: 8 << 20})
}

// PurgeDead removes the dead letters on filter ("" = all) whose sequence is below before,
// and returns how many they were. Later ones stay.
func (b *Bus) PurgeDead(ctx context.Context, filter string, before uint64) (uint64, error) {
	return b.purge(ctx, b.stream(dead), b.deadFilter(filter), before)
}

// DeleteDead removes one dead letter. One that is gone is no error.
func (b *Bus) DeleteDead(ctx context.Context, sequence uint64) error {
	return b.remove(ctx, b.stream(dead), sequence)
}

func (b *Bus) deadFilter(filter string) string {
	if filter == "" {
		return b.cfg.Subjects.Dead("*", ">")
	}
	return filter
}
