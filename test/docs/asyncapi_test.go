package docs

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/recoveryd/recoveryd/schemas"
)

const asyncapi = root + "/docs/asyncapi.yaml"

// node is an object of the AsyncAPI document, whose keys keep their order.
type node = yaml.MapSlice

func object(keysAndValues ...any) node {
	var n node
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		n = append(n, yaml.MapItem{Key: keysAndValues[i], Value: keysAndValues[i+1]})
	}
	return n
}

func ref(path ...string) node { return object("$ref", "#/"+strings.Join(path, "/")) }

// contract gathers the parts of the document.
type contract struct {
	t                                      *testing.T
	channels, operations, messages, shapes node
	parameters                             map[string]string
}

// docs/asyncapi.yaml says in AsyncAPI 3 what the subjects and the schemas say.
func TestAsyncAPI(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	out.WriteString("# Made from the code by go test ./test/docs -update; a test compares it.\n")
	enc := yaml.NewEncoder(&out, yaml.Indent(2), yaml.IndentSequence(true))
	if err := enc.Encode(asyncAPI(t)); err != nil {
		t.Fatal(err)
	}
	compareFile(t, asyncapi, out.Bytes())
}

func asyncAPI(t *testing.T) node {
	t.Helper()
	c := &contract{t: t, parameters: map[string]string{}}
	for _, name := range schemas.Names() {
		if name != "policy.v1" { // a file, no message
			c.schema(name)
		}
	}
	c.work()
	c.events()
	c.api()
	parameters := node{}
	for _, name := range slices.Sorted(maps.Keys(c.parameters)) {
		parameters = append(parameters, yaml.MapItem{Key: name, Value: object("description", c.parameters[name])})
	}
	return object(
		"asyncapi", "3.0.0",
		"id", "urn:recoveryd",
		"info", object("title", "recoveryd", "version", "1.0.0", "description", "The recovery plane for NATS JetStream: what it receives and sends. "+
			"The first token of the subjects, recovery, is RECOVERYD_PREFIX. What goes to a stream is published to JetStream: wait for the PubAck."),
		"servers", object("nats", object("host", "{host}", "protocol", "nats", "description", "A NATS server with JetStream.",
			"variables", object("host", object("default", "localhost:4222", "description", "Host and port.")))),
		"defaultContentType", "application/json",
		"channels", c.channels,
		"operations", c.operations,
		"components", object("messages", c.messages, "parameters", parameters, "schemas", c.shapes),
	)
}

// channel adds a channel with its messages, and the operation on it.
func (c *contract) channel(name, address, action, summary, stream string, messages ...string) {
	held, refs := node{}, []node{}
	for _, m := range messages {
		held = append(held, yaml.MapItem{Key: m, Value: ref("components", "messages", m)})
		refs = append(refs, ref("channels", name, "messages", m))
	}
	ch := object("address", address, "description", summary, "messages", held)
	parameters := node{}
	for _, part := range strings.Split(address, "{")[1:] {
		p, _, _ := strings.Cut(part, "}")
		parameters = append(parameters, yaml.MapItem{Key: p, Value: ref("components", "parameters", p)})
	}
	if len(parameters) > 0 {
		ch = append(ch, object("parameters", parameters)...)
	}
	if stream != "" {
		ch = append(ch, object("x-stream", stream)...)
	}
	c.channels = append(c.channels, yaml.MapItem{Key: name, Value: ch})
	c.operations = append(c.operations, yaml.MapItem{Key: name, Value: object("action", action, "channel", ref("channels", name), "summary", summary, "messages", refs)})
}

func (c *contract) message(name, summary string, rest ...any) {
	c.messages = append(c.messages, yaml.MapItem{Key: name, Value: append(object("name", name, "summary", summary), object(rest...)...)})
}

func shape(name string) node { return ref("components", "schemas", name) }

// work is what goes between workers and recoveryd.
func (c *contract) work() {
	s := schemas.Subjects{Prefix: schemas.DefaultPrefix}
	c.parameters["subject"] = "The original subject: one or more tokens."
	c.parameters["cause"] = "Fingerprint of reason and normalised error: 8 hex digits."
	report, event := shape("report-headers.v1"), schemas.ContentTypeEvent
	c.message("failure", "The failed message with its own headers and body.", "headers", report)
	c.message("failure.structured", "The failure as a CloudEvent in one JSON document, for senders that cannot set headers.", "contentType", event, "headers", report, "payload", shape("failure.v1"))
	c.message("failure.binary", "The failure as a CloudEvent with its attributes in headers.", "contentType", "application/json",
		"headers", object("type", "object", "allOf", []node{report, c.binaryHeaders()}), "payload", shape("failure.v1.data"))
	c.message("success", "The headers of the delivery; no body.", "headers", report)
	c.message("delivery", "The failed message again, with its own headers and body.", "headers", shape("delivery-headers.v1"))
	c.message("dead", "The failed message with its own headers and body, and why it is dead.", "headers", shape("deadletter-headers.v1"))
	c.channel("failed", s.Failed("{subject}"), "receive", "Work on a subject failed.", "RECOVERY_FAILED", "failure", "failure.structured", "failure.binary")
	c.channel("succeeded", s.Succeeded("{subject}"), "receive", "Redelivered work succeeded.", "RECOVERY_SUCCEEDED", "success")
	c.channel("delivery", "{subject}", "send", "Work is delivered again, to its own subject or to what the policy names.", "", "delivery")
	c.channel("dead", strings.NewReplacer("CAUSE", "{cause}", "SUBJECT", "{subject}").Replace(s.Dead("CAUSE", "SUBJECT")), "send", "Work that could not be saved is kept.", "RECOVERY_DEAD", "dead")
}

// binaryHeaders are those of a CloudEvent in binary mode, as the NATS binding names them.
func (c *contract) binaryHeaders() node {
	attributes := object("ce-specversion", object("type", "string", "const", "1.0"), "ce-type", object("type", "string", "const", schemas.TypeFailure))
	for _, name := range []string{"ce-id", "ce-source"} {
		attributes = append(attributes, object(name, object("type", "string", "minLength", 1))...)
	}
	return object("type", "object", "required", []string{"ce-specversion", "ce-type", "ce-id", "ce-source"}, "properties", attributes)
}

// events are what recoveryd tells.
func (c *contract) events() {
	s := schemas.Subjects{Prefix: schemas.DefaultPrefix}
	c.parameters["key"] = "Key of the breaker, by default the subject: one or more tokens; unsafe bytes are written as =XX."
	told := func(name, address, summary, schema, typ string) {
		c.message(name, summary, "contentType", schemas.ContentTypeEvent, "payload", object("allOf", []node{
			shape(schema), object("type", "object", "properties", object("type", object("const", typ))),
		}))
		c.channel(name, address, "send", summary, "RECOVERY_OUTCOMES", name)
	}
	for _, kind := range schemas.Kinds {
		told("outcomes."+kind, strings.ReplaceAll(s.Outcome(kind, "SUBJECT"), "SUBJECT", "{subject}"), "An outcome of kind "+kind+".", "outcome.v1", schemas.TypeOutcomePrefix+kind)
	}
	for _, state := range breakerStates(c.t) {
		told("breakers."+state, strings.ReplaceAll(s.Breaker(state, "KEY"), "KEY", "{key}"), "A breaker changed to "+state+".", "breaker-event.v1", schemas.TypeBreakerPrefix+state)
	}
}

// breakerStates are the last tokens of the types of breaker events.
func breakerStates(t *testing.T) (states []string) {
	t.Helper()
	for _, f := range read(t, "breaker-event.v1").Properties {
		if f.name == "type" {
			for _, typ := range f.Enum {
				states = append(states, strings.TrimPrefix(typ, schemas.TypeBreakerPrefix))
			}
		}
	}
	return states
}

// replies is the channel of all replies: the inbox of whoever asks.
const replies = "api.replies"

// api is the control API: each request has a channel of its own.
func (c *contract) api() {
	s := schemas.Subjects{Prefix: schemas.DefaultPrefix}
	text := object("type", "string")
	c.message("api.error", "Why a request failed.", "headers", object("type", "object", "required", []string{"Nats-Service-Error", "Nats-Service-Error-Code"},
		"properties", object("Nats-Service-Error", text, "Nats-Service-Error-Code", object("type", "string", "pattern", "^[0-9]{3}$"))))
	answers := object("api.error", ref("components", "messages", "api.error"))
	for _, e := range endpoints {
		resource, verb, _ := strings.Cut(e.name, ".")
		request, reply := strings.TrimSuffix(schemaName(e.name, "request"), ".v1"), strings.TrimSuffix(schemaName(e.name, "reply"), ".v1")
		c.message(request, e.does, "payload", shape(request+".v1"))
		c.message(reply, "What "+e.name+" replies.", "payload", shape(reply+".v1"))
		c.channel("api."+e.name, s.API(resource, verb), "receive", e.does, "", request)
		last := &c.operations[len(c.operations)-1]
		last.Value = append(last.Value.(node), object(
			"reply", object("channel", ref("channels", replies), "messages", []node{ref("channels", replies, "messages", reply), ref("channels", replies, "messages", "api.error")}),
			"bindings", object("nats", object("queue", "q", "bindingVersion", "0.1.0")))...)
		answers = append(answers, object(reply, ref("components", "messages", reply))...)
	}
	c.channels = append(c.channels, object(replies, object("address", nil, "description", "The reply subject of the request.", "messages", answers))...)
}

// schema adds a JSON Schema and its definitions, all of them side by side: a $ref in the
// document counts from the document.
func (c *contract) schema(name string) {
	data, err := schemas.Schema(name)
	if err != nil {
		c.t.Fatal(err)
	}
	var doc node
	if err := yaml.UnmarshalWithOptions(data, &doc, yaml.UseOrderedMap()); err != nil { // JSON is YAML
		c.t.Fatalf("%s: %v", name, err)
	}
	below := name
	if request, reply := strings.HasSuffix(name, ".request.v1"), strings.HasSuffix(name, ".reply.v1"); request || reply {
		_, below, _ = strings.Cut(name[:strings.LastIndexByte(name, '.')], ".")
		below = "api." + below[strings.LastIndexByte(below, '.')+1:] // what several endpoints share stands here once
	}
	kept := node{}
	for _, item := range doc {
		switch item.Key {
		case "$schema", "$id":
		case "$defs":
			for _, def := range item.Value.(node) {
				c.shape(below+"."+def.Key.(string), rebased(def.Value, below))
			}
		default:
			kept = append(kept, yaml.MapItem{Key: item.Key, Value: rebased(item.Value, below)})
		}
	}
	c.shape(name, kept)
}

// shape adds a schema once; two of one name must be the same.
func (c *contract) shape(name string, value any) {
	for _, s := range c.shapes {
		if s.Key == name {
			a, _ := yaml.Marshal(s.Value)
			if b, _ := yaml.Marshal(value); !bytes.Equal(a, b) {
				c.t.Errorf("there are two different schemas %s", name)
			}
			return
		}
	}
	c.shapes = append(c.shapes, yaml.MapItem{Key: name, Value: value})
}

// rebased lets references to $defs lead to where these now stand.
func rebased(v any, below string) any {
	switch v := v.(type) {
	case node:
		n := make(node, len(v))
		for i, item := range v {
			n[i] = yaml.MapItem{Key: item.Key, Value: rebased(item.Value, below)}
			if text, ok := item.Value.(string); ok && item.Key == "$ref" {
				n[i].Value = strings.Replace(text, "#/$defs/", "#/components/schemas/"+below+".", 1)
			}
		}
		return n
	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = rebased(v[i], below)
		}
		return all
	}
	return v
}
