package cli

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/bus/embedded"
)

// buffer can be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// process is a command that runs beside the test.
type process struct {
	stdout, stderr buffer
	signals        chan os.Signal
	code           chan int
}

func background(t *testing.T, environ []string, args ...string) *process {
	t.Helper()
	p := &process{signals: make(chan os.Signal, 2), code: make(chan int, 1)}
	a := &App{
		Stdin: strings.NewReader(""), Stdout: &p.stdout, Stderr: &p.stderr, Environ: environ, Version: "1.2.3",
		Signals: func() (<-chan os.Signal, func()) { return p.signals, func() {} },
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); p.code <- a.Run(ctx, args) }()
	t.Cleanup(func() { cancel(); <-ended })
	return p
}

func (p *process) end(t *testing.T) int {
	t.Helper()
	p.signals <- syscall.SIGTERM
	select {
	case code := <-p.code:
		return code
	case <-time.After(20 * time.Second):
		t.Fatal("the command does not end")
		return -1
	}
}

func startServer(t *testing.T) *embedded.Server {
	t.Helper()
	server, err := embedded.Start(embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

func publish(t *testing.T, url, subject string, header nats.Header) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: header, Data: []byte(`{"id":42}`)}); err != nil {
		t.Fatal(err)
	}
}

func stream(t *testing.T, url, name, subjects string) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{subjects}}); err != nil {
		t.Fatal(err)
	}
}

func TestDevWelcomesAndOutcomesTell(t *testing.T) {
	t.Parallel()
	dev := background(t, []string{"RECOVERYD_HTTP_ADDR=127.0.0.1:0", "RECOVERYD_PARTITIONS=2"}, "dev", "--dir", t.TempDir())
	eventually(t, "dev does not come up", func() bool { return strings.Contains(dev.stdout.String(), "sub 'recovery.outcomes.>'") })
	url := regexp.MustCompile(`nats://\S+`).FindString(dev.stdout.String())
	if n := strings.Count(dev.stdout.String(), "nats --server "+url); n != 3 {
		t.Errorf("%d commands to paste:\n%s", n, &dev.stdout)
	}
	stream(t, url, "ORDERS", "orders.>")
	publish(t, url, "recovery.failed.orders.new", nats.Header{"Recovery-Id": {"order-42"}, "Recovery-Error": {"connection refused"}})
	publish(t, url, "recovery.failed.orders.bad", nats.Header{"Recovery-Id": {"order-43"}, "Recovery-Error": {"no \x1b[31msuch order"}, "Recovery-Class": {"permanent"}})

	s := newSession(t)
	// Both outcomes are there before the transcript begins, so that their order is known.
	s.run("outcomes --server " + url + " --since 1h --count 2")
	s.text.Reset()
	s.run("outcomes --server " + url + " --since 1h --kind dead --count 1")
	s.run("outcomes --server " + url + " --since 1h --id order-42 --count 1")
	s.run("outcomes --server " + url + " --since 1h --kind dead,redelivered --subject orders.new --count 1")
	s.run("outcomes --server " + url + " --since 1h --kind redelivered --json --count 1")
	s.golden("outcomes")

	tail := background(t, []string{"NATS_URL=" + url}, "outcomes", "--since", "1h")
	eventually(t, "the tail shows nothing", func() bool { return strings.Count(tail.stdout.String(), "\n") == 2 })
	if code := tail.end(t); code != 0 {
		t.Errorf("the tail ended with %d: %s", code, &tail.stderr)
	}
	if code := dev.end(t); code != 0 {
		t.Errorf("dev ended with %d: %s", code, &dev.stderr)
	}
}

func TestOutcomesSaysWhenThereIsNoDaemon(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	s := newSession(t, "NATS_URL="+server.URL())
	s.run("outcomes")
	s.golden("no-daemon")
}

func TestRunTellsFaultsOfItsPolicy(t *testing.T) {
	t.Parallel()
	s := newSession(t, "NATS_URL=nats://127.0.0.1:1", "RECOVERYD_POLICY_FILE=testdata/broken.yaml", "RECOVERYD_HTTP_ADDR=off")
	if code := s.run("run"); code != exitUsage {
		t.Errorf("exit %d", code)
	}
	s.golden("run-policy")
}

func TestRunServesUntilASignal(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	run := background(t, []string{"NATS_URL=" + server.URL(), "RECOVERYD_HTTP_ADDR=127.0.0.1:0", "RECOVERYD_PARTITIONS=2", "RECOVERYD_NEER=1s"}, "run")
	eventually(t, "run does not serve", func() bool { return strings.Contains(run.stderr.String(), `"message":"serving"`) })
	if code := run.end(t); code != 0 {
		t.Errorf("ended with %d", code)
	}
	if run.stdout.String() != "" {
		t.Errorf("stdout holds %q", &run.stdout)
	}
	for _, want := range []string{"RECOVERYD_NEER is no setting and was ignored; did you mean RECOVERYD_NEAR?", `"signal":"terminated"`, `"message":"stopped"`} {
		if !strings.Contains(run.stderr.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, &run.stderr)
		}
	}
}

// What waits is cancelled, or tried now, and says who wanted it.
func TestCommandsForWhatWaits(t *testing.T) {
	t.Parallel()
	dev := background(t, []string{"RECOVERYD_HTTP_ADDR=off", "RECOVERYD_PARTITIONS=1", "RECOVERYD_POLICY_FILE=testdata/slow.yaml"}, "dev")
	eventually(t, "dev does not come up", func() bool { return strings.Contains(dev.stdout.String(), "sub 'recovery.outcomes.>'") })
	url := regexp.MustCompile(`nats://\S+`).FindString(dev.stdout.String())
	stream(t, url, "ORDERS", "orders.>")
	environ := []string{"NATS_URL=" + url}
	for _, id := range []string{"order-42", "order-43", "order-44"} {
		publish(t, url, "recovery.failed.orders.new", nats.Header{"Recovery-Id": {id}, "Recovery-Error": {"connection refused"}})
	}
	eventually(t, "not all wait in the ledger", func() bool {
		a, stdout, _ := newSession(t, environ...).app()
		return a.Run(t.Context(), []string{"status", "--json"}) == 0 && strings.Contains(stdout.String(), `"far":3,`)
	})
	s := newSession(t, environ...)
	for _, line := range []string{
		"cancel order-42 --dry-run", "cancel order-42", `cancel order-42 --yes --reason "sold out"`, "cancel order-42 --yes", "cancel 0:f1 --yes",
		"now order-43 --yes", "now order-43", "breaker open orders.new --yes", "now order-44 --yes", "now order-44 --yes",
		"cancel order-44 --yes", "ls", "cancel", "now 0:1.1.1", "now 7:1",
		"outcomes --since 1h --id order-42 --count 1", "outcomes --since 1h --kind discarded --count 2 --json",
	} {
		s.run(line)
	}
	for _, c := range []change{
		{regexp.MustCompile(`(due|since) \d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "$1 <time>"},
		{regexp.MustCompile(`"actor":"[^"]*"`), `"actor":"<actor>"`},
		{regexp.MustCompile(`  by \S+`), "  by <actor>"},
	} {
		s.change = append(s.change, c)
	}
	s.golden("waiting-commands")
}

func TestWhatWaitsAndBreakers(t *testing.T) {
	t.Parallel()
	dev := background(t, []string{"RECOVERYD_HTTP_ADDR=off", "RECOVERYD_PARTITIONS=1", "RECOVERYD_POLICY_FILE=testdata/slow.yaml"}, "dev")
	eventually(t, "dev does not come up", func() bool { return strings.Contains(dev.stdout.String(), "sub 'recovery.outcomes.>'") })
	url := regexp.MustCompile(`nats://\S+`).FindString(dev.stdout.String())
	environ := []string{"NATS_URL=" + url}
	s := newSession(t, environ...)
	s.run("ls")
	s.run("breaker ls")
	publish(t, url, "recovery.failed.orders.new", nats.Header{"Recovery-Id": {"order-42"}, "Recovery-Error": {"connection refused"}, "Shop": {"7"}})
	shows := func(text string, args ...string) func() bool {
		return func() bool {
			a, stdout, _ := newSession(t, environ...).app()
			return a.Run(t.Context(), args) == 0 && strings.Contains(stdout.String(), text)
		}
	}
	eventually(t, "nothing waits in the ledger", shows("order-42", "ls", "--state", "far"))
	eventually(t, "the status does not count it", shows(`"far":1,`, "status", "--json"))
	eventually(t, "the status still counts it as near", shows(`"near":0,`, "status", "--json"))
	for _, line := range []string{
		"status", "ls", "ls --subject payments.>", "ls --state lost", "show order-42", "show 0:1", "show order-43",
		"breaker ls", "breaker show orders.new", "breaker show orders.lost", "breaker open orders.new", "breaker open orders.new --dry-run",
		`breaker open orders.new --yes --for 30m --reason "the shop is closed"`, "breaker ls", "breaker open orders.new --for never", "breaker close orders.new --yes", "breaker ls --state closed",
	} {
		s.run(line)
	}
	for _, c := range []change{
		{regexp.MustCompile(`daemon  \S+, version 1\.2\.3, up \S+`), "daemon  <instance>, version 1.2.3, up <span>"},
		{regexp.MustCompile(`server is -?\d+ ms ahead`), "server is <n> ms ahead"},
		{regexp.MustCompile(`(RECOVERY_\w+|STREAM) .*`), "$1 ..."},
		{regexp.MustCompile(`(by +)\S+@\S+`), "$1<actor>"},
		{regexp.MustCompile(`"at":\d+|"t":"[^"]*"`), `"t":<time>`},
	} {
		s.change = append(s.change, c)
	}
	s.golden("waiting")
	a, stdout, _ := newSession(t, environ...).app()
	if code := a.Run(t.Context(), []string{"status", "--json"}); code != 0 || !strings.Contains(stdout.String(), `"policies":["slow"]`) {
		t.Errorf("exit %d, %s", code, stdout)
	}
}

func TestOperatorsAreAsked(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]int{"y\n": 0, "Yes\n": 0, "n\n": exitFailed, "\n": exitFailed, "": exitUsage, "why?\n": exitFailed} {
		a, _, stderr := newSession(t).app()
		a.Stdin = strings.NewReader(answer)
		got := 0
		if err := a.confirm("Open it?", false); err != nil {
			got = codeOf(err)
		}
		if got != want || !strings.HasPrefix(stderr.String(), "Open it? [y/N] ") {
			t.Errorf("%q ends with %d, want %d; asked %q", answer, got, want, stderr)
		}
	}
}
