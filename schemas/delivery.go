package schemas

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"strconv"
	"sync"
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
	Ramp        bool // of a breaker that is recovering
	Fallback    int  // NoFallback, or the index this goes to
	Step        Step
}

// Sealer signs the state that travels with a delivery, so that a report can be believed.
// It is safe for concurrent use.
type Sealer struct {
	key  []byte
	macs sync.Pool // of *signing: the key is worked in only once
}

type signing struct {
	mac    hash.Hash
	signed []byte
}

// NewSealer takes the key that all daemons of one prefix share.
func NewSealer(key []byte) *Sealer {
	s := &Sealer{key: key}
	s.macs.New = func() any { return &signing{mac: hmac.New(sha256.New, key), signed: make([]byte, 0, 2048)} }
	return s
}

// sealed lists the headers under the seal, in the order in which they are signed.
var sealed = [...]string{
	HeaderID, HeaderAttempt, HeaderMaxAttempts, HeaderSubject, HeaderFirstFailedAt, HeaderGeneration,
	HeaderProbe, HeaderFallback, HeaderReplay, HeaderDelivery, HeaderHeld, HeaderHistory,
}

// Seal computes the seal over the headers of h that it covers, 22 characters.
func (s *Sealer) Seal(h Header) string {
	work := s.macs.Get().(*signing)
	defer s.macs.Put(work)
	work.mac.Reset()
	b := work.signed[:0]
	for _, name := range sealed {
		b = append(b, h.Get(name)...)
		b = append(b, '\n')
	}
	// Younger than the seal: what has it not keeps the seal it had.
	if ramp := h.Get(HeaderRamp); ramp != "" {
		b = append(append(b, ramp...), '\n')
	}
	work.mac.Write(b)
	work.signed = b
	return base64.RawURLEncoding.EncodeToString(work.mac.Sum(b[:0])[:16])
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
	out := write(w.Header, 10)
	out.set(HeaderID, w.ID)
	out.set(HeaderAttempt, strconv.Itoa(d.Attempt))
	out.set(HeaderMaxAttempts, strconv.Itoa(d.MaxAttempts))
	out.set(HeaderSubject, w.Subject)
	out.set(HeaderDelivery, strconv.Itoa(d.Number))
	out.set(HeaderFirstFailedAt, formatTime(w.FirstFailedAt))
	out.set(HeaderHistory, unbroken(w.History))
	out.number(HeaderGeneration, d.Generation)
	out.number(HeaderReplay, int64(w.Replay))
	out.number(HeaderHeld, w.Held.Milliseconds())
	if d.Probe {
		out.set(HeaderProbe, "1")
	}
	if d.Ramp {
		out.set(HeaderRamp, "1")
	}
	if d.Fallback != NoFallback {
		out.set(HeaderFallback, strconv.Itoa(d.Fallback))
		out.set(HeaderError, line(w.Error, MaxErrorRunes))
	}
	out.set(HeaderMsgID, w.MsgID(d.Step, d.Number))
	h := out.h
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
