package schemas

import (
	"net/textproto"
	"slices"
	"strings"
	"unicode"
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
	HeaderRamp          = "Recovery-Ramp"
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

	// HeaderPage is how many entries of the ledger a message holds in its body.
	HeaderPage = "Recovery-Page"

	HeaderMsgID       = "Nats-Msg-Id"
	HeaderContentType = "Content-Type"
)

// Limits, in bytes unless said otherwise.
const (
	MaxUserHeaders = 56 << 10     // the reporter's headers over this lose the largest
	MaxHeaders     = 64<<10 - 512 // all headers of one message; the server's limit is 64 KiB
	MaxErrorRunes  = 1000         // characters of Recovery-Error that are kept
	MaxCode        = 64           // characters
	MaxName        = 256          // characters of a stream or consumer
	MaxID          = 128
	Overhead       = 16 << 10 // what recoveryd may add to a message
)

// split separates the headers of recoveryd (names put into canonical case) from those of
// the user that travel, and those that must not or cannot. Recovery-Truncated travels with
// the user's headers, since it tells of them.
func split(h Header) (own, user, barred Header) {
	n := 0
	for name := range h {
		if hasPrefixFold(name, HeaderPrefix) {
			n++
		}
	}
	own, user = make(Header, n), make(Header, len(h)-n)
	var odd map[string]string // by canonical name, the name that was taken for it
	for name, values := range h {
		values = oneLine(values)
		switch {
		case len(values) == 0:
		case hasPrefixFold(name, HeaderPrefix):
			key := canonical(name)
			if key != name {
				// The same header in several cases: which one counts must not depend on
				// the order of a map, or two replicas would read two different failures.
				_, exact := h[key]
				if taken, ok := odd[key]; exact || ok && taken < name {
					continue
				}
				if odd == nil {
					odd = make(map[string]string, 2)
				}
				odd[key] = name
			}
			if key == HeaderTruncated {
				user[key] = values
			} else {
				own[key] = values
			}
		case travels(name) && validName(name):
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

// canonical puts a name of recoveryd into its case; the rest of a name that was kept aside
// is the user's.
func canonical(name string) string {
	if hasPrefixFold(name, HeaderOriginalPrefix) {
		return HeaderOriginalPrefix + name[len(HeaderOriginalPrefix):]
	}
	return textproto.CanonicalMIMEHeaderKey(name)
}

// oneLine replaces line breaks, which would end a header and begin another one.
func oneLine(values []string) []string {
	for i, v := range values {
		if strings.IndexByte(v, '\n') >= 0 || strings.IndexByte(v, '\r') >= 0 {
			values = slices.Clone(values)
			values[i] = unbroken(v)
		}
	}
	return values
}

func unbroken(v string) string {
	if !strings.ContainsAny(v, "\r\n") {
		return v
	}
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(v)
}

// line makes a text fit for one header line: control characters become spaces, invalid
// UTF-8 is replaced, at most max characters are kept, without space around them.
func line(s string, max int) string {
	clean := len(s) <= max
	for i := 0; i < len(s) && clean; i++ {
		clean = s[i] >= ' ' && s[i] < 0x7f
	}
	if clean {
		return strings.TrimSpace(s)
	}
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == max {
			break
		}
		if unicode.IsControl(r) {
			r = ' '
		}
		b.WriteRune(r) // an invalid byte was read as U+FFFD
		n++
	}
	return strings.TrimSpace(b.String())
}
