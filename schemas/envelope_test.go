package schemas

import (
	"errors"
	"strings"
	"testing"
)

func failureEvent(data string) string {
	return `{"specversion":"1.0","id":"1","source":"/app","type":"io.recoveryd.v1.failure","data":` + data + `}`
}

// malformed is what the reader says of an envelope.
func malformed(body []byte) error {
	f := reader().Failure(report(headers("Content-Type", ContentTypeEvent), string(body)))
	if f.Malformed == "" {
		return nil
	}
	return errors.New(f.Malformed)
}

func TestEnvelopeCarriesTheWholeReport(t *testing.T) {
	t.Parallel()
	body := failureEvent(`{"id":"order-42","attempt":2,"error":"no\nroute","code":"429","class":"throttled","retry_after":"7","occurred_at":"2026-03-01T11:59:59.5Z",
		"origin":{"stream":"ORDERS","consumer":"worker","sequence":7,"deliveries":3},
		"headers":{"traceparent":"00-1","Content-Type":"text/plain","Nats-Rollup":"all","Recovery-Seal":"forged","status":"503"},"body":"hello ☃"}`)
	for _, contentType := range []string{
		"application/cloudevents+json", "application/cloudevents+json; charset=utf-8", `Application/CloudEvents+JSON;charset="UTF-8"`,
	} {
		for _, name := range []string{"Content-Type", "content-type", "CONTENT-TYPE"} {
			f := reader().Failure(report(headers(name, contentType, "X-Kept", "1"), body))
			if f.Malformed != "" || len(f.Faults) > 0 {
				t.Fatalf("%s: %s: %s %q", name, contentType, f.Malformed, f.Faults)
			}
			if f.ID != "order-42" || f.Attempt != 2 || f.Error != "no route" || f.Code != "429" || f.Class != ClassThrottled {
				t.Errorf("read %+v", f.Work)
			}
			if f.Hint != 7e9 || !f.OccurredAt.Equal(noon.Truncate(1e9).Add(-5e8)) {
				t.Errorf("hint %v, occurred at %v", f.Hint, f.OccurredAt)
			}
			if f.Origin != (Origin{"ORDERS", "worker", 7, 3}) || string(f.Body) != "hello ☃" || f.Sealed {
				t.Errorf("origin %+v, body %q, sealed %v", f.Origin, f.Body, f.Sealed)
			}
			want := headers("traceparent", "00-1", "Content-Type", "text/plain", "X-Kept", "1")
			if mustOneLine(f.Header) != mustOneLine(want) {
				t.Errorf("headers %v", f.Header)
			}
		}
	}
	if err := check(compiled(t, "failure.v1"), []byte(body)); err != nil {
		t.Error(err)
	}
}

func TestEnvelopeBodies(t *testing.T) {
	t.Parallel()
	s := compiled(t, "failure.v1")
	for data, want := range map[string]string{
		`{}`:                     "",
		`{"body":""}`:            "",
		`{"body":"a\u0000b"}`:    "a\x00b",
		`{"body_base64":"/wD+"}`: "\xff\x00\xfe",
		`{"body_base64":""}`:     "",
		`{"body_json":{"n":12345678901234567890, "a" : [1]}}`: `{"n":12345678901234567890, "a" : [1]}`,
		`{"body_json":null}`:   "null",
		`{"body_json":"text"}`: `"text"`,
	} {
		f := reader().Failure(report(headers("Content-Type", ContentTypeEvent), failureEvent(data)))
		if f.Malformed != "" || string(f.Body) != want {
			t.Errorf("%s: body %q, %s", data, f.Body, f.Malformed)
		}
		if err := check(s, []byte(failureEvent(data))); err != nil {
			t.Error(err)
		}
	}
}

func TestHeadersOverrideTheEnvelope(t *testing.T) {
	t.Parallel()
	f := reader().Failure(report(headers("Content-Type", ContentTypeEvent, "Recovery-Error", "from the header", "recovery-id", "h-1"),
		failureEvent(`{"id":"e-1","error":"from the envelope","code":"500"}`)))
	if f.Error != "from the header" || f.ID != "h-1" || f.Code != "500" {
		t.Errorf("read %+v", f.Work)
	}
}

func TestMalformedEnvelopesKeepTheirBytes(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"":                        "no CloudEvents JSON",
		"{":                       "no CloudEvents JSON",
		"[]":                      "no CloudEvents JSON",
		failureEvent(`{}`) + "{}": "no CloudEvents JSON",
		failureEvent(`{"body":"` + "\xff" + `"}`):         "no valid UTF-8",
		failureEvent(`{"bodi":1}`):                        `"bodi"`,
		failureEvent(`7`):                                 "is a number",
		failureEvent(`{"origin":{"shard":1}}`):            `"shard"`,
		failureEvent(`{"body":"a","body_base64":"YQ=="}`): "only one of",
		failureEvent(`{"headers":{"":"x"}}`):              "is no header",
		failureEvent(`{"headers":{"a":"x\ny"}}`):          "is no header",
	} {
		f := reader().Failure(report(headers("Content-Type", ContentTypeEvent, "Recovery-Error", "e"), body))
		if !strings.Contains(f.Malformed, want) {
			t.Errorf("%s: malformed is %q, want %q in it", body, f.Malformed, want)
		}
		if string(f.Body) != body || f.Header.Get("Content-Type") != ContentTypeEvent || f.Error != "e" || f.ID == "" {
			t.Errorf("%s: was changed to %q %v", body, f.Body, f.Header)
		}
	}
}

// Users' own events fail too; they are bodies like any other.
func TestOtherEventsAreOrdinaryBodies(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"specversion":"1.0","id":"1","source":"/shop","type":"com.example.order","data":{"erorr":1}}`,
		`{"type":"io.recoveryd.v1.failures"}`,
		`{"specversion":"1.0","id":"1","source":"recoveryd/recovery","type":"io.recoveryd.v1.outcome.dead","data":{}}`,
	} {
		f := reader().Failure(report(headers("Content-Type", ContentTypeEvent), body))
		if f.Malformed != "" || string(f.Body) != body || f.Header.Get("Content-Type") != ContentTypeEvent {
			t.Errorf("%s: %q %q %v", body, f.Malformed, f.Body, f.Header)
		}
	}
	for _, contentType := range []string{"application/json", "application/cloudevents", "application/cloudevents+json2", "application/cloudevents+json;;=", ""} {
		f := reader().Failure(report(headers("Content-Type", contentType), failureEvent(`{"id":"e"}`)))
		if f.ID == "e" || f.Malformed != "" {
			t.Errorf("%q was taken for an envelope", contentType)
		}
	}
}
