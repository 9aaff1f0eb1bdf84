package schemas

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSchemasCompileAndAreNamed(t *testing.T) {
	t.Parallel()
	want := []string{
		"breaker-event.v1", "deadletter-headers.v1", "delivery-headers.v1", "failure.v1",
		"outcome.v1", "policy.v1", "report-headers.v1",
	}
	ofAPI := regexp.MustCompile(`^api\.[a-z]+(\.[a-z]+)?\.(request|reply)\.v1$`).MatchString
	if got := slices.DeleteFunc(Names(), ofAPI); !slices.Equal(got, want) {
		t.Fatalf("Names() = %q", got)
	}
	for _, name := range Names() {
		compiled(t, name)
		var doc map[string]any
		data, _ := Schema(name)
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatal(err)
		}
		if doc["$id"] != "urn:recoveryd:schema:"+name {
			t.Errorf("%s has the $id %v", name, doc["$id"])
		}
	}
	for _, name := range []string{"", "policy", "policy.v1.json", "../schema", "policy.v2"} {
		_, err := Schema(name)
		if err == nil || !strings.Contains(err.Error(), "policy.v1, report-headers.v1") {
			t.Errorf("Schema(%q): the error %v does not list the names", name, err)
		}
	}
}

// The reference pages are made from the descriptions.
func TestEveryPropertyIsDescribed(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		var walk func(path string, v any)
		walk = func(path string, v any) {
			switch v := v.(type) {
			case map[string]any:
				if props, ok := v["properties"].(map[string]any); ok && !strings.Contains(path, "allOf") {
					for key, p := range props {
						p := p.(map[string]any)
						if p["description"] == nil && p["$ref"] == nil {
							t.Errorf("%s%s: %s has no description", name, path, key)
						}
						if d, ok := p["description"].(string); ok && !strings.HasSuffix(d, ".") {
							t.Errorf("%s%s: the description of %s is no sentence", name, path, key)
						}
					}
				}
				for key, each := range v {
					walk(path+"/"+key, each)
				}
			case []any:
				for i, each := range v {
					walk(path+"/"+strconv.Itoa(i), each)
				}
			}
		}
		walk("", document(t, name))
	}
}

func document(t *testing.T, name string) map[string]any {
	t.Helper()
	data, err := Schema(name)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// A field of a Go type and a property of its schema are the same thing: one without the
// other is a document that lies.
func TestGoFieldsAreSchemaProperties(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		schema, def string
		value       any
		closed      bool
	}{
		{"failure.v1", "data", FailureData{}, true},
		{"failure.v1", "origin", Origin{}, true},
		{"outcome.v1", "data", Outcome{}, false},
		{"breaker-event.v1", "data", BreakerEvent{}, false},
		{"policy.v1", "", PolicyDocument{}, true},
		{"policy.v1", "policy", PolicySpec{}, true},
		{"policy.v1", "classify", ClassifySpec{}, true},
		{"policy.v1", "retry", RetrySpec{}, true},
		{"policy.v1", "breaker", BreakerSpec{}, true},
		{"policy.v1", "deliver", DeliverSpec{}, true},
		{"policy.v1", "ack", AckSpec{}, true},
		{"policy.v1", "dead_letter", DeadLetterSpec{}, true},
		{"policy.v1", "auto_replay", AutoReplaySpec{}, true},
	} {
		object := document(t, c.schema)
		if c.def != "" {
			object = object["$defs"].(map[string]any)[c.def].(map[string]any)
		}
		where := c.schema + "#" + c.def
		properties := object["properties"].(map[string]any)
		fields := fieldsOf(reflect.TypeOf(c.value))
		got, want := slices.Sorted(maps.Keys(properties)), slices.Sorted(maps.Keys(fields))
		if !slices.Equal(got, want) {
			t.Errorf("%s has\n%q, the Go type has\n%q", where, got, want)
		}
		if closed := object["additionalProperties"] == false; closed != c.closed {
			t.Errorf("%s: additionalProperties = %v", where, object["additionalProperties"])
		}
		for name, kind := range fields {
			p, _ := properties[name].(map[string]any)
			if typ, ok := p["type"].(string); ok && typ != kind {
				t.Errorf("%s: %s is a %s, in Go a %s", where, name, typ, kind)
			}
		}
	}
}

func fieldsOf(t reflect.Type) map[string]string {
	fields := map[string]string{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		typ := f.Type
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		kind := map[reflect.Kind]string{
			reflect.String: "string", reflect.Bool: "boolean", reflect.Int: "integer", reflect.Int64: "integer", reflect.Uint64: "integer",
			reflect.Float64: "number", reflect.Slice: "array", reflect.Struct: "object", reflect.Map: "object",
		}[typ.Kind()]
		if typ == reflect.TypeFor[Duration]() || typ == reflect.TypeFor[[]byte]() {
			kind = "string"
		}
		fields[name] = kind
	}
	return fields
}

// Every header that the code names is in a schema of headers, and the other way round.
func TestHeaderNamesAreSchemaProperties(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "header.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	code := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Header") {
			value, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if !strings.HasSuffix(value, "-") && value != HeaderEntry && value != HeaderPage { // prefixes; internal
				code[value] = true
			}
		}
		return true
	})
	schema := map[string]bool{}
	for _, name := range []string{"report-headers.v1", "delivery-headers.v1", "deadletter-headers.v1"} {
		for property := range document(t, name)["properties"].(map[string]any) {
			schema[property] = true
		}
	}
	if !maps.Equal(code, schema) {
		t.Errorf("in the code: %q\nin the schemas: %q", slices.Sorted(maps.Keys(code)), slices.Sorted(maps.Keys(schema)))
	}
	sealedNames := document(t, "delivery-headers.v1")["properties"].(map[string]any)
	for _, name := range sealed {
		if sealedNames[name] == nil {
			t.Errorf("%s is sealed but not in delivery-headers.v1", name)
		}
	}
}

func TestWrittenOutcomesFitTheSchema(t *testing.T) {
	t.Parallel()
	s := compiled(t, "outcome.v1")
	for _, kind := range Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				o := anOutcome(kind).Draw(t, "outcome")
				m := subjects.OutcomeMessage(&o, &Work{Body: aBody.Draw(t, "body")}, aTime.Draw(t, "at"))
				if err := check(s, m.Body); err != nil {
					t.Fatalf("%v\n%s", err, m.Body)
				}
				if err := CheckLiteral(strings.TrimPrefix(m.Subject, "recovery.outcomes."+kind+".")); err != nil {
					t.Fatal(err)
				}
				back, event, err := ParseOutcome(m.Body)
				if err != nil {
					t.Fatal(err)
				}
				if mustOneLine(back) != mustOneLine(o) || m.Header.Get(HeaderMsgID) != event.ID || event.Subject != o.Subject {
					t.Fatalf("%+v became %+v", o, back)
				}
			})
		})
	}
}

func mustOneLine(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func TestWrittenBreakerEventsFitTheSchema(t *testing.T) {
	t.Parallel()
	s := compiled(t, "breaker-event.v1")
	rapid.Check(t, func(t *rapid.T) {
		state := rapid.SampledFrom(slices.Sorted(maps.Keys(states)))
		b := BreakerEvent{
			Policy: aToken.Draw(t, "policy"), Key: rapid.StringN(1, 600, -1).Draw(t, "key"), From: state.Draw(t, "from"), To: state.Draw(t, "to"),
			Generation: rapid.Int64Min(0).Draw(t, "generation"), Level: rapid.IntRange(0, 9).Draw(t, "level"), Held: rapid.IntRange(0, 9).Draw(t, "held"),
			ID: aValue.Draw(t, "id"), Reason: aValue.Draw(t, "reason"), Actor: aValue.Draw(t, "actor"),
		}
		if b.To == "open" {
			b.OpenUntil = formatTime(aTime.Draw(t, "until"))
		}
		m, err := subjects.BreakerMessage(&b, aTime.Draw(t, "at"))
		if err != nil {
			t.Fatal(err)
		}
		if err := check(s, m.Body); err != nil {
			t.Fatalf("%v\n%s", err, m.Body)
		}
		if !strings.HasPrefix(m.Subject, "recovery.breakers."+states[b.To]+".") || len(m.Subject) > 2048 {
			t.Fatalf("subject %q", m.Subject)
		}
		back, _, err := ParseBreakerEvent(m.Body)
		if err != nil || back != b {
			t.Fatalf("%+v became %+v: %v", b, back, err)
		}
	})
}

func TestWrittenHeadersFitTheirSchemas(t *testing.T) {
	t.Parallel()
	delivery, letter, reported := compiled(t, "delivery-headers.v1"), compiled(t, "deadletter-headers.v1"), compiled(t, "report-headers.v1")
	rapid.Check(t, func(t *rapid.T) {
		w, d := aWork().Draw(t, "work"), aDelivery().Draw(t, "delivery")
		m := NewSealer(testKey).Message(&w, d)
		if err := delivery.Validate(asObject(m.Header)); err != nil {
			t.Fatal(err)
		}
		echo := m.Header.Clone()
		delete(echo, HeaderMsgID)
		if err := reported.Validate(asObject(echo)); err != nil {
			t.Fatal(err)
		}
		dead := aDeadLetter().Draw(t, "letter")
		if err := letter.Validate(asObject(subjects.DeadLetterMessage(&dead).Header)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWrittenPoliciesFitTheSchema(t *testing.T) {
	t.Parallel()
	s := compiled(t, "policy.v1")
	for name, text := range map[string]string{
		"default": `{"version":1,"policies":[{"name":"default","subjects":[">"]}]}`,
		"contract": `{"version":1,"policies":[{"name":"payments","subjects":["payments.>"],
			"classify":[{"code":["429","503"],"class":"throttled"},{"error":"(?i)invalid|malformed","class":"permanent"}],
			"retry":{"max_attempts":8,"initial_delay":"1s","max_delay":"5m","base":2,"jitter":"proportional","max_elapsed":"24h","max_hint":"5m"},
			"breaker":{"key":"payments.{2}","failure_threshold":5,"reset_timeout":"60s","half_open_timeout":"5s"},
			"deliver":{"mode":"stream","to":"{subject}"},"fallback":["payments.slow","payments.manual"],
			"success_evidence":"report","outcomes":"attempts"}]}`,
		"every field": `{"version":1,"policies":[{"name":"a-1","subjects":["a.*.b","a.>","*"],
			"classify":[{"header":"X-Kind","value":"^x","class":"ignored"}],
			"retry":{"preset":"days","throttled_delay":"0","max_ignored":0,"max_elapsed":"32d"},
			"breaker":{"disabled":true,"mode":"rate","min_distinct":1,"window":"1m30s","min_volume":1,"rate_permille":1000,"outcome_timeout":"30s",
				"open_multiplier":1.5,"max_open":"10m","probes":64,"successes":2,"ramp_max":1,"trip_on_hint":"0s","max_keys":1,"held_max":0,"held_max_age":"2d12h"},
			"deliver":{"mode":"request","timeout":"250ms"},"success_evidence":"ack","ack":{"stream":"S","consumer":"C"},"outcomes":"all",
			"discard":["ignored"],"dead_letter":{"replay_to":["a.again"],"auto_replay":{"reasons":["exhausted"],"max":100,"rate":10}}}]}`,
	} {
		if err := check(s, []byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var doc PolicyDocument
		if err := DecodeStrict([]byte(text), &doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		again, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(s, again); err != nil {
			t.Errorf("%s, written again: %v\n%s", name, err, again)
		}
	}
}

func TestWhatBothRefuse(t *testing.T) {
	t.Parallel()
	policy := func(fields string) string {
		return `{"version":1,"policies":[{"name":"p","subjects":[">"]` + fields + `}]}`
	}
	decode := map[string]func([]byte) error{
		"policy.v1":        func(b []byte) error { return DecodeStrict(b, &PolicyDocument{}) },
		"failure.v1":       func(b []byte) error { return malformed(b) },
		"outcome.v1":       func(b []byte) error { _, _, err := ParseOutcome(b); return err },
		"breaker-event.v1": func(b []byte) error { _, _, err := ParseBreakerEvent(b); return err },
	}
	outcome := func(typ, data string) string {
		return `{"specversion":"1.0","id":"1","source":"s","subject":"a","time":"2026-01-01T00:00:00Z","type":"` + typ + `","data":` + data + `}`
	}
	for _, c := range []struct{ schema, text, names string }{
		{"policy.v1", policy(`,"retrys":{}`), "retrys"},
		{"policy.v1", policy(`,"retry":{"max_atempts":3}`), "max_atempts"},
		{"policy.v1", policy(`,"retry":{"max_attempts":"3"}`), "max_attempts"},
		{"policy.v1", policy(`,"retry":{"initial_delay":3}`), "duration"},
		{"policy.v1", policy(`,"retry":{"initial_delay":"3 s"}`), "duration"},
		{"policy.v1", policy(`,"breaker":{"window":"soon"}`), "duration"},
		{"policy.v1", policy(`,"fallback":"a"`), "fallback"},
		{"failure.v1", failureEvent(`{"erorr":"x"}`), "erorr"},
		{"failure.v1", failureEvent(`{"attempt":"2"}`), "attempt"},
		{"failure.v1", failureEvent(`{"body":"x","body_json":{}}`), "body"},
		{"failure.v1", failureEvent(`{"body_base64":"*"}`), "base64"},
		{"failure.v1", failureEvent(`{"headers":{"a b":"x"}}`), "a b"},
		{"failure.v1", failureEvent(`{"headers":{"a":"x\r\nNats-Rollup: all"}}`), "headers"},
		{"failure.v1", failureEvent(`{"headers":{"a":1}}`), "headers"},
		{"failure.v1", `{"specversion":"0.3","id":"1","source":"s","type":"io.recoveryd.v1.failure","data":{}}`, "specversion"},
		{"failure.v1", `{"specversion":"1.0","source":"s","type":"io.recoveryd.v1.failure","data":{}}`, "id"},
		{"failure.v1", `{"specversion":"1.0","id":"1","type":"io.recoveryd.v1.failure","data":{}}`, "source"},
		{"failure.v1", `{"specversion":"1.0","id":"1","source":"s","type":"io.recoveryd.v1.failure"}`, "data"},
		{"failure.v1", `{"specversion":"1.0","id":"1","source":"s","type":"io.recoveryd.v1.failure","data_base64":"e30="}`, "data_base64"},
		{"outcome.v1", outcome("io.recoveryd.v1.outcome.dead", `{"kind":"held","id":"1","subject":"a","attempt":1,"delivery":1,"key":"k","policy":"p"}`), "kind"},
		{"outcome.v1", outcome("io.recoveryd.v1.outcome.held", `{"kind":"held","subject":"a","attempt":1,"delivery":1,"key":"k","policy":"p"}`), "id"},
		{"outcome.v1", outcome("com.example.held", `{"kind":"held","id":"1","subject":"a","attempt":1,"delivery":1,"key":"k","policy":"p"}`), "type"},
		{"outcome.v1", outcome("io.recoveryd.v1.outcome.", `{"kind":"","id":"1","subject":"a","attempt":1,"delivery":1}`), "kind"},
		{"outcome.v1", outcome("io.recoveryd.v1.outcome.held", `{"kind":"held","id":"1","subject":"a","attempt":"1","delivery":1,"key":"k","policy":"p"}`), "attempt"},
		{"breaker-event.v1", outcome("io.recoveryd.v1.breaker.opened", `{"policy":"p","key":"k","from":"closed","to":"closed","generation":1,"held":0}`), "to"},
		{"breaker-event.v1", outcome("io.recoveryd.v1.breaker.opened", `{"policy":"p","key":"","from":"closed","to":"open","generation":1,"held":0}`), "key"},
	} {
		if err := check(compiled(t, c.schema), []byte(c.text)); err == nil {
			t.Errorf("%s accepts %s", c.schema, c.text)
		}
		if err := decode[c.schema]([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.names) {
			t.Errorf("the codec says %v of %s", err, c.text)
		}
	}
}

// What a kind requires is refused by the schema when it is missing.
func TestEachKindRequiresItsFields(t *testing.T) {
	t.Parallel()
	s := compiled(t, "outcome.v1")
	for _, kind := range Kinds {
		o := Outcome{Kind: kind, ID: "1", Subject: "a", Attempt: 1, Delivery: 1}
		bare := subjects.OutcomeMessage(&o, nil, noon)
		if check(s, bare.Body) == nil {
			t.Errorf("%s is accepted with nothing of its own", kind)
		}
		complete(&o)
		full := subjects.OutcomeMessage(&o, nil, noon)
		if err := check(s, full.Body); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestEventsOfALaterVersionAreRead(t *testing.T) {
	t.Parallel()
	body := []byte(`{"specversion":"1.0","id":"1","source":"s","subject":"a","time":"2026-01-01T00:00:00Z","traceparent":"00-1","type":"io.recoveryd.v1.outcome.held",
		"data":{"kind":"held","id":"1","subject":"a","attempt":1,"delivery":1,"key":"k","policy":"p","new_field":{"x":1}}}`)
	if err := check(compiled(t, "outcome.v1"), body); err != nil {
		t.Error(err)
	}
	if o, _, err := ParseOutcome(body); err != nil || o.Key != "k" {
		t.Errorf("%+v, %v", o, err)
	}
}

// What the schema calls a duration is one, so that an editor never approves of what the
// daemon refuses.
func TestDurationsOfTheSchemaAreRead(t *testing.T) {
	t.Parallel()
	s := compiled(t, "policy.v1")
	file := func(d string) []byte {
		return []byte(`{"version":1,"policies":[{"name":"p","subjects":[">"],"retry":{"max_delay":"` + d + `"}}]}`)
	}
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.StringMatching(`0|[0-9]{1,4}d|([0-9]{1,4}d)?([0-9]{1,3}(\.[0-9]{0,3})?(ns|us|µs|ms|s|m|h)){1,3}`).Draw(t, "duration")
		if err := check(s, file(d)); err != nil {
			t.Fatal(err)
		}
		var doc PolicyDocument
		if err := DecodeStrict(file(d), &doc); err != nil {
			t.Fatal(err)
		}
	})
	for _, bad := range []string{"", "5", "-5s", "d", "1.5d", "1h1d", "5 s", "1w"} {
		if check(s, file(bad)) == nil {
			t.Errorf("%q is a duration to the schema", bad)
		}
	}
}
