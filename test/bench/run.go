package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/recoveryd/recoveryd/test/bench/internal/report"
)

// run is one pass over the scenarios.
type run struct {
	*options
	ctx        context.Context
	dir        string
	daemonPath string
	progress   io.Writer
	number     int
	rows       []report.Row
	faults     []string
}

// all runs every scenario. One that cannot be measured is a fault, and the others go on.
func (b *run) all() error {
	for _, name := range b.scenarios {
		i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
		err := scenarios[i].run(b)
		if b.ctx.Err() != nil {
			return b.ctx.Err()
		}
		if err != nil {
			b.fault(name, "%v", err)
			fmt.Fprintf(b.progress, "run %d  %s: %v\n", b.number, name, err)
		}
	}
	return nil
}

// add takes a result and shows it at once.
func (b *run) add(r report.Row) {
	b.rows = append(b.rows, r)
	ratio := ""
	if r.Ratio != 0 {
		ratio = fmt.Sprintf(", %.2f of %s", r.Ratio, r.Of)
	}
	fmt.Fprintf(b.progress, "run %d  %s: %.4g %s%s\n", b.number, r.Scenario, r.Result, r.Unit, ratio)
}

// fault takes note of a broken promise.
func (b *run) fault(scenario, format string, args ...any) {
	b.faults = append(b.faults, fmt.Sprintf("run %d, %s: ", b.number, scenario)+fmt.Sprintf(format, args...))
}

func (b *run) sleep(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-b.ctx.Done():
		return b.ctx.Err()
	}
}

// stalled is how long a count may stand still before the wait for it is given up.
const stalled = 90 * time.Second

// until looks at a count again and again until it says that it is done.
func (b *run) until(what string, every time.Duration, look func() (count uint64, done bool, err error)) error {
	var last uint64
	for moved := time.Now(); ; {
		count, done, err := look()
		if err != nil || done {
			return err
		}
		if count != last {
			last, moved = count, time.Now()
		}
		if time.Since(moved) > stalled {
			return fmt.Errorf("%s: still at %d after %s", what, count, stalled)
		}
		if err := b.sleep(every); err != nil {
			return err
		}
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func sizeName(size int) string {
	if size >= 1024 && size%1024 == 0 {
		return fmt.Sprintf("%d KiB", size/1024)
	}
	return fmt.Sprintf("%d B", size)
}
