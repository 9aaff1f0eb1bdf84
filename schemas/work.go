package schemas

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// Work is what is known of one piece of failed work between two of its deliveries.
type Work struct {
	ID       string
	Subject  string // the original one, also while it is on a fallback
	Attempt  int    // number of the delivery that failed last; the original is 1
	Delivery int    // rises with every delivery, also with those that use no attempt
	Replay   int    // how often it was replayed from the dead letters
	Fallback int    // index of the fallback it was delivered to last, NoFallback if none

	FirstFailedAt time.Time
	LastFailedAt  time.Time
	Held          time.Duration // how long breakers have held it back so far

	Error, Code, Class string // of the last failure
	History            string // encoded by package deadletter

	Origin Origin
	Header Header // the user's headers that travel; never changed in place
	Barred Header // the reporter's headers that must not; kept on a dead letter
	Body   []byte

	digest *[sha256.Size]byte // of the body, if it was kept
}

// NoFallback is the fallback index of work that is on its original subject.
const NoFallback = -1

// Origin is where the failed message came from, as far as the reporter said so.
type Origin struct {
	Stream     string `json:"stream,omitempty"`
	Consumer   string `json:"consumer,omitempty"`
	Sequence   uint64 `json:"sequence,omitempty"`
	Deliveries uint64 `json:"deliveries,omitempty"`
}

// Size is what the work takes in memory, in bytes, roughly.
func (w *Work) Size() int {
	const each = 96 // of a header in its map, besides its bytes
	return 1170 + len(w.Body) + len(w.History) + len(w.Error) +
		w.Header.Size() + w.Barred.Size() + each*(len(w.Header)+len(w.Barred))
}

// Stored is about how many bytes an entry of the ledger takes.
func (w *Work) Stored() int {
	return 400 + len(w.Body) + len(w.History) + len(w.Error) + w.Header.Size() + w.Barred.Size()
}

// maxDetached is the largest body that is worth a copy.
const maxDetached = 4 << 10

// Detach copies what the work holds of the message it was read from, unless that is most of
// it anyway, so that the message does not stay in memory as long as the work does. It
// returns how many bytes stay besides what Size counts. header is that of the message.
func (w *Work) Detach(header Header) (pinned int) {
	w.Error, w.History = strings.Clone(w.Error), strings.Clone(w.History)
	w.Header, w.Barred = w.Header.detached(), w.Barred.detached()
	if len(w.Body) > maxDetached {
		return header.Size() // it shares the buffer of the body
	}
	w.Body = bytes.Clone(w.Body)
	return 0
}

// Step names what a publish does with a delivery; it is part of the message id.
type Step string

// The steps, each with at most one publish per delivery and target.
const (
	StepRetry    Step = "retry"
	StepFallback Step = "fallback"
	StepDead     Step = "dead"
	StepReplay   Step = "replay"
	StepDiscard  Step = "discard"
)

// MsgID is the Nats-Msg-Id of a step: 32 hex digits of a SHA-256 over the step, the
// original subject, the id, the number of the new delivery and the body. Equal ids mean
// the same step of the same delivery of the same work, so a repeat is harmless and two
// works that share an id never swallow each other.
func (w *Work) MsgID(step Step, delivery int) string {
	buf := make([]byte, 0, 512)
	for _, part := range [...]string{string(step), w.Subject, w.ID} {
		buf = binary.BigEndian.AppendUint64(buf, uint64(len(part)))
		buf = append(buf, part...)
	}
	buf = binary.BigEndian.AppendUint32(buf, uint32(delivery))
	buf = binary.BigEndian.AppendUint32(buf, uint32(w.Replay))
	buf = binary.BigEndian.AppendUint64(buf, uint64(w.life()))
	body := w.digest
	if body == nil {
		sum := sha256.Sum256(w.Body)
		body = &sum
	}
	sum := sha256.Sum256(append(buf, body[:]...))
	return hex.EncodeToString(sum[:16])
}

// life tells lives with the same chosen id apart, by when each failed first: a worker that
// dropped the headers begins a new one, and its message must not vanish as a repeat of the
// former. An id that was derived from the origin has one life: there a second report is a
// repeat, whenever it comes.
func (w *Work) life() int64 {
	if len(w.ID) == originIDSize && strings.HasPrefix(w.ID, originID) {
		return 0
	}
	return nanos(w.FirstFailedAt)
}

// originID begins the ids that are derived from an origin.
const (
	originID     = "m-"
	originIDSize = len(originID) + 26
)

// id is the id of work whose reporter chose none but said where the message came from.
func (o Origin) id() string {
	return originID + deriveID("origin", o.Stream, strconv.FormatUint(o.Sequence, 10), o.Consumer)
}

// KeepDigest computes the hash of the body that all message ids need, once.
func (w *Work) KeepDigest() {
	if w.digest == nil {
		sum := sha256.Sum256(w.Body)
		w.digest = &sum
	}
}

// deriveID makes the id of work whose reporter chose none, from parts that are the same
// whenever the same failure is read or reported again: 26 characters [a-z2-7].
func deriveID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
}

// CheckID says whether a reporter's id is usable: 1 to 128 printable ASCII characters
// without spaces.
func CheckID(id string) bool {
	if id == "" || len(id) > MaxID {
		return false
	}
	for i := 0; i < len(id); i++ {
		if id[i] <= ' ' || id[i] >= 0x7f {
			return false
		}
	}
	return true
}
