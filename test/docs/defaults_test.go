package docs

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

// compile makes a policy of fields that are given like in a file.
func compile(t *testing.T, fields map[string]any) handlers.Policy {
	t.Helper()
	fields["name"], fields["subjects"] = "default", []string{">"}
	data, err := json.Marshal(map[string]any{"version": 1, "policies": []any{fields}})
	if err != nil {
		t.Fatal(err)
	}
	var doc schemas.PolicyDocument
	if err := schemas.DecodeStrict(data, &doc); err != nil {
		t.Fatal(err)
	}
	p, err := handlers.CompilePolicies(doc, schemas.Subjects{Prefix: schemas.DefaultPrefix})
	if err != nil {
		t.Fatal(err)
	}
	policy := *p.All()[0]
	policy.Spec = schemas.PolicySpec{} // what was written is not what is compared
	return policy
}

// A policy that says every default of the schema is the one that says nothing.
func TestDefaultsOfTheSchemaAreThoseOfTheCode(t *testing.T) {
	t.Parallel()
	s := read(t, "policy.v1")
	said, n := map[string]any{}, 0
	for _, part := range []string{"policy", "retry", "breaker", "deliver"} {
		fields := said
		if part != "policy" {
			fields = map[string]any{}
			said[part] = fields
		}
		for _, field := range s.Defs[part].Properties {
			if field.Default == nil {
				continue
			}
			fields[field.name] = field.Default
			n++
			t.Run(part+"."+field.name, func(t *testing.T) {
				only := map[string]any{field.name: field.Default}
				if part != "policy" {
					only = map[string]any{part: only}
				}
				if got, want := compile(t, only), compile(t, map[string]any{}); !reflect.DeepEqual(got, want) {
					t.Errorf("saying the default %v makes\n%+v\ninstead of\n%+v", field.Default, got, want)
				}
			})
		}
	}
	if n < 30 {
		t.Errorf("only %d defaults were found", n)
	}
	if got, want := compile(t, said), compile(t, map[string]any{}); !reflect.DeepEqual(got, want) {
		t.Errorf("all defaults together make\n%+v\ninstead of\n%+v", got, want)
	}
}
