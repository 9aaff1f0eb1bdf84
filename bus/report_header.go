package bus

import (
	"net/textproto"
	"net/url"
	"sort"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/recoveryd/recoveryd/schemas"
)

// echo copies the headers of a message for a report about it, without those that would
// make the server do something else with it, and those that told of an earlier failure.
func echo(h nats.Header) nats.Header {
	out := make(nats.Header, len(h)+10)
	var unsendable []string
	for name, values := range h {
		switch {
		case barred(name):
		case !sendable(name):
			unsendable = append(unsendable, url.PathEscape(name))
		case len(name) >= len(schemas.HeaderPrefix) && strings.EqualFold(name[:len(schemas.HeaderPrefix)], schemas.HeaderPrefix):
			// Something on the way may have changed the case. The name as it was sent counts.
			key := textproto.CanonicalMIMEHeaderKey(name)
			if _, exact := h[key]; key == name || !exact {
				out[key] = values
			}
		default:
			out[name] = values
		}
	}
	for _, name := range [...]string{schemas.HeaderError, schemas.HeaderCode, schemas.HeaderClass, schemas.HeaderRetryAfter, schemas.HeaderOccurredAt,
		schemas.HeaderStream, schemas.HeaderConsumer, schemas.HeaderSequence, schemas.HeaderDeliveries} {
		delete(out, name)
	}
	if len(unsendable) > 0 {
		sort.Strings(unsendable)
		out[schemas.HeaderTruncated] = []string{cut(strings.Join(append(out[schemas.HeaderTruncated], unsendable...), ","), 1024)}
	}
	return out
}

// barred says whether a header would change what the server does with a report: every
// Nats-* header does, and the others mark messages of the server and of key-value buckets.
func barred(name string) bool {
	for _, own := range [...]string{"kv-operation", "status", "description"} {
		if strings.EqualFold(name, own) {
			return true
		}
	}
	return len(name) >= 5 && strings.EqualFold(name[:5], "nats-")
}

// sendable says whether the client library sends a header with this name. Others do send
// more, and one such header would make its message impossible to report.
func sendable(name string) bool {
	for i := 0; i < len(name); i++ {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"()/,:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return name != ""
}

// stamp says where the message came from.
func stamp(h nats.Header, o schemas.Origin) {
	if o.Stream == "" {
		return
	}
	h[schemas.HeaderStream] = []string{o.Stream}
	h[schemas.HeaderConsumer] = []string{o.Consumer}
	h[schemas.HeaderSequence] = []string{strconv.FormatUint(o.Sequence, 10)}
	h[schemas.HeaderDeliveries] = []string{strconv.FormatUint(o.Deliveries, 10)}
}
