package docs

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/recoveryd/recoveryd/handlers"
)

// described reads what prometheus.Desc tells only as text.
var described = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "([^"]*)", .*variableLabels: \{([^}]*)\}`)

func metricList(t *testing.T, p *page) {
	t.Helper()
	registry := prometheus.NewRegistry()
	m, err := handlers.NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	m.Prepare(handlers.DefaultPolicies())
	if _, err := handlers.NewGauges(handlers.GaugesConfig{
		Registerer: registry, Version: "test", Stats: func() []handlers.Stats { return nil }, Connected: func() bool { return true },
	}); err != nil {
		t.Fatal(err)
	}
	types := kinds(t, registry)
	descriptions := make(chan *prometheus.Desc, 1000)
	registry.Describe(descriptions)
	close(descriptions)
	var rows [][]string
	for d := range descriptions {
		found := described.FindStringSubmatch(d.String())
		if found == nil {
			t.Fatalf("a metric describes itself as %s", d)
		}
		name, kind := found[1], types[found[1]]
		switch {
		case kind != "":
		case strings.HasSuffix(name, "_total"):
			kind = "counter"
		default:
			kind = "gauge"
		}
		rows = append(rows, []string{code(name), kind, strings.ReplaceAll(found[3], ",", ", "), found[2]})
	}
	slices.SortFunc(rows, func(a, b []string) int { return strings.Compare(strings.Trim(a[0], "`"), strings.Trim(b[0], "`")) })
	if len(rows) < 25 {
		t.Errorf("only %d metrics were found", len(rows))
	}
	p.line("## Metrics")
	p.line("")
	p.line("At `/metrics`, beside those of Go and of the process. No label ever holds a subject or an id.")
	p.line("")
	p.table(append([][]string{{"metric", "type", "labels", "meaning"}}, rows...)...)
}

// kinds are the types of those metrics that have series.
func kinds(t *testing.T, registry *prometheus.Registry) map[string]string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]string{}
	for _, f := range families {
		types[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	return types
}
