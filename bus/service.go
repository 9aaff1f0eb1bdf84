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
			select {
			case places <- struct{}{}:
			case <-ctx.Done():
				return
			}
			go func() {
				defer func() { <-places }()
				serve(ctx, r, endpoint)
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

func serve(ctx context.Context, r micro.Request, endpoint Endpoint) {
	ctx, cancel := context.WithTimeout(ctx, serviceTime)
	defer cancel()
	reply, err := endpoint(ctx, r.Data())
	var data []byte
	if err == nil {
		data, err = json.Marshal(reply)
	}
	if err == nil {
		err = r.Respond(data)
	}
	var fault *schemas.APIError
	switch {
	case err == nil:
		return
	case errors.As(err, &fault):
	default:
		fault = &schemas.APIError{Code: 500, Message: err.Error()}
	}
	_ = r.Error(strconv.Itoa(fault.Code), fault.Message, nil) // nobody is left to tell
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
