package bus

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// errNoAck: somebody other than a stream answered.
var errNoAck = errors.New("not an acknowledgement")

// maxNames bounds the remembered stream names.
const maxNames = 1024

// ackReader reads the acknowledgements of a server. The common form is read without
// allocating: {"stream":"NAME","seq":17} with ,"duplicate": true before the brace.
type ackReader struct{ names map[string]string }

func (r *ackReader) read(data []byte) (schemas.Ack, error) {
	if ack, ok := r.common(data); ok {
		return ack, nil
	}
	var full struct {
		Stream    string              `json:"stream"`
		Sequence  uint64              `json:"seq"`
		Duplicate bool                `json:"duplicate"`
		Error     *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(data, &full); err != nil {
		return schemas.Ack{}, errNoAck
	}
	if full.Error != nil {
		return schemas.Ack{}, serverError(full.Error)
	}
	if full.Stream == "" || full.Sequence == 0 {
		return schemas.Ack{}, errNoAck
	}
	return schemas.Ack{Stream: full.Stream, Sequence: full.Sequence, Duplicate: full.Duplicate}, nil
}

var (
	ackStart     = []byte(`{"stream":"`)
	ackSequence  = []byte(`","seq":`)
	ackEnd       = []byte(`}`)
	ackDuplicate = []byte(`,"duplicate": true}`)
)

func (r *ackReader) common(data []byte) (ack schemas.Ack, ok bool) {
	rest, ok := bytes.CutPrefix(data, ackStart)
	if !ok {
		return ack, false
	}
	end := bytes.IndexByte(rest, '"')
	if end <= 0 || bytes.IndexByte(rest[:end], '\\') >= 0 {
		return ack, false
	}
	name := rest[:end]
	if rest, ok = bytes.CutPrefix(rest[end:], ackSequence); !ok {
		return ack, false
	}
	digits := 0
	for digits < len(rest) && digits < 19 && rest[digits] >= '0' && rest[digits] <= '9' {
		ack.Sequence = ack.Sequence*10 + uint64(rest[digits]-'0')
		digits++
	}
	ack.Duplicate = bytes.Equal(rest[digits:], ackDuplicate)
	if ack.Sequence == 0 || !ack.Duplicate && !bytes.Equal(rest[digits:], ackEnd) {
		return schemas.Ack{}, false
	}
	ack.Stream = r.name(name)
	return ack, true
}

// name returns the same string for the same bytes, so that acks share it.
func (r *ackReader) name(b []byte) string {
	if s, ok := r.names[string(b)]; ok {
		return s
	}
	if len(r.names) >= maxNames {
		clear(r.names)
	}
	s := string(b)
	r.names[s] = s
	return s
}
