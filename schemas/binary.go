package schemas

import (
	"errors"
	"fmt"
	"mime"
	"net/url"
	"strings"
	"unicode/utf8"
)

// attributePrefix begins the headers of a CloudEvent in binary mode.
const attributePrefix = "ce-"

// saysAttribute says whether a header belongs to a CloudEvent in binary mode, rather than
// to the message that the event tells of.
func saysAttribute(name string, _ []string) bool {
	return hasPrefixFold(name, attributePrefix) || strings.EqualFold(name, HeaderContentType)
}

// isBinaryFailure says whether headers are those of a failure as a CloudEvent in binary
// mode: of its type, with data in JSON. All others are a user's own events.
func isBinaryFailure(user Header) bool {
	if headerFold(user, attributePrefix+"type") != TypeFailure {
		return false
	}
	said := headerFold(user, HeaderContentType)
	if said == "" {
		said = headerFold(user, attributePrefix+"datacontenttype")
	}
	t, _, err := mime.ParseMediaType(said)
	return err == nil && t == "application/json"
}

// binaryEvent reads an event whose attributes are in headers and whose data is the body,
// as the NATS binding of CloudEvents writes them.
func binaryEvent(user Header, body []byte) (Event, error) {
	if !utf8.Valid(body) {
		return Event{}, errors.New("data: no valid UTF-8")
	}
	e := Event{Data: body}
	var faults []error
	read := func(name string) string {
		value, err := attribute(headerFold(user, attributePrefix+name))
		if err != nil {
			faults = append(faults, fmt.Errorf("%s%s: %w", attributePrefix, name, err))
		}
		return value
	}
	e.SpecVersion, e.ID, e.Source, e.Type = read("specversion"), read("id"), read("source"), read("type")
	return e, errors.Join(faults...)
}

// attribute reads the value of a header of a CloudEvent: text in double quotes is without
// them, and %XX is a byte of UTF-8.
func attribute(value string) (string, error) {
	if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
		value = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(value[1 : n-1])
	}
	text, err := url.PathUnescape(value)
	if err != nil {
		return "", err
	}
	if !utf8.ValidString(text) {
		return "", errors.New("is no UTF-8 when decoded")
	}
	return text, nil
}

// headerFold is the first value of a header whose name is in any case. Of several names
// the last in order counts, which is the lower one, so that replicas read the same.
func headerFold(h Header, name string) string {
	found := ""
	for each := range h {
		if each > found && strings.EqualFold(each, name) {
			found = each
		}
	}
	return h.Get(found)
}
