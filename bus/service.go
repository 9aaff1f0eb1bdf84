package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/recoveryd/recoveryd/schemas"
)

// Endpoint answers requests of one kind. An error that is no *schemas.APIError is told as
// code 500.
type Endpoint func(ctx context.Context, request []byte) (reply any, err error)

// maxServing bounds the requests that are answered at the same time.
const maxServing = 16

// Serve offers endpoints as the NATS micro service "recoveryd" until stop is called. The
// names are "<resource>.<verb>". Replicas share the requests.
func (b *Bus) Serve(version string, endpoints map[string]Endpoint) (stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	service, err := micro.AddService(b.nc, micro.Config{
		Name: "recoveryd", Version: serviceVersion(version),
		Description: "Recovery plane for NATS JetStream",
		Metadata:    map[string]string{"prefix": b.cfg.Subjects.Prefix},
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("offer the control API: %w", err)
	}
	places := make(chan struct{}, maxServing)
	for name, endpoint := range endpoints {
		resource, verb, _ := strings.Cut(name, ".")
		answer := func(r micro.Request) {
			if !b.answers(r.Reply()) {
				return
			}
			select {
			case places <- struct{}{}:
			case <-ctx.Done():
				return
			}
			// Micro reads what its own answers leave in the request as soon as this function
			// returns, so an answer given later goes past it.
			request, reply := r.Data(), r.Reply()
			go func() {
				defer func() { <-places }()
				b.serve(ctx, endpoint, request, reply)
			}()
		}
		err := service.AddEndpoint(resource+"-"+verb, micro.HandlerFunc(answer), micro.WithEndpointSubject(b.cfg.Subjects.API(resource, verb)))
		if err != nil {
			cancel()
			return nil, errors.Join(fmt.Errorf("offer %s: %w", name, err), service.Stop())
		}
	}
	return func() {
		cancel()
		_ = service.Stop() // the connection may be closed already, then nothing is offered any more
		for range maxServing {
			places <- struct{}{}
		}
	}, nil
}

// serviceTime is how long one request may take.
const serviceTime = 30 * time.Second

// answers says whether requests with a reply subject are served. Who asks may not have the
// daemon publish to the server or to recoveryd's own subjects, where he may not himself.
func (b *Bus) answers(reply string) bool {
	return !strings.HasPrefix(reply, "$") && !strings.HasPrefix(reply, b.cfg.Subjects.Prefix+".")
}

// serve answers one request of a client or of another replica.
func (b *Bus) serve(ctx context.Context, endpoint Endpoint, request []byte, to string) {
	ctx, cancel := context.WithTimeout(ctx, serviceTime)
	defer cancel()
	m := &nats.Msg{Subject: to}
	reply, err := endpoint(ctx, request)
	if err == nil {
		m.Data, err = json.Marshal(reply)
	}
	if err == nil {
		err = b.nc.PublishMsg(m)
	}
	if err != nil {
		_ = b.nc.PublishMsg(refusal(to, err)) // who asked asks again
	}
}

func refusal(to string, err error) *nats.Msg {
	var fault *schemas.APIError
	if !errors.As(err, &fault) {
		fault = &schemas.APIError{Code: 500, Message: err.Error()}
	}
	return &nats.Msg{Subject: to, Header: nats.Header{
		micro.ErrorHeader: {fault.Message}, micro.ErrorCodeHeader: {strconv.Itoa(fault.Code)},
	}}
}

// serviceVersion makes a semantic version, which the micro service insists on.
func serviceVersion(v string) string {
	v = strings.TrimPrefix(v, "v")
	if parts := strings.SplitN(v, ".", 3); len(parts) == 3 && parts[0] != "" && parts[0][0] >= '0' && parts[0][0] <= '9' {
		return v
	}
	return "0.0.0"
}

// Call sends a request to the control API of any replica. An error reply is returned as
// *schemas.APIError; when no daemon answers the error is ErrNoResponders.
func (b *Bus) Call(ctx context.Context, resource, verb string, request, reply any) error {
	data, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("request %s.%s: %w", resource, verb, err)
	}
	m, err := b.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: b.cfg.Subjects.API(resource, verb), Data: data})
	if errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("%s.%s: %w", resource, verb, ErrNoResponders)
	}
	if err != nil {
		return fmt.Errorf("request %s.%s: %w", resource, verb, err)
	}
	if code := m.Header.Get(micro.ErrorCodeHeader); code != "" {
		n, _ := strconv.Atoi(code)
		return &schemas.APIError{Code: n, Message: m.Header.Get(micro.ErrorHeader)}
	}
	return json.Unmarshal(m.Data, reply)
}
