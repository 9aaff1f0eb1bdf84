package schemas

import (
	"strconv"
	"strings"
	"time"
)

// Header holds the headers of a message. Names keep the case they were sent with;
// it converts to and from nats.Header without copying.
type Header map[string][]string

// Get returns the first value of the header with exactly this name, or "".
func (h Header) Get(name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// Set replaces all values of the header.
func (h Header) Set(name, value string) { h[name] = []string{value} }

// Clone copies the map, not the values, which are never changed in place.
func (h Header) Clone() Header {
	return h.cloneFor(16)
}

// cloneFor is a copy with room for so many more.
func (h Header) cloneFor(more int) Header {
	c := make(Header, len(h)+more)
	for k, v := range h {
		c[k] = v
	}
	return c
}

// Size is the number of bytes the headers take on the wire, without the version line.
func (h Header) Size() int {
	n := 0
	for k, vs := range h {
		for _, v := range vs {
			n += len(k) + len(v) + 4
		}
	}
	return n
}

// detached is a copy that shares no bytes with h.
func (h Header) detached() Header {
	if len(h) == 0 {
		return nil
	}
	c := make(Header, len(h))
	for name, values := range h {
		own := make([]string, len(values))
		for i, v := range values {
			own[i] = strings.Clone(v)
		}
		c[strings.Clone(name)] = own
	}
	return c
}

// writer adds recoveryd's own headers to a copy of the user's, with one slice for all
// their values.
type writer struct {
	h      Header
	values []string
}

// write has room for as many headers as are mostly added; more cost an allocation.
func write(user Header, mostly int) writer {
	return writer{h: user.cloneFor(mostly), values: make([]string, 0, mostly)}
}

// set leaves out what is empty.
func (w *writer) set(name, value string) {
	if value != "" {
		w.values = append(w.values, value)
		n := len(w.values)
		w.h[name] = w.values[n-1 : n : n]
	}
}

// number leaves out what is not more than 0.
func (w *writer) number(name string, n int64) {
	if n > 0 {
		w.set(name, strconv.FormatInt(n, 10))
	}
}

// Message is what is published: a subject, headers and a body that nobody changes.
type Message struct {
	Subject string
	Header  Header
	Body    []byte
}

// Stored is a message as a stream keeps it.
type Stored struct {
	Message
	Sequence uint64
	Time     time.Time
}

// Ack is the server's word that a message is stored.
type Ack struct {
	Stream    string
	Sequence  uint64
	Duplicate bool // the stream already held a message with this id
}

// Report is a report of success. Settle acknowledges it and must be called only after
// everything that follows from the report is stored.
type Report struct {
	Stored
	Settle func()
}

// Traceparent is the span that a message belongs to, as W3C Trace Context writes it; "" if it
// belongs to none. Some libraries write the name of the header as HTTP does.
func Traceparent(h Header) string {
	if v := h["traceparent"]; len(v) > 0 {
		return v[0]
	}
	if v := h["Traceparent"]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// travels says whether a header of the original message may be copied to another one:
// every Nats-* header changes what the server does with the message that carries it
// (Nats-Rollup purges, Nats-Msg-Id makes it vanish as a duplicate), and the others are
// how the server and the key-value layer mark their own messages.
func travels(name string) bool {
	switch {
	case hasPrefixFold(name, "nats-"):
		return false
	case strings.EqualFold(name, "kv-operation"), strings.EqualFold(name, "status"), strings.EqualFold(name, "description"):
		return false
	}
	return true
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
