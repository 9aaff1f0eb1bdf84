package docs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/recoveryd/recoveryd/schemas"
)

// pair is a key of a JSON object and its value; pairs keep their order.
type pair struct {
	key   string
	value any
}

type pairs []pair

func (p pairs) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, each := range p {
		if i > 0 {
			b = append(b, ',')
		}
		value, err := json.Marshal(each.value)
		if err != nil {
			return nil, err
		}
		b = append(fmt.Appendf(b, "%q:", each.key), value...)
	}
	return append(b, '}'), nil
}

// schemaName is what the schema of a request or a reply is called: the verb "get" is left
// out.
func schemaName(endpoint, what string) string {
	return "api." + strings.TrimSuffix(endpoint, ".get") + "." + what + "." + schemas.APIVersion
}

// shaper makes JSON Schemas of Go types and their comments.
type shaper struct {
	t        *testing.T
	comments map[string]comments
	closed   bool // unknown fields are refused, as in requests
	defs     pairs
	seen     map[reflect.Type]bool
}

// The schemas of the control API are made from its types: no field is without a property
// and no property without a field.
func TestAPISchemas(t *testing.T) {
	t.Parallel()
	all := structComments(t)
	want := map[string]bool{}
	for _, e := range endpoints {
		for what, value := range map[string]any{"request": e.request, "reply": e.reply} {
			name := schemaName(e.name, what)
			s := &shaper{t: t, comments: all, closed: what == "request", seen: map[reflect.Type]bool{}}
			file := filepath.Join(root, "schemas/json", name+".json")
			compareFile(t, file, s.document(name, title(e, what), reflect.TypeOf(value)))
			want[file] = true
		}
	}
	found, err := filepath.Glob(filepath.Join(root, "schemas/json/api.*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range found {
		if !want[file] {
			t.Errorf("%s is of no endpoint: remove it", file)
		}
	}
}

func title(e endpoint, what string) string {
	if what == "request" {
		return "Request " + e.name
	}
	return "Reply to " + e.name
}

// compareFile compares a file with what is made, or writes it.
func compareFile(t *testing.T, file string, made []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, made, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	held, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	} else if !bytes.Equal(made, held) {
		t.Errorf("%s is not what the code says, first at %q: run go test ./test/docs -update", file, difference(string(made), string(held)))
	}
}

func (s *shaper) document(name, title string, typ reflect.Type) []byte {
	s.t.Helper()
	doc := append(pairs{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"$id", "urn:recoveryd:schema:" + name},
		{"title", title},
	}, s.object(typ)...)
	if len(s.defs) > 0 {
		slices.SortFunc(s.defs, func(a, b pair) int { return strings.Compare(a.key, b.key) })
		doc = append(doc, pair{"$defs", s.defs})
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		s.t.Fatal(err)
	}
	return out.Bytes()
}

// object describes a struct.
func (s *shaper) object(typ reflect.Type) pairs {
	s.t.Helper()
	said := s.comments[typ.Name()]
	about := sentence(strings.Join(strings.Fields(meaning(said.doc)), " "))
	if !s.closed {
		about += " Readers must accept fields they do not know: later versions may add some."
	}
	required, properties := []string{}, pairs{}
	for f := range typ.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !strings.Contains(options, "omit") {
			required = append(required, name)
		}
		properties = append(properties, pair{name, s.property(typ, f, name, options != "")})
	}
	all := pairs{{"type", "object"}, {"description", about}, {"required", required}, {"properties", properties}}
	if s.closed {
		all = append(all, pair{"additionalProperties", false})
	}
	return all
}

// property describes a field by its comment, else by what fields of this name mean.
func (s *shaper) property(typ reflect.Type, f reflect.StructField, name string, omitted bool) pairs {
	about := sentence(s.comments[typ.Name()].fields[f.Name])
	if about == "" {
		about = fieldMeanings[name]
	}
	if about == "" {
		s.t.Errorf("%s.%s has no comment, and fieldMeanings says nothing of %q", typ.Name(), f.Name, name)
	}
	p := append(s.shape(f.Type, omitted), pair{"description", about})
	if limit, ok := fieldLimits[typ.Name()+"."+name]; ok {
		return append(p, limit...)
	}
	if f.Type.Kind() == reflect.String && isTime(typ, name) {
		return append(p, pair{"format", "date-time"})
	}
	return p
}

// isTime says whether a field is an RFC 3339 time; those of a filter may also be durations.
func isTime(typ reflect.Type, name string) bool {
	switch name {
	case "at", "started", "oldest_due", "open_until", "until", "last_success":
		return typ != reflect.TypeFor[schemas.DeadFilter]()
	}
	return strings.HasSuffix(name, "_at")
}

// shape is what JSON makes of a type. A list or a text of bytes that is always there may
// be null.
func (s *shaper) shape(t reflect.Type, omitted bool) pairs {
	null := func(kind string) any {
		if omitted {
			return kind
		}
		return []string{kind, "null"}
	}
	switch {
	case t == reflect.TypeFor[json.RawMessage]():
		return pairs{}
	case t == reflect.TypeFor[[]byte]():
		return pairs{{"type", null("string")}, {"contentEncoding", "base64"}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.shape(t.Elem(), omitted)
	case reflect.Struct:
		return pairs{{"$ref", "#/$defs/" + s.define(t)}}
	case reflect.Slice:
		return pairs{{"type", "array"}, {"items", s.shape(t.Elem(), true)}}
	case reflect.Map:
		return pairs{{"type", null("object")}, {"additionalProperties", s.shape(t.Elem(), true)}}
	case reflect.String:
		return pairs{{"type", "string"}}
	case reflect.Bool:
		return pairs{{"type", "boolean"}}
	case reflect.Int, reflect.Int64:
		return pairs{{"type", "integer"}}
	case reflect.Uint64:
		return pairs{{"type", "integer"}, {"minimum", 0}}
	case reflect.Float64:
		return pairs{{"type", "number"}}
	}
	s.t.Errorf("no schema can be made of %s", t)
	return nil
}

func (s *shaper) define(t reflect.Type) string {
	name := snake(t.Name())
	if !s.seen[t] {
		s.seen[t] = true
		s.defs = append(s.defs, pair{name, s.object(t)})
	}
	return name
}

// snake writes DeadLetterItem as dead_letter_item.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
