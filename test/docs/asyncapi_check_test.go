package docs

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/recoveryd/recoveryd/schemas"
)

// asyncObjects are the objects of AsyncAPI 3.0.0 that the document uses: the fields they
// must have, and those they may have, by the path to them.
var asyncObjects = []struct {
	path           string
	required, more []string
}{
	{`#`, []string{"asyncapi", "info"}, []string{"id", "servers", "defaultContentType", "channels", "operations", "components"}},
	{`#/info`, []string{"title", "version"}, []string{"description", "license"}},
	{`#/servers/[^/]+`, []string{"host", "protocol"}, []string{"description", "variables"}},
	{`#/channels/[^/]+`, []string{"address", "messages"}, []string{"description", "parameters", "x-stream"}},
	{`#/operations/[^/]+`, []string{"action", "channel"}, []string{"summary", "messages", "bindings", "reply"}},
	{`#/operations/[^/]+/reply`, []string{"channel"}, []string{"messages"}},
	{`#/operations/[^/]+/bindings/nats`, nil, []string{"queue", "bindingVersion"}},
	{`#/components`, nil, []string{"messages", "parameters", "schemas"}},
	{`#/components/messages/[^/]+`, []string{"name"}, []string{"summary", "contentType", "headers", "payload"}},
	{`#/components/parameters/[^/]+`, nil, []string{"description"}},
}

// asyncDocument reads docs/asyncapi.yaml as any reader does.
func asyncDocument(t *testing.T) map[string]any {
	t.Helper()
	data, err := os.ReadFile(asyncapi)
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	if data, err = json.Marshal(doc); err != nil {
		t.Fatal(err)
	}
	return decoded(t, data).(map[string]any)
}

// visit calls see for each object, with the path to it.
func visit(path string, v any, see func(path string, o map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		see(path, v)
		for key, each := range v {
			visit(path+"/"+key, each, see)
		}
	case []any:
		for _, each := range v {
			visit(path+"/-", each, see)
		}
	}
}

// leads follows a reference; nil if it leads nowhere.
func leads(doc any, reference string) any {
	for _, key := range strings.Split(reference, "/")[1:] {
		o, _ := doc.(map[string]any)
		doc = o[key]
	}
	return doc
}

func refOf(v any) string {
	o, _ := v.(map[string]any)
	text, _ := o["$ref"].(string)
	return text
}

func TestAsyncAPIObjectsAreWhole(t *testing.T) {
	t.Parallel()
	doc := asyncDocument(t)
	if doc["asyncapi"] != "3.0.0" {
		t.Errorf("asyncapi: %v", doc["asyncapi"])
	}
	key := regexp.MustCompile(`^[\w.-]+$`)
	count := make([]int, len(asyncObjects))
	visit("#", doc, func(path string, o map[string]any) {
		if r, given := o["$ref"]; given {
			if text, ok := r.(string); !ok || !strings.HasPrefix(text, "#/") || leads(doc, text) == nil {
				t.Errorf("%s refers to %v, which is not there", path, r)
			}
		}
		for i, want := range asyncObjects {
			if !regexp.MustCompile("^" + want.path + "$").MatchString(path) {
				continue
			}
			count[i]++
			if name := path[strings.LastIndexByte(path, '/')+1:]; path != "#" && !key.MatchString(name) {
				t.Errorf("%s: %q is no key", path, name)
			}
			for _, field := range want.required {
				if _, given := o[field]; !given {
					t.Errorf("%s has no %s", path, field)
				}
			}
			for field := range o {
				if !slices.Contains(want.required, field) && !slices.Contains(want.more, field) {
					t.Errorf("%s must not have %s", path, field)
				}
			}
		}
	})
	for i, n := range count {
		if n == 0 {
			t.Errorf("there is no %s", asyncObjects[i].path)
		}
	}
}

func TestAsyncAPIOperationsFitTheirChannels(t *testing.T) {
	t.Parallel()
	doc := asyncDocument(t)
	parameter := regexp.MustCompile(`\{([^}]*)\}`)
	for name, v := range doc["channels"].(map[string]any) {
		channel := v.(map[string]any)
		address, _ := channel["address"].(string)
		var want []string
		for _, m := range parameter.FindAllStringSubmatch(address, -1) {
			want = append(want, m[1])
		}
		declared, _ := channel["parameters"].(map[string]any)
		if got := slices.Sorted(maps.Keys(declared)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("channel %s declares the parameters %q for %s", name, got, address)
		}
		for message, v := range channel["messages"].(map[string]any) {
			if refOf(v) != "#/components/messages/"+message {
				t.Errorf("channel %s: message %s is %v", name, message, v)
			}
		}
	}
	check := func(name string, o map[string]any) {
		channel := refOf(o["channel"])
		if leads(doc, channel) == nil || strings.Count(channel, "/") != 2 || !strings.HasPrefix(channel, "#/channels/") {
			t.Errorf("%s is on %q, which is no channel", name, channel)
		}
		for _, m := range o["messages"].([]any) {
			if !strings.HasPrefix(refOf(m), channel+"/messages/") {
				t.Errorf("%s has the message %v, which is none of its channel", name, m)
			}
		}
	}
	for name, v := range doc["operations"].(map[string]any) {
		o := v.(map[string]any)
		if o["action"] != "send" && o["action"] != "receive" {
			t.Errorf("operation %s: action %v", name, o["action"])
		}
		check("operation "+name, o)
		if reply, ok := o["reply"].(map[string]any); ok {
			check("reply of "+name, reply)
		}
	}
}

// Everything that has a subject has a channel.
func TestAsyncAPIIsComplete(t *testing.T) {
	t.Parallel()
	want := []string{"failed", "succeeded", "delivery", "dead", replies}
	for _, kind := range schemas.Kinds {
		want = append(want, "outcomes."+kind)
	}
	states := breakerStates(t)
	if len(states) != 6 {
		t.Errorf("breakers have the states %q", states)
	}
	for _, state := range states {
		want = append(want, "breakers."+state)
	}
	for _, e := range endpoints {
		want = append(want, "api."+e.name)
	}
	slices.Sort(want)
	doc := asyncDocument(t)
	if got := slices.Sorted(maps.Keys(doc["channels"].(map[string]any))); !slices.Equal(got, want) {
		t.Errorf("channels\n%q, want\n%q", got, want)
	}
	if got := len(doc["operations"].(map[string]any)); got != len(want)-1 {
		t.Errorf("%d operations on %d channels", got, len(want))
	}
}

// The schemas of the document compile, where they are in it, as what AsyncAPI makes of
// them: JSON Schema draft 7.
func TestAsyncAPISchemasCompile(t *testing.T) {
	t.Parallel()
	doc := asyncDocument(t)
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7)
	if err := c.AddResource("asyncapi.json", doc); err != nil {
		t.Fatal(err)
	}
	places := []string{}
	for name := range leads(doc, "#/components/schemas").(map[string]any) {
		places = append(places, "#/components/schemas/"+name)
	}
	for name, m := range leads(doc, "#/components/messages").(map[string]any) {
		for _, field := range []string{"headers", "payload"} {
			if m.(map[string]any)[field] != nil {
				places = append(places, "#/components/messages/"+name+"/"+field)
			}
		}
	}
	if len(places) < 60 {
		t.Errorf("only %d schemas", len(places))
	}
	for _, place := range places {
		if _, err := c.Compile("asyncapi.json" + place); err != nil {
			t.Errorf("%s: %v", place, err)
		}
	}
}
