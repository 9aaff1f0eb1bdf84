package handlers

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"

	"github.com/recoveryd/recoveryd/schemas"
)

// Kinds of advisories. The last is of those that cannot be read.
const (
	advisoryMaxDeliveries = "max_deliveries"
	advisoryTerminated    = "terminated"
	advisoryUnknown       = "unknown"
)

// advisory is the server's word that a consumer gave a message up. Anybody in the account
// may have made it up.
type advisory struct {
	kind       string
	consumer   consumerName
	domain     string
	sequence   uint64
	deliveries uint64
	at         time.Time
	reason     string // of a termination
}

// consumerName is a consumer of a stream.
type consumerName struct{ stream, name string }

func (c consumerName) String() string { return "consumer " + c.name + " of stream " + c.stream }

// Bounds of an advisory. The server's own have some hundred bytes and the reason.
const (
	maxAdvisory   = 64 << 10
	advisoryAhead = 2 * time.Second // its time may be after that of its stream: clocks of a cluster differ
)

// advisoryTypes says how advisories call themselves, and where they are published.
var advisoryTypes = map[string][2]string{
	"io.nats.jetstream.advisory.v1.max_deliver": {advisoryMaxDeliveries, "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES."},
	"io.nats.jetstream.advisory.v1.terminated":  {advisoryTerminated, "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED."},
}

// parseAdvisory reads a stored advisory.
func parseAdvisory(m *schemas.Stored) (advisory, error) {
	none := advisory{kind: advisoryUnknown}
	if len(m.Body) > maxAdvisory {
		return none, fmt.Errorf("advisory has %d bytes, at most %d are read", len(m.Body), maxAdvisory)
	}
	var body struct {
		Type       string    `json:"type"`
		Time       time.Time `json:"timestamp"`
		Stream     string    `json:"stream"`
		Consumer   string    `json:"consumer"`
		Sequence   uint64    `json:"stream_seq"`
		Deliveries uint64    `json:"deliveries"`
		Reason     string    `json:"reason"`
		Domain     string    `json:"domain"`
	}
	if err := json.Unmarshal(m.Body, &body); err != nil {
		return none, fmt.Errorf("advisory: %w", err)
	}
	known, ok := advisoryTypes[body.Type]
	if !ok {
		return none, fmt.Errorf("advisory: type %.100q is not known", body.Type)
	}
	a := advisory{
		kind: known[0], consumer: consumerName{body.Stream, body.Consumer}, domain: body.Domain,
		sequence: body.Sequence, deliveries: body.Deliveries, at: body.Time, reason: oneLine(body.Reason, schemas.MaxErrorRunes),
	}
	for what, name := range map[string]string{"stream": body.Stream, "consumer": body.Consumer} {
		if err := schemas.CheckName(name); err != nil {
			return none, fmt.Errorf("advisory: %s: %w", what, err)
		}
	}
	switch {
	case m.Subject != known[1]+body.Stream+"."+body.Consumer:
		return none, fmt.Errorf("advisory: what it says of %s is not what its subject says", a.consumer)
	case a.sequence == 0 || a.sequence > math.MaxInt64:
		return none, errors.New("advisory: stream_seq is no sequence")
	case a.deliveries == 0 || a.deliveries > math.MaxInt32:
		return none, errors.New("advisory: deliveries is no number of deliveries")
	case a.at.IsZero() || a.at.After(m.Time.Add(advisoryAhead)):
		return none, errors.New("advisory: its timestamp is missing, or after it was stored")
	}
	return a, nil
}

// oneLine keeps the first characters of a text, in one line.
func oneLine(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > most {
			break
		}
		if unicode.IsControl(r) {
			r = ' '
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}

// byServer says whether the server gave the message up itself, because it was deleted. That
// is no failure.
func (a *advisory) byServer() bool {
	return a.kind == advisoryTerminated &&
		(a.reason == "Message deleted by stream limits" || a.reason == "Unacknowledged message was deleted")
}

// origin is where the message is.
func (a *advisory) origin() schemas.Origin {
	return schemas.Origin{Stream: a.consumer.stream, Consumer: a.consumer.name, Sequence: a.sequence, Deliveries: a.deliveries}
}

// text is the error that is reported.
func (a *advisory) text() string {
	switch {
	case a.kind == advisoryMaxDeliveries:
		return fmt.Sprintf("%d deliveries of %s failed", a.deliveries, a.consumer)
	case a.reason != "":
		return a.reason
	}
	return fmt.Sprintf("%s terminated it at delivery %d", a.consumer, a.deliveries)
}
