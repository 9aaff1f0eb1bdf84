package clients

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// block is a piece of code in a document, and the mark on the line above it.
type block struct {
	line               int
	mark, language, in string
}

// blocks reads the fenced code of a document. Each must have a mark: run (a shell runs
// it), prints (lines that the last run printed), from FILE (lines of that file), sketch.
func blocks(t *testing.T, path string) (all []block) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var open *block
	var lines []string
	mark := ""
	for i, line := range strings.Split(string(text), "\n") {
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case open == nil && isFence:
			open, lines = &block{line: i + 1, mark: mark, language: fence}, nil
		case open != nil && isFence:
			open.in = strings.Join(lines, "\n")
			all, open = append(all, *open), nil
		case open != nil:
			lines = append(lines, line)
		}
		mark = ""
		if m, ok := strings.CutPrefix(line, "<!-- "); ok {
			mark = strings.TrimSuffix(m, " -->")
		}
	}
	return all
}

// What docs/clients.md shows is what was run: its commands in their order, and code that
// stands in files which are tested.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	const doc = "../../docs/clients.md"
	tool := natsTool(t)
	r := newRig(t)
	printed, ran := "", 0
	for _, b := range blocks(t, doc) {
		verb, file, _ := strings.Cut(b.mark, " ")
		switch verb {
		case "run":
			ran++
			printed = shell(t, tool, r.url, b)
		case "prints":
			for _, line := range strings.Split(b.in, "\n") {
				if !strings.Contains(printed, line) {
					t.Errorf("%s:%d: %q was not printed by the commands before, but %s", doc, b.line, line, printed)
				}
			}
		case "from":
			source, err := os.ReadFile(filepath.Join("../..", file))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(unindented(string(source)), unindented(b.in)) {
				t.Errorf("%s:%d: %s has no such lines:\n%s", doc, b.line, file, b.in)
			}
		case "sketch":
		default:
			t.Errorf("%s:%d: the code is marked %q, not run, prints, from FILE or sketch", doc, b.line, b.mark)
		}
	}
	if ran < 3 {
		t.Errorf("only %d blocks of commands were run", ran)
	}
}

func unindented(code string) string {
	lines := strings.Split(strings.TrimSpace(code), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "\n")
}

// shell runs a block of commands and returns what they printed.
func shell(t *testing.T, tool, url string, b block) string {
	t.Helper()
	if b.language != "sh" {
		t.Fatalf("line %d: cannot run %q", b.line, b.language)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-euc", b.in)
	cmd.Env = append(os.Environ(), "NATS_URL="+url, "NATS_CONTEXT=", "HOME="+t.TempDir(), "XDG_CONFIG_HOME=",
		fmt.Sprintf("PATH=%s%c%s", filepath.Dir(tool), os.PathListSeparator, os.Getenv("PATH")))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("line %d: %v\n%s\n%s", b.line, err, b.in, out)
	}
	return string(out)
}

// natsVersion is the version of the nats tool that is built when there is none.
const natsVersion = "v0.5.1"

// natsTool is the stock command-line tool of NATS.
func natsTool(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("nats"); err == nil {
		return path
	}
	dir := t.TempDir()
	install := exec.CommandContext(t.Context(), "go", "install", "github.com/nats-io/natscli/nats@"+natsVersion)
	install.Env = append(os.Environ(), "GOBIN="+dir)
	if out, err := install.CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("go install nats: %v\n%s", err, out)
		}
		t.Skipf("the commands of the documentation were not run: there is no nats tool here, and go install: %v\n%s", err, out)
	}
	return filepath.Join(dir, "nats")
}
