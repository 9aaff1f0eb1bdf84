// Package docs holds the documentation to the code: the reference is made from it, the
// commands that are shown are run, links lead somewhere, and what is shown for deployment
// can be read and names settings that exist.
package docs

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/reference.md")

const (
	root      = "../.."
	reference = root + "/docs/reference.md"
)

// page is a document that is being written.
type page struct{ strings.Builder }

func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// table writes rows, of which the first holds the names of the columns.
func (p *page) table(rows ...[]string) {
	for i, row := range rows {
		for j := range row {
			row[j] = prose(row[j])
		}
		p.line("| %s |", strings.Join(row, " | "))
		if i == 0 {
			p.line("|%s", strings.Repeat("---|", len(row)))
		}
	}
	p.line("")
}

// prose escapes what Markdown would take for something else, unless it is code or a link.
func prose(s string) string {
	if strings.HasPrefix(s, "`") || strings.HasPrefix(s, "[") {
		return strings.ReplaceAll(s, "|", "\\|")
	}
	return strings.NewReplacer("|", "\\|", "<", "\\<", "*", "\\*", "\n", " ").Replace(s)
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

// sentence begins with a capital and ends with a point.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

func TestReference(t *testing.T) {
	t.Parallel()
	p := &page{}
	p.line("# Reference")
	p.line("")
	p.line("Made from the code by `go test ./test/docs -update`; a test compares it. The JSON Schemas themselves are shown by")
	p.line("`recoveryd schema ls` and `recoveryd schema show`.")
	p.line("")
	p.line("[Settings](#settings) · [Policies](#policies) · [Subjects](#subjects) · [Headers](#headers) · [Metrics](#metrics) ·")
	p.line("[Control API](#control-api) · [Commands](#commands) · [Exit codes](#exit-codes)")
	p.line("")
	settings(p)
	policyFields(t, p)
	subjectList(t, p)
	headers(t, p)
	metricList(t, p)
	controlAPI(t, p)
	commands(p)
	got := strings.TrimRight(p.String(), "\n") + "\n"
	if *update {
		if err := os.WriteFile(reference, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("docs/reference.md is not what the code says, first at %q: run go test ./test/docs -update", difference(got, string(want)))
	}
}

func difference(a, b string) string {
	other := strings.Split(b, "\n")
	for i, line := range strings.Split(a, "\n") {
		if i >= len(other) || line != other[i] {
			return line
		}
	}
	return "the end"
}
