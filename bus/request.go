package bus

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// request calls the JetStream API: subject without its prefix, body as JSON, the answer
// into result, errors with their classes.
func (b *Bus) request(ctx context.Context, subject string, body, result any) error {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	var data []byte
	var err error
	if body != nil {
		if data, err = json.Marshal(body); err != nil {
			return err
		}
	}
	select {
	case b.gate <- struct{}{}:
		defer func() { <-b.gate }()
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", subject, clientError(ctx.Err()))
	}
	reply, err := b.nc.RequestWithContext(ctx, b.api+subject, data)
	if err != nil {
		return fmt.Errorf("%s: %w", subject, clientError(err))
	}
	var fault struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &fault); err != nil {
		return fmt.Errorf("%s: answer is no JSON: %w", subject, err)
	}
	if fault.Error != nil {
		return fmt.Errorf("%s: %w", subject, serverError(fault.Error))
	}
	if err := json.Unmarshal(reply.Data, result); err != nil {
		return fmt.Errorf("%s: unexpected answer: %w", subject, err)
	}
	return nil
}
