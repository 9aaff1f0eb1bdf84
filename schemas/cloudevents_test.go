package schemas

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A failure says the same in both modes of the NATS binding of CloudEvents 1.0.
func TestFailuresInBothModes(t *testing.T) {
	t.Parallel()
	const data = `{"id":"order-42","attempt":2,"error":"refused","code":"503","headers":{"Tenant":"a","Content-Type":"text/plain","ce-type":"com.example.order"},"body":"hello"}`
	for name, m := range map[string]*Stored{
		"structured":        report(headers("Content-Type", ContentTypeEvent, "X-Kept", "1"), failureEvent(data)),
		"binary":            report(binaryHeaders("Content-Type", "application/json", "X-Kept", "1"), data),
		"binary, charset":   report(binaryHeaders("content-type", "application/json; charset=utf-8", "X-Kept", "1"), data),
		"binary, attribute": report(binaryHeaders("ce-datacontenttype", "application/json", "X-Kept", "1"), data),
		"binary, extras":    report(binaryHeaders("Content-Type", "application/json", "ce-time", "2026-01-01T00:00:00Z", "CE-Subject", "x", "ce-myextension", "%41", "X-Kept", "1"), data),
		"binary, capitals": report(headers("CE-SpecVersion", "1.0", "CE-Type", TypeFailure, "CE-ID", "1", "CE-Source", "/app", "Content-Type", "application/json",
			"X-Kept", "1"), data),
		"binary, encoded": report(headers("ce-specversion", "1.0", "ce-type", TypeFailure, "ce-id", "%E2%98%83", "ce-source", `"/a%20b"`, "Content-Type", "application/json",
			"X-Kept", "1"), data),
	} {
		f := reader().Failure(m)
		if f.Malformed != "" || len(f.Faults) > 0 || f.ID != "order-42" || f.Attempt != 2 || f.Error != "refused" || f.Code != "503" || string(f.Body) != "hello" {
			t.Errorf("%s: %s %q, %+v", name, f.Malformed, f.Faults, f.Work)
		}
		want := headers("Tenant", "a", "Content-Type", "text/plain", "ce-type", "com.example.order", "X-Kept", "1")
		if mustOneLine(f.Header) != mustOneLine(want) {
			t.Errorf("%s: headers %v", name, f.Header)
		}
	}
}

// binaryHeaders are the attributes of a failure in headers, and more headers.
func binaryHeaders(more ...string) Header {
	return headers(append([]string{"ce-specversion", "1.0", "ce-type", TypeFailure, "ce-id", "1", "ce-source", "/app"}, more...)...)
}

func TestMalformedEventsInBothModes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ attribute, value, want string }{
		{"id", "", "id: missing"},
		{"source", "", "source: missing"},
		{"specversion", "", "specversion"},
		{"specversion", "0.3", "specversion"},
		{"data", `{"erorr":"x"}`, "erorr"},
		{"data", `7`, "is a number"},
		{"data", ``, "data: missing"},
		{"data", "{\"body\":\"\xff\"}", "no valid UTF-8"},
	} {
		event := map[string]json.RawMessage{"specversion": []byte(`"1.0"`), "id": []byte(`"1"`), "source": []byte(`"/app"`), "type": []byte(`"` + TypeFailure + `"`), "data": []byte(`{}`)}
		h, data := binaryHeaders("Content-Type", "application/json"), "{}"
		delete(event, c.attribute)
		if c.attribute == "data" {
			data = c.value
		} else {
			delete(h, "ce-"+c.attribute)
		}
		if c.value != "" && c.attribute != "data" {
			event[c.attribute] = []byte(`"` + c.value + `"`)
			h.Set("ce-"+c.attribute, c.value)
		}
		if c.attribute == "data" && c.value != "" {
			event["data"] = []byte(`"BODY"`)
		}
		structured := strings.Replace(mustOneLine(event), `"BODY"`, c.value, 1)
		for mode, m := range map[string]*Stored{"structured": report(headers("Content-Type", ContentTypeEvent), structured), "binary": report(h, data)} {
			f := reader().Failure(m)
			if !strings.Contains(f.Malformed, c.want) {
				t.Errorf("%s, %s %q: malformed is %q, want %q in it", mode, c.attribute, c.value, f.Malformed, c.want)
			}
			if string(f.Body) != string(m.Body) || len(f.Header) != len(m.Header) {
				t.Errorf("%s, %s %q: was changed to %q %v", mode, c.attribute, c.value, f.Body, f.Header)
			}
		}
	}
	for _, value := range []string{"%", "%4", "%zz", "%ff"} {
		f := reader().Failure(report(headers("ce-specversion", "1.0", "ce-type", TypeFailure, "ce-id", value, "ce-source", "/app", "Content-Type", "application/json"), "{}"))
		if !strings.Contains(f.Malformed, "ce-id") {
			t.Errorf("ce-id %q: malformed is %q", value, f.Malformed)
		}
	}
}

// Only a failure with data in JSON is opened; other events in binary mode are users' own.
func TestOtherBinaryEventsAreOrdinaryBodies(t *testing.T) {
	t.Parallel()
	const body = `{"id":"e","erorr":1}`
	for _, h := range []Header{
		headers("ce-specversion", "1.0", "ce-type", "com.example.order", "ce-id", "1", "ce-source", "/app", "Content-Type", "application/json"),
		headers("ce-type", "io.recoveryd.v1.failures", "Content-Type", "application/json"),
		binaryHeaders("Content-Type", "text/plain"), binaryHeaders("Content-Type", "application/json2"), binaryHeaders(),
		headers("Content-Type", "application/json"),
	} {
		f := reader().Failure(report(h, body))
		if f.Malformed != "" || string(f.Body) != body || f.ID == "e" || mustOneLine(f.Header) != mustOneLine(h) {
			t.Errorf("%v: %q %q %v", h, f.Malformed, f.Body, f.Header)
		}
	}
}

// What recoveryd tells keeps the rules of CloudEvents 1.0 for attributes.
func TestEventsKeepTheRulesOfCloudEvents(t *testing.T) {
	t.Parallel()
	attributeName := regexp.MustCompile(`^[a-z0-9]{1,20}$|^data_base64$`)
	rapid.Check(t, func(t *rapid.T) {
		at := aTime.Draw(t, "at")
		o := anOutcome(rapid.SampledFrom(Kinds[:]).Draw(t, "kind")).Draw(t, "outcome")
		outcome := subjects.OutcomeMessage(&o, nil, at)
		b := BreakerEvent{Policy: "p", Key: o.Subject, From: "closed", To: rapid.SampledFrom([]string{"open", "half_open", "closed"}).Draw(t, "to")}
		breaker, err := subjects.BreakerMessage(&b, at)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []Message{outcome, breaker} {
			var event map[string]any
			if err := json.Unmarshal(m.Body, &event); err != nil {
				t.Fatal(err)
			}
			for name := range event {
				if !attributeName.MatchString(name) {
					t.Fatalf("attribute %q", name)
				}
			}
			text := func(name string) string { s, _ := event[name].(string); return s }
			if m.Header.Get(HeaderContentType) != ContentTypeEvent || text("specversion") != "1.0" || text("id") == "" || text("subject") == "" || !strings.HasPrefix(text("type"), "io.recoveryd.v1.") {
				t.Fatalf("%s", m.Body)
			}
			if source, err := url.Parse(text("source")); err != nil || source.String() == "" {
				t.Fatalf("source %q: %v", text("source"), err)
			}
			if got, err := time.Parse(time.RFC3339Nano, text("time")); err != nil || !got.Equal(at) {
				t.Fatalf("time %q, want %s: %v", text("time"), at, err)
			}
		}
	})
}
