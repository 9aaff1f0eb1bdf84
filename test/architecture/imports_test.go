// Package architecture holds the structure of the code to what was decided.
package architecture

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"slices"
	"sort"
	"strings"
	"testing"
)

const module = "github.com/recoveryd/recoveryd"

// mayImport is the import table: for each folder the parts of this module, and the
// modules of others, that its non-test code may import. The standard library is allowed
// everywhere.
var mayImport = map[string][]string{
	"schemas":       {},
	"strategies":    {},
	"deadletter":    {"schemas", "strategies", "github.com/evanphx/json-patch"},
	"bus":           {"schemas", "github.com/nats-io/nats.go", "github.com/synadia-io/orbit.go"},
	"bus/embedded":  {"github.com/nats-io/nats-server"},
	"handlers":      {"schemas", "strategies", "deadletter", "github.com/prometheus/client_golang", "github.com/rs/zerolog"},
	"cmd/recoveryd": {"*"},
	"test":          {"*"},
}

// onlyImporter names, for modules that one folder alone may import, that folder.
var onlyImporter = map[string][]string{
	"github.com/nats-io/nats-server": {"bus/embedded"},
	"github.com/nats-io/nats.go":     {"bus"},
}

type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Module     *struct{ Path, Version string }
}

func list(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Imports,Module"}, args...)...)
	cmd.Dir = "../.."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// rule finds the entry of the table for a folder: the longest that contains it.
func rule(folder string) (string, bool) {
	for at := folder; at != ""; {
		if _, ok := mayImport[at]; ok {
			return at, true
		}
		i := strings.LastIndexByte(at, '/')
		at = at[:max(i, 0)]
	}
	return "", false
}

func within(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

func TestImportTable(t *testing.T) {
	t.Parallel()
	standard := func(path string) bool {
		first, _, _ := strings.Cut(path, "/")
		return !strings.Contains(first, ".")
	}
	packages := list(t, "./...")
	if len(packages) < len(mayImport)-1 {
		t.Fatalf("only %d packages found", len(packages))
	}
	for _, p := range packages {
		folder := strings.TrimPrefix(p.ImportPath, module+"/")
		entry, ok := rule(folder)
		if !ok {
			t.Errorf("%s stands outside the folders that Go packages live in", folder)
			continue
		}
		for _, imported := range p.Imports {
			if standard(imported) {
				continue
			}
			path := strings.TrimPrefix(imported, module+"/")
			if !allowed(entry, path) {
				t.Errorf("%s imports %s, which the table does not allow for %s", folder, path, entry)
			}
			for only, owners := range onlyImporter {
				if (within(path, only) || strings.HasPrefix(path, only+"/v")) && !within(folder, "test") &&
					!slices.ContainsFunc(owners, func(o string) bool { return within(folder, o) }) {
					t.Errorf("%s imports %s, which only %v may", folder, path, owners)
				}
			}
		}
	}
}

func allowed(entry, path string) bool {
	return slices.ContainsFunc(mayImport[entry], func(a string) bool {
		return a == "*" || within(path, a)
	}) || within(path, entry) && entry != "bus"
}

var update = flag.Bool("update", false, "write the list of modules that the binary links")

// The binary links exactly the modules that were weighed and written down.
func TestLinkedModules(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, p := range list(t, "-deps", "./cmd/recoveryd") {
		if p.Module != nil && p.Module.Path != module {
			seen[p.Module.Path+" "+p.Module.Version] = true
		}
	}
	lines := make([]string, 0, len(seen))
	for line := range seen {
		lines = append(lines, line)
	}
	sort.Strings(lines)
	got := strings.Join(lines, "\n") + "\n"
	const file = "../../docs/linked-modules.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("cmd/recoveryd links\n%s\nbut docs/linked-modules.txt says\n%s\nweigh the difference, then run: go test ./test/architecture -update", got, want)
	}
}
