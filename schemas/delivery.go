package schemas

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"time"
)

// Delivery is one sending of work to its subject or to a fallback.
type Delivery struct {
	Target      string
	Attempt     int // number of this delivery
	MaxAttempts int
	Number      int // Recovery-Delivery of this delivery
	Generation  int64
	Probe       bool
	Fallback    int // NoFallback, or the index this goes to
	Step        Step
}

// Sealer signs the state that travels with a delivery, so that a report can be believed.
// It is safe for concurrent use.
type Sealer struct{ key []byte }

// NewSealer takes the key that all daemons of one prefix share.
func NewSealer(key []byte) *Sealer { return &Sealer{key: key} }

// sealed lists the headers under the seal, in the order in which they are signed.
var sealed = [...]string{
	HeaderID, HeaderAttempt, HeaderMaxAttempts, HeaderSubject, HeaderFirstFailedAt, HeaderGeneration,
	HeaderProbe, HeaderFallback, HeaderReplay, HeaderDelivery, HeaderHeld, HeaderHistory,
}

// Seal computes the seal over the headers of h that it covers, 22 characters.
func (s *Sealer) Seal(h Header) string {
	mac := hmac.New(sha256.New, s.key)
	var buf [512]byte
	b := buf[:0]
	for _, name := range sealed {
		b = append(b, h.Get(name)...)
		b = append(b, '\n')
	}
	mac.Write(b)
	var sum [sha256.Size]byte
	return base64.RawURLEncoding.EncodeToString(mac.Sum(sum[:0])[:16])
}

// Valid says whether h carries the seal that its values deserve. Without a key nothing
// does: everybody could compute that seal.
func (s *Sealer) Valid(h Header) bool {
	if s == nil || len(s.key) == 0 {
		return false
	}
	seal := h.Get(HeaderSeal)
	return seal != "" && hmac.Equal([]byte(seal), []byte(s.Seal(h)))
}

// Message is the delivery of w: the user's headers and body untouched, the state of w
// sealed, and a message id that only this step of this delivery has.
func (s *Sealer) Message(w *Work, d Delivery) Message {
	h := w.Header.Clone()
	set := func(name, value string) {
		if value != "" {
			h.Set(name, value)
		}
	}
	h.Set(HeaderID, w.ID)
	h.Set(HeaderAttempt, strconv.Itoa(d.Attempt))
	h.Set(HeaderMaxAttempts, strconv.Itoa(d.MaxAttempts))
	h.Set(HeaderSubject, w.Subject)
	h.Set(HeaderDelivery, strconv.Itoa(d.Number))
	set(HeaderFirstFailedAt, formatTime(w.FirstFailedAt))
	set(HeaderHistory, unbroken(w.History))
	if d.Generation != 0 {
		h.Set(HeaderGeneration, strconv.FormatInt(d.Generation, 10))
	}
	if d.Probe {
		h.Set(HeaderProbe, "1")
	}
	if d.Fallback != NoFallback {
		h.Set(HeaderFallback, strconv.Itoa(d.Fallback))
		set(HeaderError, line(w.Error, MaxErrorRunes))
	}
	if w.Replay > 0 {
		h.Set(HeaderReplay, strconv.Itoa(w.Replay))
	}
	if ms := w.Held.Milliseconds(); ms > 0 {
		h.Set(HeaderHeld, strconv.FormatInt(ms, 10))
	}
	h.Set(HeaderMsgID, w.MsgID(d.Step, d.Number))
	fit(h, w)
	h.Set(HeaderSeal, s.Seal(h))
	return Message{Subject: d.Target, Header: h, Body: w.Body}
}

func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
