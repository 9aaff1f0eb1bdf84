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
	Current             int // replicas that are up to date, the leader included
}

// StreamStates tells of every stream of recoveryd that exists. Those of the ledger are
// told of as one; its sequences and times say nothing then.
func (b *Bus) StreamStates(ctx context.Context) ([]StreamState, error) {
	var out []StreamState
	for _, name := range []string{failed, succeeded, ledger, outcomes, dead, advisories} {
		names := []string{b.stream(name)}
		if name == ledger {
			names = nil
			for _, c := range b.ledgers() {
				names = append(names, c.Name)
			}
		}
		states, err := b.states(ctx, names)
		if err != nil {
			return nil, err
		}
		if name == ledger && len(states) > 0 {
			states = []StreamState{sum(b.stream(name), states)}
		}
		out = append(out, states...)
	}
	return out, nil
}

// sum is several streams as one, with the copies that all of them have.
func sum(name string, states []StreamState) StreamState {
	all := StreamState{Name: name, MaxBytes: -1, Replicas: states[0].Replicas, Current: states[0].Current}
	for _, s := range states {
		all.Messages, all.Bytes = all.Messages+s.Messages, all.Bytes+s.Bytes
		all.Replicas, all.Current = min(all.Replicas, s.Replicas), min(all.Current, s.Current)
	}
	return all
}

// Stores tells of every stream and key-value bucket of recoveryd that exists: of all that
// RaiseReplicas changes.
func (b *Bus) Stores(ctx context.Context) ([]StreamState, error) {
	var names []string
	for _, want := range append(b.layout(), b.advisoriesStream()) {
		names = append(names, want.Name)
	}
	return b.states(ctx, names)
}

// states tells of the streams of these names that exist and are recoveryd's own.
func (b *Bus) states(ctx context.Context, names []string) ([]StreamState, error) {
	var out []StreamState
	for _, name := range names {
		info, err := b.lookup(ctx, name)
		switch {
		case errors.Is(err, schemas.ErrNotFound):
		case err != nil:
			return nil, err
		case info.Config.Metadata[ownerKey] == owner:
			out = append(out, streamState(info))
		}
	}
	return out, nil
}

func streamState(info *jetstream.StreamInfo) StreamState {
	s := info.State
	return StreamState{
		Name:     info.Config.Name,
		Messages: s.Msgs, Bytes: s.Bytes, MaxBytes: info.Config.MaxBytes,
		FirstSeq: s.FirstSeq, LastSeq: s.LastSeq, FirstTime: s.FirstTime, LastTime: s.LastTime,
		Replicas: info.Config.Replicas, Consumers: s.Consumers, Current: current(info.Cluster),
	}
}

// current counts the copies that are up to date. Without a cluster there is one.
func current(c *jetstream.ClusterInfo) int {
	if c == nil {
		return 1
	}
	n := 0
	if c.Leader != "" {
		n++
	}
	for _, r := range c.Replicas {
		if r.Current && !r.Offline {
			n++
		}
	}
	return n
}
