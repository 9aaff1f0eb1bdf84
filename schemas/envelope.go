package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Types of the CloudEvents that recoveryd reads and writes.
const (
	TypeFailure       = "io.recoveryd.v1.failure"
	TypeOutcomePrefix = "io.recoveryd.v1.outcome."
	TypeBreakerPrefix = "io.recoveryd.v1.breaker."

	ContentTypeEvent = "application/cloudevents+json"
)

// Event is a CloudEvents 1.0 envelope in JSON.
type Event struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            string          `json:"time,omitempty"`
	DataContentType string          `json:"datacontenttype,omitempty"`
	Data            json.RawMessage `json:"data,omitempty"`
	DataBase64      json.RawMessage `json:"data_base64,omitempty"`
}

// FailureData is the data of a failure envelope, for senders that cannot set headers.
// The body of the failed message is in exactly one of Body, BodyBase64 and BodyJSON.
type FailureData struct {
	ID         string            `json:"id,omitempty"`
	Attempt    int               `json:"attempt,omitempty"`
	Error      string            `json:"error,omitempty"`
	Code       string            `json:"code,omitempty"`
	Class      string            `json:"class,omitempty"`
	RetryAfter string            `json:"retry_after,omitempty"`
	OccurredAt string            `json:"occurred_at,omitempty"`
	Origin     Origin            `json:"origin,omitzero"`
	Headers    map[string]string `json:"headers,omitempty"`
	Body       *string           `json:"body,omitempty"`
	BodyBase64 *[]byte           `json:"body_base64,omitempty"`
	BodyJSON   json.RawMessage   `json:"body_json,omitempty"`
}

// isEnvelope says whether the body is a CloudEvent in JSON.
func isEnvelope(user Header) bool {
	for name, values := range user {
		if saysEnvelope(name, values) {
			return true
		}
	}
	return false
}

// saysEnvelope takes the name of the header in any case, as clients send it.
func saysEnvelope(name string, values []string) bool {
	if !strings.EqualFold(name, HeaderContentType) || !hasPrefixFold(values[0], ContentTypeEvent) {
		return false
	}
	t, _, err := mime.ParseMediaType(values[0])
	return err == nil && t == ContentTypeEvent
}

// openEnvelope replaces the report by what its envelope says. A CloudEvent of another type
// is an ordinary body: users' own events fail too.
func (r *Reader) openEnvelope(f *Failure, own Header) {
	var e Event
	if !utf8.Valid(f.Body) { // the decoder would replace bytes, and the payload grow by it
		f.Malformed = "body is no CloudEvents JSON: no valid UTF-8"
		return
	}
	if err := json.Unmarshal(f.Body, &e); err != nil {
		f.Malformed = "body is no CloudEvents JSON: " + err.Error()
		return
	}
	if e.Type == TypeFailure {
		r.open(f, own, e, saysEnvelope)
	}
}

// openBinary is openEnvelope for an event whose attributes are in headers.
func (r *Reader) openBinary(f *Failure, own Header) {
	e, err := binaryEvent(f.Header, f.Body)
	if err != nil {
		f.Malformed = err.Error()
		return
	}
	r.open(f, own, e, saysAttribute)
}

// open takes the report out of an event, and leaves out the headers that are the event's.
func (r *Reader) open(f *Failure, own Header, e Event, ofEvent func(string, []string) bool) {
	d, err := decodeFailureData(e)
	if err != nil {
		f.Malformed = err.Error()
		return
	}
	set := func(name, value string) {
		if value != "" && own.Get(name) == "" {
			own.Set(name, line(value, MaxErrorRunes))
		}
	}
	set(HeaderID, d.ID)
	if d.Attempt != 0 {
		set(HeaderAttempt, strconv.Itoa(d.Attempt))
	}
	set(HeaderError, d.Error)
	set(HeaderCode, d.Code)
	set(HeaderClass, d.Class)
	set(HeaderRetryAfter, d.RetryAfter)
	set(HeaderOccurredAt, d.OccurredAt)
	set(HeaderStream, d.Origin.Stream)
	set(HeaderConsumer, d.Origin.Consumer)
	if d.Origin.Sequence > 0 {
		set(HeaderSequence, strconv.FormatUint(d.Origin.Sequence, 10))
	}
	if d.Origin.Deliveries > 0 {
		set(HeaderDeliveries, strconv.FormatUint(d.Origin.Deliveries, 10))
	}
	maps.DeleteFunc(f.Header, ofEvent)
	for name, value := range d.Headers {
		if travels(name) && !hasPrefixFold(name, HeaderPrefix) {
			f.Header[name] = []string{value}
		}
	}
	f.Body = d.body()
}

func (d *FailureData) body() []byte {
	switch {
	case d.BodyBase64 != nil:
		return *d.BodyBase64
	case d.Body != nil:
		return []byte(*d.Body)
	}
	return d.BodyJSON
}

func decodeFailureData(e Event) (FailureData, error) {
	var d FailureData
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if e.SpecVersion != "1.0" {
		bad("specversion: %q, only 1.0 is read", e.SpecVersion)
	}
	if e.ID == "" {
		bad("id: missing")
	}
	if e.Source == "" {
		bad("source: missing")
	}
	if e.DataBase64 != nil {
		bad("data_base64: not read, put the failure into data")
	}
	if err := DecodeStrict(e.Data, &d); err != nil {
		bad("data: %w", err)
	}
	bodies := 0
	for _, given := range []bool{d.Body != nil, d.BodyBase64 != nil, d.BodyJSON != nil} {
		if given {
			bodies++
		}
	}
	if bodies > 1 {
		bad("data: only one of body, body_base64 and body_json may be given")
	}
	for name, value := range d.Headers {
		if !validName(name) || strings.ContainsAny(value, "\r\n") {
			bad("data.headers: %q is no header that can be sent", name)
		}
	}
	return d, errors.Join(faults...)
}

// DecodeStrict reads exactly one JSON value and refuses fields that v does not have; the
// error names the field.
func DecodeStrict(data []byte, v any) error { return decode(data, v, unknownRefuse) }

// What decode does with fields that it does not know.
const (
	unknownPass   = false
	unknownRefuse = true
)

func decode(data []byte, v any, unknown bool) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return errors.New("missing")
	}
	if unknown == unknownPass {
		return decodeError(json.Unmarshal(data, v))
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := decodeError(dec.Decode(v)); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errTrailing
	}
	return nil
}

var errTrailing = errors.New("something follows the JSON value")

// decodeError names the field instead of the Go type.
func decodeError(err error) error {
	if err == nil {
		return nil
	}
	var t *json.UnmarshalTypeError
	switch {
	case errors.As(err, &t):
		return errors.New(strings.TrimPrefix(fmt.Sprintf("%s: is a %s, must be a %s", t.Field, t.Value, t.Type), ": "))
	case strings.Contains(err.Error(), "after top-level value"):
		return errTrailing
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}
