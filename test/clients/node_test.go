package clients

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/bus"
)

// nodeExample installs the example for Node.js, with the versions that it pins.
func nodeExample(t *testing.T) (dir string) {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the example for Node.js was not run: there is no %s here", tool)
		}
	}
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../docs/examples/node")); err != nil {
		t.Fatal(err)
	}
	install := exec.CommandContext(t.Context(), "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--engine-strict")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("npm install: %v\n%s", err, out)
		}
		t.Skipf("the example for Node.js was not run: npm install: %v\n%s", err, out)
	}
	return dir
}

// nodeWorker runs the example until stop is called, which returns what it printed.
func nodeWorker(t *testing.T, dir, url string) (stop func() string) {
	t.Helper()
	worker := exec.Command("node", "worker.mjs", "ORDERS", "worker")
	worker.Dir, worker.Env, worker.Stderr = dir, append(os.Environ(), "NATS_URL="+url), &strings.Builder{}
	out, err := worker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Errorf("the worker said %q, %v", lines.Text(), worker.Stderr)
	}
	printed := make(chan string, 1)
	go func() {
		var all strings.Builder
		for lines.Scan() {
			all.WriteString(lines.Text() + "\n")
		}
		printed <- all.String()
	}()
	over := false
	stop = func() string {
		over = true
		if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		all := <-printed
		if err := worker.Wait(); err != nil {
			t.Errorf("the worker ended with %v", err)
		}
		if text := worker.Stderr.(*strings.Builder).String(); text != "" {
			t.Errorf("the worker complained: %s", text)
		}
		return all
	}
	t.Cleanup(func() {
		if !over {
			_ = worker.Process.Kill()
			<-printed
			_ = worker.Wait()
		}
	})
	return stop
}

func TestNodeWorker(t *testing.T) {
	t.Parallel()
	dir := nodeExample(t)
	r := newRig(t)
	consumer := r.orders(0)
	outcomes := r.outcomes(bus.ListenOptions{})
	stop := nodeWorker(t, dir, r.url)
	r.publish("orders.fine", `{"id":1}`)
	r.publish("orders.twice", `{"id":2,"failures":2}`)
	r.publish("orders.always", `{"id":3,"failures":9}`)
	r.publish("orders.malformed", "no JSON")

	last := r.terminal(outcomes, 3)
	for subject, want := range map[string]string{
		"orders.twice": "recovered report ", "orders.always": "dead exhausted ECONNREFUSED", "orders.malformed": "dead permanent malformed",
	} {
		o := last[subject]
		if got := strings.Join([]string{o.Kind, o.Reason + o.Evidence, o.Code}, " "); got != want {
			t.Errorf("%s ended as %q, want %q: %+v", subject, got, want, o)
		}
	}
	printed := stop()
	for _, line := range []string{"charged 1 at attempt 1\n", "charged 2 at attempt 3\n"} {
		if strings.Count(printed, "charged") != 2 || !strings.Contains(printed, line) {
			t.Errorf("the worker printed %q, which has no %q", printed, line)
		}
	}
	nothingLeft(t, consumer)
}

// nothingLeft holds a consumer to have acknowledged everything, and nothing twice.
func nothingLeft(t *testing.T, c jetstream.Consumer) {
	t.Helper()
	info, err := c.Info(t.Context())
	if err != nil || info.NumPending > 0 || info.NumAckPending > 0 || info.NumRedelivered > 0 {
		t.Errorf("%d not delivered, %d not acknowledged, %d delivered again, %v", info.NumPending, info.NumAckPending, info.NumRedelivered, err)
	}
}

// The example pins exact versions, so that what was tested is what readers get.
func TestNodeExampleIsPinned(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("../../docs/examples/node", "package.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if strings.Contains(line, "@nats-io/") && strings.ContainsAny(line[strings.LastIndex(line, ":"):], "^~*x<>") {
			t.Errorf("not pinned: %s", line)
		}
	}
}
