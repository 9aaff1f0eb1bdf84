package schemas

import (
	"net/textproto"
	"sort"
	"strings"
	"unicode/utf8"
)

// Headers of reports and deliveries. All begin with HeaderPrefix.
const (
	HeaderPrefix = "Recovery-"

	HeaderError      = "Recovery-Error"
	HeaderCode       = "Recovery-Code"
	HeaderClass      = "Recovery-Class"
	HeaderRetryAfter = "Recovery-Retry-After"
	HeaderOccurredAt = "Recovery-Occurred-At"
	HeaderStream     = "Recovery-Stream"
	HeaderConsumer   = "Recovery-Consumer"
	HeaderSequence   = "Recovery-Sequence"
	HeaderDeliveries = "Recovery-Deliveries"

	HeaderID            = "Recovery-Id"
	HeaderAttempt       = "Recovery-Attempt"
	HeaderMaxAttempts   = "Recovery-Max-Attempts"
	HeaderSubject       = "Recovery-Subject"
	HeaderFirstFailedAt = "Recovery-First-Failed-At"
	HeaderGeneration    = "Recovery-Generation"
	HeaderProbe         = "Recovery-Probe"
	HeaderFallback      = "Recovery-Fallback"
	HeaderReplay        = "Recovery-Replay"
	HeaderDelivery      = "Recovery-Delivery"
	HeaderHeld          = "Recovery-Held"
	HeaderHistory       = "Recovery-History"
	HeaderSeal          = "Recovery-Seal"
	HeaderTruncated     = "Recovery-Truncated"

	HeaderReason       = "Recovery-Reason"
	HeaderCause        = "Recovery-Cause"
	HeaderPolicy       = "Recovery-Policy"
	HeaderLastFailedAt = "Recovery-Last-Failed-At"
	HeaderDeadAt       = "Recovery-Dead-At"

	// HeaderOriginalPrefix keeps, on a dead letter, what must not travel on a delivery.
	HeaderOriginalPrefix = "Recovery-Original-"

	// HeaderEntry is the state of a ledger entry, JSON.
	HeaderEntry = "Recovery-Entry"

	HeaderMsgID       = "Nats-Msg-Id"
	HeaderContentType = "Content-Type"
)

// Limits, in bytes unless said otherwise.
const (
	MaxUserHeaders = 56 << 10     // user headers over this lose the largest
	MaxHeaders     = 64<<10 - 512 // all headers of one message; the server's limit is 64 KiB
	MaxErrorRunes  = 1000         // characters of Recovery-Error that are kept
	MaxCode        = 64
	MaxName        = 256 // of a stream or consumer
	MaxID          = 128
	Overhead       = 16 << 10 // what recoveryd may add to a message
)

// split separates the headers of recoveryd (names put into canonical case) from those of
// the user that travel, and those that must not.
func split(h Header) (own, user, barred Header) {
	own, user = make(Header, 16), make(Header, len(h))
	for name, values := range h {
		switch {
		case len(values) == 0:
		case hasPrefixFold(name, HeaderPrefix):
			own[canonical(name)] = values
		case travels(name):
			user[name] = values
		default:
			if barred == nil {
				barred = make(Header, 2)
			}
			barred[name] = values
		}
	}
	return own, user, barred
}

func canonical(name string) string {
	if strings.HasPrefix(name, HeaderPrefix) {
		return name
	}
	return textproto.CanonicalMIMEHeaderKey(name)
}

// fitUser drops the largest headers until the rest takes at most limit bytes, and names
// the dropped in sorted order.
func fitUser(h Header, limit int) (dropped []string) {
	size := h.Size()
	if size <= limit {
		return nil
	}
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	one := func(name string) int { return Header{name: h[name]}.Size() }
	sort.Slice(names, func(i, j int) bool {
		if a, b := one(names[i]), one(names[j]); a != b {
			return a > b
		}
		return names[i] < names[j]
	})
	for _, name := range names {
		if size <= limit {
			break
		}
		size -= one(name)
		delete(h, name)
		dropped = append(dropped, name)
	}
	sort.Strings(dropped)
	return dropped
}

// fitOwn makes a message that recoveryd's own headers made too large fit again: the error
// is shortened first, then the history goes. User headers were bounded on the way in.
func fitOwn(h Header) {
	if h.Size() <= MaxHeaders {
		return
	}
	if e := h.Get(HeaderError); e != "" {
		h.Set(HeaderError, cutBytes(e, 256))
	}
	if h.Size() > MaxHeaders {
		delete(h, HeaderHistory)
	}
}

// line makes a text fit for one header line: control characters become spaces, invalid
// UTF-8 is replaced, and at most max runes are kept.
func line(s string, max int) string {
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = s[i] >= ' ' && s[i] < 0x7f
	}
	if clean && len(s) <= max {
		return s
	}
	var b strings.Builder
	n := 0
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		if n == max {
			break
		}
		if r < ' ' || r == 0x7f {
			r = ' '
		}
		b.WriteRune(r)
		n++
	}
	return strings.TrimSpace(b.String())
}

func cutBytes(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}
