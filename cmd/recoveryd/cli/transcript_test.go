package cli

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden transcripts")

// session runs commands in process and writes down what a person would see.
type session struct {
	t       *testing.T
	environ []string
	signals chan os.Signal
	text    strings.Builder
	change  []change
}

// change makes a transcript the same in every run.
type change struct {
	what *regexp.Regexp
	to   string
}

func newSession(t *testing.T, environ ...string) *session {
	t.Helper()
	return &session{t: t, environ: environ, signals: make(chan os.Signal, 2), change: []change{
		{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "<time>"},
		{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "<date and time>    "},
		{regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{3}`), "<clock>"},
		{regexp.MustCompile(`nats://127\.0\.0\.1:\d+`), "<server>"},
		{regexp.MustCompile(`127\.0\.0\.1:\d+: connect`), "<server>: connect"},
		{regexp.MustCompile(`\b[a-z2-7]{26}\b`), "<id>"},
		{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "<event>"},
		{regexp.MustCompile(`"late_ms":\d+,|  late \d+ ms`), ""}, // left out when it was in time
		{regexp.MustCompile(`go1\.[0-9.]+`), "<go>"},
		{regexp.MustCompile(`(linux|darwin|windows)/[a-z0-9]+`), "<platform>"},
	}}
}

// app is a command line of the session, with its outputs.
func (s *session) app() (a *App, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &App{
		Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr, Environ: s.environ, Version: "1.2.3",
		Signals: func() (<-chan os.Signal, func()) { return s.signals, func() {} },
	}, stdout, stderr
}

// run executes one line, in which double quotes keep words together.
func (s *session) run(line string) int {
	s.t.Helper()
	a, stdout, stderr := s.app()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	code := a.Run(ctx, words(line))
	fmt.Fprintf(&s.text, "$ recoveryd %s\n%s", line, stdout)
	if stderr.Len() > 0 {
		fmt.Fprintf(&s.text, "--- stderr\n%s", stderr)
	}
	if code != 0 {
		fmt.Fprintf(&s.text, "--- exit %d\n", code)
	}
	s.text.WriteByte('\n')
	return code
}

func words(line string) []string {
	var all []string
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			all = append(all, part)
		} else {
			all = append(all, strings.Fields(part)...)
		}
	}
	return all
}

// golden compares the session with the transcript of this name.
func (s *session) golden(name string) {
	s.t.Helper()
	got := s.text.String()
	for _, c := range s.change {
		got = c.what.ReplaceAllString(got, c.to)
	}
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	if got != string(want) {
		s.t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func TestTranscripts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		environ []string
		lines   []string
	}{
		"help": {nil, []string{"--help", "policy --help", "outcomes --help", "dev --help"}},
		"usage": {nil, []string{
			"rnu", "run now", "polcy", "policy", "policy lnit", "policy lint a b", "policy explain", "outcomes --kind lost", "outcomes --subject a.>.b", "outcomes --since yesterday",
			"outcomes --count -1", "config --what", "schema show nothing",
		}},
		"config":        {[]string{"RECOVERYD_NEAR=2s", "RECOVERYD_HTTP_TOKEN=hunter2"}, []string{"config", "config --json"}},
		"config-faults": {[]string{"RECOVERYD_NEAR=1h", "RECOVERYD_PARTITIONS=none", "RECOVERYD_HTTP_ADDR=0.0.0.0:9222"}, []string{"config", "run", "dev"}},
		"reference":     {nil, []string{"config --reference"}},
		"permissions": {nil, []string{
			"permissions worker --subject orders.> --subject payments.card", "permissions worker --subject orders.> --json", "permissions observer", "permissions operator",
			"permissions daemon --policy testdata/narrow.yaml", "permissions daemon --policy testdata/policy.yaml --json", "permissions daemon --policy testdata/narrow.yaml --watch ORDERS/worker --watch */* --json",
			"permissions daemon --watch ORDERS", "permissions daemon --watch a.b/worker", "permissions operator --watch ORDERS/worker", "permissions", "permissions wroker", "permissions worker",
			"permissions worker --subject >", "permissions worker --subject *.>", "permissions worker --subject $JS.API.>", "permissions worker --subject recovery.failed.>", "permissions worker --subject a..b",
			"permissions observer --subject orders.>", "permissions operator --policy testdata/policy.yaml", "permissions operator --inbox _INBOX.>", "permissions daemon --policy testdata/broken.yaml",
		}},
		"permissions-names": {
			[]string{"RECOVERYD_PREFIX=shop.rescue", "RECOVERYD_STREAM_PREFIX=SHOP", "RECOVERYD_JS_DOMAIN=hub", "RECOVERYD_PARTITIONS=1", "RECOVERYD_POLICY_FILE=testdata/calls.yaml"},
			[]string{"permissions daemon --inbox _INBOX_daemon --operator-inbox _INBOX_operator", "permissions observer --json", "permissions worker --subject recovery.x"},
		},
		"version": {nil, []string{"version", "version --json"}},
		"schema":  {nil, []string{"schema ls", "schema ls --json"}},
		"validate": {nil, []string{
			"schema validate policy.v1 testdata/narrow.yaml", "schema validate policy.v1 testdata/policy.yaml", "schema validate policy.v1 testdata/broken.yaml", "schema validate failure.v1 testdata/failure.json",
			"schema validate failure.v1 testdata/faulty.json", "schema validate failure.v1", "schema validate failure.v1 -", "schema validate failure.v2 testdata/failure.json",
			"schema validate failure.v1 testdata/none.json", "schema validate",
		}},
		"lint": {nil, []string{
			"policy lint testdata/policy.yaml", "policy lint testdata/broken.yaml", "policy lint testdata/shadowed.yaml", "policy lint testdata/none.yaml", "policy lint",
			"policy lint --json testdata/policy.yaml", "policy lint --json testdata/broken.yaml",
		}},
		"explain": {[]string{"RECOVERYD_POLICY_FILE=testdata/policy.yaml"}, []string{
			"policy explain orders.new", `policy explain payments.card --code 429 --attempt 6 --id order-42`, `policy explain payments.card --error "Invalid card"`,
			"policy explain orders.new --attempt 3 --json", "policy explain $JS.API.INFO", "policy explain recovery.failed.x", "policy explain orders.new --class odd",
			"policy explain orders.new -H novalue", "policy explain orders.new --file testdata/broken.yaml", "policy explain orders.new --file testdata/narrow.yaml",
			"policy explain payments.card --class permanent --file testdata/narrow.yaml",
		}},
		"traces": {[]string{"OTEL_TRACES_EXPORTER=console", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_ENDPOINT=collector:4317"}, []string{"run"}},
		"show":   {nil, []string{"policy show", "policy show --file testdata/narrow.yaml --json"}},
		"test": {nil, []string{
			"policy test testdata/cases.yaml --file testdata/policy.yaml", "policy test testdata/wrong.yaml --file testdata/policy.yaml",
			"policy test testdata/wrong.yaml --file testdata/policy.yaml --json", "policy test testdata/policy.yaml", "policy test testdata/none.yaml",
		}},
		"no-server": {[]string{"NATS_URL=nats://127.0.0.1:1"}, []string{"outcomes", "outcomes --creds testdata/none.creds", "outcomes --user a --nkey b", "status", "ls", "doctor", "doctor --json", "doctor --creds testdata/none.creds"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSession(t, test.environ...)
			for _, line := range test.lines {
				s.run(line)
			}
			s.golden(name)
		})
	}
}

func TestNoTranscriptShowsASecret(t *testing.T) {
	t.Parallel()
	s := newSession(t, "RECOVERYD_HTTP_TOKEN=hunter2", "RECOVERYD_HTTP_PASSWORD=hunter2", "NATS_PASSWORD=hunter2", "NATS_USER=me", "NATS_URL=nats://127.0.0.1:1", "RECOVERYD_NEAR=1h")
	for _, line := range []string{"config", "config --json", "run", "outcomes"} {
		s.run(line)
	}
	if strings.Contains(s.text.String(), "hunter2") {
		t.Errorf("a secret shows:\n%s", s.text.String())
	}
}

func TestWhatIsPrintedAsJSONIsJSON(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	a, stdout, _ := s.app()
	if code := a.Run(t.Context(), []string{"schema", "show", "policy.v1"}); code != 0 || !strings.HasPrefix(stdout.String(), "{") {
		t.Errorf("exit %d, %s", code, stdout)
	}
}
