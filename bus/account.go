package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Account is how a server and JetStream are there for the connection.
type Account struct {
	Server, Version, Cluster string
	RoundTrip                time.Duration
	Servers                  int   // of the cluster, as far as this client knows them
	Off                      bool  // the account has no JetStream
	Old                      error // why the server cannot be used
	Stores                   []Room
}

// Room is how much of what an account may store it stores.
type Room struct {
	Tier  string // "" = of the whole account
	Used  uint64 // bytes
	Limit int64  // bytes; none if it is not above 0
}

// Account asks for the account. An error says that JetStream cannot be used; what the
// connection itself tells is there all the same.
func (b *Bus) Account(ctx context.Context) (Account, error) {
	var a Account
	a.Server, a.Version, a.Cluster = b.ServerInfo()
	if a.Cluster != "" {
		a.Servers = len(b.nc.Servers())
	}
	info, err := b.account(ctx)
	if err != nil {
		a.Off = errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount)
		return a, err
	}
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	started := time.Now()
	if err := b.nc.FlushWithContext(ctx); err != nil {
		return a, fmt.Errorf("round trip: %w", clientError(err))
	}
	a.RoundTrip = time.Since(started)
	a.Old = b.tooOld(info.API.Level)
	a.Stores = rooms(info)
	return a, nil
}

func rooms(info *jetstream.AccountInfo) []Room {
	if len(info.Tiers) == 0 {
		return []Room{{Used: info.Store, Limit: info.Limits.MaxStore}}
	}
	var all []Room
	for _, name := range slices.Sorted(maps.Keys(info.Tiers)) {
		tier := info.Tiers[name]
		all = append(all, Room{Tier: name, Used: tier.Store, Limit: tier.Limits.MaxStore})
	}
	return all
}
