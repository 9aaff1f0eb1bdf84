package docs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// elsewhere are documents whose commands another test runs.
var elsewhere = map[string]string{"docs/clients.md": "test/clients/docs_test.go"}

// Every block of commands is run, in its order, by a stranger with an empty folder, unless
// <!-- illustration --> stands above it; <!-- prints --> stands above what they print. The
// test command of README.md is run by the test that is running.
func TestCommands(t *testing.T) {
	t.Parallel()
	for _, document := range documents(t) {
		if test, ok := elsewhere[document]; ok {
			if !strings.Contains(text(t, test), document) {
				t.Errorf("%s does not run the commands of %s any more", test, document)
			}
			continue
		}
		all := blocks(text(t, document))
		if !shows(all) {
			continue
		}
		t.Run(document, func(t *testing.T) {
			t.Parallel()
			s := newStranger(t)
			printed := ""
			for _, b := range all {
				switch {
				case b.mark == "illustration":
				case b.mark == "test command":
					if want := "go test ./..."; strings.Join(b.lines, "\n") != want {
						t.Errorf("line %d: the test command is not %s", b.line, want)
					}
				case b.mark == "prints":
					compare(t, b, printed)
				case b.language == "sh":
					printed = s.run(b)
				case b.language == "yaml" && strings.HasPrefix(b.lines[0], "version: 1"):
					s.write("policy.yaml", strings.Join(b.lines, "\n"))
				}
			}
		})
	}
}

func shows(all []block) bool {
	for _, b := range all {
		if b.language == "sh" && b.mark != "illustration" {
			return true
		}
	}
	return false
}

// Every block is of a language that is known here, so that none is passed over by mistake.
func TestLanguages(t *testing.T) {
	t.Parallel()
	for _, document := range documents(t) {
		for _, b := range blocks(text(t, document)) {
			switch b.language {
			case "sh", "yaml", "text", "go", "js":
			case "":
				t.Errorf("%s:%d: the block has no language: write text, or sh to have it run", document, b.line)
			default:
				t.Errorf("%s:%d: nobody runs %q: write sh, or mark it as text", document, b.line, b.language)
			}
		}
	}
}

// patience bounds every wait for something that must happen.
const patience = 30 * time.Second

// stranger types commands in a folder of their own.
type stranger struct {
	t   *testing.T
	dir string
	url string // of the server that dev started
}

func newStranger(t *testing.T) *stranger { return &stranger{t: t, dir: t.TempDir()} }

func (s *stranger) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

var (
	daemons   = regexp.MustCompile(`\brecoveryd (dev|run)\b`)
	followers = regexp.MustCompile(`^nats sub\b|\brecoveryd outcomes\b`)
	limited   = regexp.MustCompile(`--count\b| -n `)
)

// run types the lines of a block and returns what they printed.
func (s *stranger) run(b block) string {
	s.t.Helper()
	printed := ""
	for _, line := range b.lines {
		line = strings.ReplaceAll(line, "go run ./cmd/recoveryd", "recoveryd")
		line = regexp.MustCompile(`\brecoveryd demo\b`).ReplaceAllString(line, "recoveryd demo --beat 100ms") // the same, faster
		if s.url != "" {
			line = strings.ReplaceAll(line, "nats://127.0.0.1:4222", s.url)
		}
		switch {
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
		case daemons.MatchString(line):
			s.serve(b.line, line)
		case followers.MatchString(line) && !limited.MatchString(line):
			printed += s.follow(b.line, line)
		default:
			printed += s.command(b.line, line)
		}
	}
	return printed
}

func (s *stranger) shell(ctx context.Context, line string) *exec.Cmd {
	s.t.Helper()
	cmd := exec.CommandContext(ctx, "sh", "-c", "exec env "+line)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "NATS_URL="+s.url, "NATS_CONTEXT=", "HOME="+s.dir, "XDG_CONFIG_HOME=", "NO_COLOR=1",
		"RECOVERYD_HTTP_ADDR=127.0.0.1:0", fmt.Sprintf("PATH=%s%c%s", tools(s.t), os.PathListSeparator, os.Getenv("PATH")))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// command runs a line until it succeeds: what it shows may take a moment to come.
func (s *stranger) command(at int, line string) string {
	s.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(s.t.Context(), patience)
		out, err := s.shell(ctx, line).CombinedOutput()
		cancel()
		if err == nil {
			return string(out)
		}
		if time.Now().After(end) {
			s.t.Fatalf("line %d: %s: %v\n%s", at, line, err, out)
		}
	}
}

// follow looks at a command that never ends until it has printed something.
func (s *stranger) follow(at int, line string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	var out transcript
	cmd := s.shell(ctx, line)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("line %d: %s: %v", at, line, err)
	}
	for !strings.Contains(out.String(), "recovery.outcomes.") && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
	if ctx.Err() != nil {
		s.t.Errorf("line %d: %s: prints only %q", at, line, out.String())
	}
	cancel()
	_ = cmd.Wait() // it was interrupted
	return out.String()
}

var addressOfServer = regexp.MustCompile(`(?m)^NATS\s+(nats://\S+)`)

// serve starts a daemon that runs until the test ends, and waits until it serves.
func (s *stranger) serve(at int, line string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var out transcript
	cmd := s.shell(ctx, line)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("line %d: %s: %v", at, line, err)
	}
	s.t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	for end := time.Now().Add(patience); !strings.Contains(out.String(), `"message":"serving"`); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("line %d: %s does not serve:\n%s", at, line, out.String())
		}
	}
	if strings.Contains(line, "recoveryd dev") {
		for end := time.Now().Add(patience); s.url == ""; time.Sleep(20 * time.Millisecond) {
			if found := addressOfServer.FindStringSubmatch(out.String()); found != nil {
				s.url = found[1]
			} else if time.Now().After(end) {
				s.t.Fatalf("line %d: %s names no server:\n%s", at, line, out.String())
			}
		}
	}
}

// transcript can be read while a process writes it.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// alike makes what differs from run to run the same.
var alike = []struct {
	what *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( \+0000 UTC|Z)`), "<time>"},
	{regexp.MustCompile(`\(\d[0-9.a-zµ]*\)`), "(<age>)"},
	{regexp.MustCompile(`"d":\d+`), `"d":<ms>`},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "<message id>"},
	{regexp.MustCompile(`\b[a-z2-7]{26}\b`), "<id>"},
	{regexp.MustCompile(`Recovery-Seal: \S+`), "Recovery-Seal: <seal>"},
	{regexp.MustCompile(`[ \t]+(\n|$)`), "$1"},
}

func generic(text string) string {
	for _, a := range alike {
		text = a.what.ReplaceAllString(text, a.to)
	}
	return text
}

// compare wants each line that the document shows among those that were printed: the order
// of headers is nobody's promise.
func compare(t *testing.T, b block, printed string) {
	t.Helper()
	lines := map[string]bool{}
	for _, line := range strings.Split(generic(printed), "\n") {
		lines[strings.TrimSpace(line)] = true
	}
	for i, line := range b.lines {
		if !lines[strings.TrimSpace(generic(line))] {
			t.Errorf("line %d: %q is shown, but this was printed:\n%s", b.line+1+i, line, printed)
		}
	}
}
