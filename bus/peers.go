package bus

import (
	"context"
	"encoding/json"
	"errors"
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
		endpoint := endpoints[strings.TrimPrefix(m.Subject, before)]
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		running.Go(func() {
			defer func() { <-places }()
			_ = m.RespondMsg(answerPeer(ctx, endpoint, m.Data)) // who asked asks again
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

func answerPeer(ctx context.Context, endpoint Endpoint, request []byte) *nats.Msg {
	ctx, cancel := context.WithTimeout(ctx, serviceTime)
	defer cancel()
	var reply any
	var err error = &schemas.APIError{Code: 404, Message: "this replica does not know the request: is it older?"}
	if endpoint != nil {
		reply, err = endpoint(ctx, request)
	}
	m := &nats.Msg{Header: nats.Header{}}
	if err == nil {
		m.Data, err = json.Marshal(reply)
	}
	var fault *schemas.APIError
	switch {
	case err == nil:
		return m
	case !errors.As(err, &fault):
		fault = &schemas.APIError{Code: 500, Message: err.Error()}
	}
	m.Header.Set(micro.ErrorHeader, fault.Message)
	m.Header.Set(micro.ErrorCodeHeader, strconv.Itoa(fault.Code))
	return m
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
