package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// kind is an error with its own words that is also of some of schemas' classes.
type kind struct {
	text    string
	classes []error
}

func (k *kind) Error() string   { return k.text }
func (k *kind) Unwrap() []error { return k.classes }

var (
	// ErrNoResponders: nobody listens on the subject of a request. It is also a
	// schemas.ErrNoStream.
	ErrNoResponders error = &kind{"nobody listens on this subject", []error{schemas.ErrNoStream}}

	// ErrDisconnected: there is no server at the moment, so nothing was sent. It is also
	// a schemas.ErrTimeout, as the way on is the same: repeat with the same id.
	ErrDisconnected error = &kind{"not connected to a server at the moment, nothing was sent", []error{schemas.ErrTimeout, schemas.ErrNotSent}}

	// ErrBusy: MaxInFlight messages wait for their answers; nothing was sent.
	ErrBusy error = &kind{"too many messages wait for an answer, nothing was sent", []error{schemas.ErrNotSent}}
)

// Error codes of the server.
const (
	codeAccountLimit   = 10002
	codeNoPeers        = 10005
	codeNoResources    = 10023
	codeNotFound       = 10037
	codeNoSequence     = 10043
	codeStorageLimit   = 10047
	codeTooLarge       = 10054
	codeDeleteFailed   = 10057
	codeNameInUse      = 10058
	codeStreamNotFound = 10059
	codeOverlap        = 10065
	codeWrongSequence  = 10071
	codeNoCluster      = 10074
	codeStoreFailed    = 10077
	codeHeaderTooLarge = 10097
	codeInProcess      = 10158
	codeWrongSequenceR = 10164 // on replicated streams
)

// serverError gives an error of the server its class.
func serverError(e *jetstream.APIError) error {
	switch e.ErrorCode {
	case codeNotFound, codeNoSequence, codeStreamNotFound, jetstream.JSErrCodeConsumerNotFound:
		return fmt.Errorf("%w: %w", schemas.ErrNotFound, e)
	case codeWrongSequence, codeWrongSequenceR:
		return fmt.Errorf("%w: %w", schemas.ErrConflict, e)
	case codeTooLarge, codeHeaderTooLarge:
		return fmt.Errorf("%w: %w", schemas.ErrTooLarge, e)
	case codeNoResources, codeAccountLimit, codeStorageLimit:
		return fmt.Errorf("%w: %w", schemas.ErrStoreFull, e)
	case codeInProcess: // the server is storing this very id
		return fmt.Errorf("%w: %w", schemas.ErrTimeout, e)
	case codeStoreFailed: // one code for every reason: only the text tells them apart
		if strings.Contains(e.Description, "maximum bytes") || strings.Contains(e.Description, "maximum messages") {
			return fmt.Errorf("%w: %w", schemas.ErrStoreFull, e)
		}
	}
	return e
}

// clientError gives an error of the client library its class.
func clientError(err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", schemas.ErrTooLarge, err)
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		return fmt.Errorf("%w: %w", schemas.ErrClosed, err)
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrDisconnected):
		return ErrDisconnected
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		return fmt.Errorf("%w: %w", ErrNoResponders, err)
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return fmt.Errorf("%w: %w", schemas.ErrNotFound, err)
	case errors.Is(err, jetstream.ErrKeyExists), errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		return fmt.Errorf("%w: %w", schemas.ErrConflict, err)
	case errors.As(err, &api):
		return serverError(api)
	case errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", schemas.ErrTimeout, err)
	}
	return err
}

// about says which subject an error is about.
func about(subject string, err error) error {
	if len(subject) > 200 {
		subject = subject[:200] + "…"
	}
	return fmt.Errorf("publish to %s: %w", subject, err)
}

// codeOf is the server's error code within err, or 0.
func codeOf(err error) jetstream.ErrorCode {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode
	}
	return 0
}

// maxPublishSubject keeps the control line, which also holds the reply inbox, far below
// the 4,096 bytes at which the server closes the connection for good.
const maxPublishSubject = 1024

// checkSubject refuses what would close the connection or reach other subjects than the
// caller meant; the client library lets both pass.
func checkSubject(subject string) error {
	switch {
	case len(subject) > maxPublishSubject:
		return fmt.Errorf("%w: the subject has %d bytes, at most %d are sent", schemas.ErrTooLarge, len(subject), maxPublishSubject)
	case strings.IndexByte(subject, '*') >= 0 || strings.IndexByte(subject, '>') >= 0:
		return fmt.Errorf("%w: it holds a wildcard", nats.ErrBadSubject)
	}
	return nil
}

// isGone tells a delete of a message that is not there from one that failed.
func isGone(err error) bool {
	text := err.Error()
	return strings.Contains(text, "no message found") || strings.Contains(text, "not found") || strings.Contains(text, "EOF")
}
