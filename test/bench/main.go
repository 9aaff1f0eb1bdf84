package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/recoveryd/recoveryd/test/bench/internal/report"
)

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(runRole(role, os.Args[1:]))
	}
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := bench(ctx, o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench: "+err.Error())
		os.Exit(1)
	}
}

var errFaults = errors.New("work was lost, repeated or early, or something could not be measured: see the faults above")

// scenario is one thing that is measured.
type scenario struct {
	name string
	run  func(*run) error
}

var scenarios = []scenario{
	{"raw", (*run).rawScenario}, {"steady", (*run).steady}, {"bare", (*run).bareScenario}, {"sizes", (*run).sizes}, {"burst", (*run).burstScenario}, {"far", (*run).farScenario},
	{"outage", (*run).outageScenario}, {"dead", (*run).deadScenario}, {"takeover", (*run).takeoverScenario}, {"cluster", (*run).clusterScenario}, {"idle", (*run).idleScenario},
}

// bench runs the scenarios and writes the report. What was measured before a fault is
// reported too.
func bench(ctx context.Context, o *options, out, progress io.Writer) error {
	dir, err := os.MkdirTemp(o.dir, "recoveryd-bench-")
	if err != nil {
		return fmt.Errorf("folder for the streams: %w", err)
	}
	defer os.RemoveAll(dir)
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o750); err != nil {
			return fmt.Errorf("folder for the profiles: %w", err)
		}
	}
	r := &run{options: o, ctx: ctx, dir: dir, progress: progress}
	if r.daemonPath, err = daemonBinary(ctx, o, dir); err != nil {
		return err
	}
	found := &report.Report{Environment: environment(o)}
	for r.number = 1; r.number <= o.runs && err == nil; r.number++ {
		r.rows = nil
		err = r.all()
		found.Runs = append(found.Runs, r.rows)
	}
	found.Rows, found.Faults = report.Combine(found.Runs), r.faults
	if len(r.faults) > 0 {
		err = errors.Join(err, errFaults)
	}
	return errors.Join(write(out, found, o.json), err)
}

func write(w io.Writer, r *report.Report, asJSON bool) error {
	if !asJSON {
		return r.Print(w)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// daemonBinary is what runs as the daemon.
func daemonBinary(ctx context.Context, o *options, dir string) (string, error) {
	switch o.binary {
	case itself:
		return os.Executable()
	case "":
		path := filepath.Join(dir, "recoveryd")
		text, err := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/recoveryd/recoveryd/cmd/recoveryd").CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("build the daemon: %w\n%s", err, text)
		}
		return path, nil
	}
	return filepath.Abs(o.binary)
}

func environment(o *options) map[string]string {
	e := map[string]string{
		"machine": fmt.Sprintf("%s/%s, %d CPUs, shared by the server, the daemon and the load", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()),
		"time":    time.Now().UTC().Format(time.RFC3339),
		"go":      runtime.Version(),
		"runs":    fmt.Sprintf("%d, medians are shown, ± is half of the range; max is that of all runs", o.runs),
		"columns": "lateness is stored at the target less due; timer is how late a bare timer of 2 ms was meanwhile, which is the machine's part of it; RSS is the most while it was measured",
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		e["load before"] = strings.Join(strings.Fields(string(load))[:3], " ")
	}
	return e
}
