package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// Examined is how a stream or bucket is, beside how this version makes it.
type Examined struct {
	StreamState
	Wanted      string // its name, also when it is not there
	Missing     bool
	Elsewhere   string // another stream that stores its subjects; recoveryd uses that one for advisories
	Foreign     bool   // recoveryd did not make it
	Differences []string
	Fixed       bool     // one of the differences cannot be changed
	Leaderless  bool     // it belongs to a cluster and nobody leads it
	Behind      []string // copies that are not up to date, and why
	Fault       error    // it could not be looked at
}

// Examine looks at every stream and bucket that there should be, and changes nothing. What
// the settings of a daemon decide (partitions, limits of size and age, copies) counts as
// wanted as it is found. Adopt first.
func (b *Bus) Examine(ctx context.Context) []Examined {
	all := append(b.layout(), b.advisoriesStream())
	all[0] = b.failedStream(b.Partitions())
	found := make([]Examined, len(all))
	var wg sync.WaitGroup
	for i, want := range all {
		wg.Go(func() { found[i] = b.examine(ctx, want) })
	}
	wg.Wait()
	return found
}

func (b *Bus) examine(ctx context.Context, want jetstream.StreamConfig) Examined {
	x := Examined{Wanted: want.Name}
	info, err := b.lookup(ctx, want.Name)
	switch {
	case errors.Is(err, schemas.ErrNotFound):
		x.Missing = true
		if name, err := b.Owner(ctx, want.Subjects[0]); err == nil {
			x.Elsewhere = name
		}
		return x
	case err != nil:
		x.Fault = err
		return x
	}
	x.StreamState = streamState(info)
	x.Leaderless = info.Cluster != nil && info.Cluster.Leader == ""
	x.Behind = behind(info.Cluster)
	if x.Foreign = info.Config.Metadata[ownerKey] != owner; x.Foreign {
		return x
	}
	for _, d := range differences(info.Config, b.settled(want, info.Config)) {
		x.Differences, x.Fixed = append(x.Differences, d.String()), x.Fixed || d.fixed
	}
	return x
}

// settled is want with what the settings of a daemon decide as it is.
func (b *Bus) settled(want, have jetstream.StreamConfig) jetstream.StreamConfig {
	switch want.Name {
	case b.stream(failed), b.stream(outcomes):
		want.MaxBytes = have.MaxBytes
	case b.stream(dead):
		want.MaxBytes, want.MaxAge = have.MaxBytes, have.MaxAge
	}
	return want
}

// behind names the copies that are not up to date.
func behind(c *jetstream.ClusterInfo) []string {
	if c == nil {
		return nil
	}
	var names []string
	for _, r := range c.Replicas {
		switch {
		case r.Offline:
			names = append(names, r.Name+" is offline")
		case !r.Current:
			names = append(names, fmt.Sprintf("%s is %d writes behind", r.Name, r.Lag))
		}
	}
	return names
}
