package docs

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/config"
	"github.com/recoveryd/recoveryd/schemas"
)

func settings(p *page) {
	p.line("## Settings")
	p.line("")
	p.line("Variables of the environment of `recoveryd run`; an empty one counts as not set. `recoveryd config` shows those in force.")
	p.line("Durations are written like `500ms`, `30s`, `24h`, `20d`; sizes like `96MiB`.")
	p.line("")
	rows := [][]string{{"variable", "default", "allowed", "meaning"}}
	for _, v := range config.Variables() {
		rows = append(rows, []string{code(v.Name), code(v.Default), v.Allowed, sentence(v.Doc)})
	}
	p.table(rows...)
	p.line("The connection is that of NATS tools: `NATS_URL`, `NATS_CONTEXT`, `NATS_CREDS`, `NATS_NKEY`, `NATS_USER`, `NATS_PASSWORD`,")
	p.line("`NATS_TOKEN`, `NATS_CERT`, `NATS_KEY`, `NATS_CA`, or the [flags of every command](#commands).")
	p.line("")
	p.line("Traces are sent to an OpenTelemetry collector by OTLP over HTTP if `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_TRACES_EXPORTER=otlp`)")
	p.line("is set; headers, certificates, sampler and batches are those of the other standard `OTEL_*` variables. Each outcome is a span")
	p.line("`recovery <kind>` from the last failure to the outcome, in the trace of the message's `traceparent`, else in one of its id. What")
	p.line("is more than the queue holds (`OTEL_BSP_MAX_QUEUE_SIZE`) is dropped: set a sampler where thousands fail each second.")
	p.line("")
}

// schema is as much of a JSON Schema as the reference shows.
type schema struct {
	Description          string            `json:"description"`
	Type                 string            `json:"type"`
	Ref                  string            `json:"$ref"`
	Enum                 []string          `json:"enum"`
	Const                any               `json:"const"`
	Default              any               `json:"default"`
	Minimum              *float64          `json:"minimum"`
	Maximum              *float64          `json:"maximum"`
	Items                *schema           `json:"items"`
	Required             []string          `json:"required"`
	Properties           properties        `json:"properties"`
	Defs                 map[string]schema `json:"$defs"`
	AdditionalProperties any               `json:"additionalProperties"`
}

// properties keeps the order of the schema.
type properties []property

type property struct {
	name string
	schema
}

func (p *properties) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(strings.NewReader(string(data)))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		field := property{name: fmt.Sprint(name)}
		if err := d.Decode(&field.schema); err != nil {
			return err
		}
		*p = append(*p, field)
	}
	return nil
}

func read(t *testing.T, name string) schema {
	t.Helper()
	data, err := schemas.Schema(name)
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}

// kind is the type of a value, with its range or words.
func (s schema) kind() string {
	name := s.Type
	if ref, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
		name = ref
	}
	number := func(n *float64) string { return fmt.Sprintf("%.0f", *n) }
	switch {
	case len(s.Enum) > 0:
		return "one of " + strings.Join(s.Enum, ", ")
	case s.Items != nil:
		return "list: " + s.Items.kind()
	case s.Minimum != nil && s.Maximum != nil:
		return name + " from " + number(s.Minimum) + " to " + number(s.Maximum)
	case s.Minimum != nil:
		return name + " from " + number(s.Minimum)
	}
	return name
}

// sections are the parts of a policy in the order of the reference.
var sections = []struct{ def, title string }{
	{"policy", "policies[]"}, {"classify", "classify[]"}, {"retry", "retry"}, {"breaker", "breaker"}, {"deliver", "deliver"},
	{"ack", "ack"}, {"dead_letter", "dead_letter"}, {"auto_replay", "dead_letter.auto_replay"},
}

func policyFields(t *testing.T, p *page) {
	t.Helper()
	s := read(t, "policy.v1")
	p.line("## Policies")
	p.line("")
	p.line("Fields of the policy file, schema `policy.v1`. A file is `version: 1` and `policies:`, a list of which the first that names a")
	p.line("subject serves it. `recoveryd policy lint FILE` checks it, `recoveryd policy explain SUBJECT` shows what follows from it.")
	p.line("")
	for _, section := range sections {
		def, ok := s.Defs[section.def]
		if !ok {
			t.Errorf("the schema policy.v1 has no part %s any more: take it out of the table sections", section.def)
		}
		p.line("### `%s`", section.title)
		p.line("")
		p.line("%s", prose(def.Description))
		p.line("")
		rows := [][]string{{"field", "value", "default", "meaning"}}
		for _, field := range def.Properties {
			standard := code(shown(field.Default))
			if slices.Contains(def.Required, field.name) {
				standard = "required"
			}
			meaning := field.Description
			if ref := strings.TrimPrefix(field.Ref, "#/$defs/"); meaning == "" && ref != "" {
				meaning = s.Defs[ref].Description
			}
			rows = append(rows, []string{code(field.name), field.kind(), standard, meaning})
		}
		p.table(rows...)
	}
	for name := range s.Defs {
		known := name == "pattern" || name == "duration"
		for _, section := range sections {
			known = known || section.def == name
		}
		if !known {
			t.Errorf("the schema policy.v1 has a new part %s: add it to the table sections", name)
		}
	}
}

func shown(value any) string {
	if value == nil {
		return ""
	}
	return fmt.Sprint(value)
}
