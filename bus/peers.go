package bus

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/recoveryd/recoveryd/schemas"
)

// ServePeer answers what other replicas ask this one in particular, until stop is called.
// The names of the endpoints are "<resource>.<verb>", as those of Serve.
func (b *Bus) ServePeer(instance string, endpoints map[string]Endpoint) (stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	before := b.cfg.Subjects.Peer(instance, "")
	var running sync.WaitGroup
	places := make(chan struct{}, maxServing)
	sub, err := b.nc.Subscribe(before+">", func(m *nats.Msg) {
		if !b.answers(m.Reply) {
			return
		}
		endpoint := endpoints[strings.TrimPrefix(m.Subject, before)]
		if endpoint == nil {
			endpoint = unknown
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		running.Go(func() {
			defer func() { <-places }()
			b.serve(ctx, endpoint, m.Data, m.Reply)
		})
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("serve other replicas: %w", clientError(err))
	}
	return func() {
		_ = sub.Unsubscribe() // fails only on a closed connection
		cancel()
		running.Wait()
	}, nil
}

func unknown(context.Context, []byte) (any, error) {
	return nil, &schemas.APIError{Code: 404, Message: "this replica does not know the request: is it older?"}
}

// Ask sends a request to one replica and returns its reply. An error reply is returned as
// *schemas.APIError; a replica that is gone is ErrNoResponders.
func (b *Bus) Ask(ctx context.Context, instance, name string, request []byte) (reply []byte, err error) {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	m, err := b.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: b.cfg.Subjects.Peer(instance, name), Data: request})
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", instance, clientError(err))
	}
	if code := m.Header.Get(micro.ErrorCodeHeader); code != "" {
		n, _ := strconv.Atoi(code)
		return nil, &schemas.APIError{Code: n, Message: m.Header.Get(micro.ErrorHeader)}
	}
	return m.Data, nil
}
