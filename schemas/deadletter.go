package schemas

import (
	"fmt"
	"strconv"
	"time"
)

// DeadLetter is work that could not be saved, as it is stored.
type DeadLetter struct {
	Work
	Reason    string
	Cause     string // 8 hex digits
	Policy    string
	DeadAt    time.Time
	Truncated []string
	Refused   bool // at the door: it is kept apart, where letters are bounded; not read back

	Sequence uint64 // in the store of dead letters; set when read
}

// DeadLetterMessage is how a dead letter is stored: the payload byte for byte, the
// original headers, and everything known about it in recoveryd's own.
func (s Subjects) DeadLetterMessage(d *DeadLetter) Message {
	out := write(d.Header, 20)
	text := func(name, value string) { out.set(name, line(value, MaxErrorRunes)) }
	text(HeaderID, d.ID)
	out.set(HeaderSubject, Readable(d.Subject))
	text(HeaderReason, d.Reason)
	text(HeaderCause, d.Cause)
	text(HeaderError, d.Error)
	text(HeaderCode, d.Code)
	text(HeaderClass, d.Class)
	text(HeaderPolicy, d.Policy)
	text(HeaderStream, d.Origin.Stream)
	text(HeaderConsumer, d.Origin.Consumer)
	out.set(HeaderAttempt, strconv.Itoa(d.Attempt))
	out.set(HeaderDelivery, strconv.Itoa(d.Delivery))
	out.set(HeaderFirstFailedAt, formatTime(d.FirstFailedAt))
	out.set(HeaderLastFailedAt, formatTime(d.LastFailedAt))
	out.set(HeaderDeadAt, formatTime(d.DeadAt))
	out.number(HeaderSequence, int64(d.Origin.Sequence))
	out.number(HeaderDeliveries, int64(d.Origin.Deliveries))
	out.number(HeaderReplay, int64(d.Replay))
	out.number(HeaderHeld, d.Held.Milliseconds())
	out.set(HeaderHistory, unbroken(d.History))
	if d.Fallback != NoFallback {
		out.set(HeaderFallback, strconv.Itoa(d.Fallback))
	}
	out.set(HeaderMsgID, d.MsgID(StepDead, d.Delivery))
	h := out.h
	setAside(h, d.Barred)
	noteTruncated(h, d.Truncated)
	fit(h, &d.Work)
	subject := s.Dead(d.Cause, d.Subject)
	if d.Refused || s.CheckTarget(d.Subject) != nil {
		subject = s.DeadRefused(d.Cause, d.Subject)
	}
	return Message{Subject: subject, Header: h, Body: d.Body}
}

// Readable keeps a subject of any length or content readable in a header.
func Readable(subject string) string {
	return cutBytes(line(subject, 4096), 4096)
}

// ParseDeadLetter reads a letter back; the error names the header.
func ParseDeadLetter(m *Stored) (DeadLetter, error) {
	own, user, _ := split(m.Header)
	d := DeadLetter{Sequence: m.Sequence}
	d.ID, d.Subject, d.Reason, d.Cause = own.Get(HeaderID), own.Get(HeaderSubject), own.Get(HeaderReason), own.Get(HeaderCause)
	d.Error, d.Code, d.Class, d.Policy = own.Get(HeaderError), own.Get(HeaderCode), own.Get(HeaderClass), own.Get(HeaderPolicy)
	d.History, d.Header, d.Body, d.Fallback = own.Get(HeaderHistory), user, m.Body, NoFallback
	d.Origin.Stream, d.Origin.Consumer = own.Get(HeaderStream), own.Get(HeaderConsumer)
	var err error
	fail := func(name string, cause any) {
		if err == nil {
			err = fmt.Errorf("dead letter %d: %s: %v", m.Sequence, name, cause)
		}
	}
	number := func(name string) uint64 {
		v := own.Get(name)
		if v == "" {
			return 0
		}
		n, e := strconv.ParseUint(v, 10, 63)
		if e != nil {
			fail(name, e)
		}
		return n
	}
	at := func(name string) time.Time {
		v := own.Get(name)
		if v == "" {
			return time.Time{}
		}
		t, e := time.Parse(time.RFC3339Nano, v)
		if e != nil {
			fail(name, e)
		}
		return t
	}
	for _, name := range []string{HeaderID, HeaderSubject, HeaderReason, HeaderCause, HeaderAttempt} {
		if own.Get(name) == "" {
			fail(name, "missing")
		}
	}
	d.Attempt, d.Delivery, d.Replay = int(number(HeaderAttempt)), int(number(HeaderDelivery)), int(number(HeaderReplay))
	d.Held = time.Duration(number(HeaderHeld)) * time.Millisecond
	d.Origin.Sequence, d.Origin.Deliveries = number(HeaderSequence), number(HeaderDeliveries)
	d.FirstFailedAt, d.LastFailedAt, d.DeadAt = at(HeaderFirstFailedAt), at(HeaderLastFailedAt), at(HeaderDeadAt)
	if own.Get(HeaderFallback) != "" {
		d.Fallback = int(number(HeaderFallback))
	}
	d.Truncated, d.Barred = parseTruncated(user), parseAside(own)
	return d, err
}

// StoreState is how the store of dead letters is filled.
type StoreState struct {
	Messages, Bytes     uint64
	FirstSeq, LastSeq   uint64 // LastSeq also counts letters that are gone
	FirstTime, LastTime time.Time
}
