package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/recoveryd/recoveryd/test/bench/internal/lateness"
	"github.com/recoveryd/recoveryd/test/bench/internal/proc"
	"github.com/recoveryd/recoveryd/test/bench/internal/report"
)

// A timer beside the measurement tells how late the machine itself is: what recoveryd's
// lateness can be compared with, as its rates are with raw publishing. It is a process of
// its own, so that nothing but the machine keeps it waiting. The machine's part may be more:
// a process that does nothing else is served first when it wakes.

const timerEvery = 2 * time.Millisecond

// timeUntilTold says that it is ready, sleeps again and again until it is told to end, and
// prints how late it woke: the 99th percentile and the most, in nanoseconds.
func timeUntilTold() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	fmt.Println("ready")
	var late lateness.Histogram
	for {
		due := time.Now().Add(timerEvery)
		select {
		case <-end:
			fmt.Println(late.Quantile(0.99).Nanoseconds(), late.Max().Nanoseconds())
			return
		case <-time.After(timerEvery):
			late.Add(time.Since(due))
		}
	}
}

func (r *rig) startTimer() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	r.stopTimer()
	r.timer, err = proc.Start(proc.Command{Name: "timer", Path: exe, Log: filepath.Join(r.dir, "timer.log"), Env: []string{roleVariable + "=" + roleTimer}})
	if err != nil {
		return err
	}
	_, err = r.timer.Line()
	return err
}

// readTimer ends the timer and fills in what it found.
func (r *rig) readTimer(row *report.Row) error {
	if err := syscall.Kill(r.timer.Pid(), syscall.SIGTERM); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	line, err := r.timer.Line()
	if err != nil {
		return err
	}
	var p99, longest time.Duration
	if _, err := fmt.Sscan(line, (*int64)(&p99), (*int64)(&longest)); err != nil {
		return r.timer.Failed(fmt.Errorf("%q is no result: %w", line, err))
	}
	row.TimerP99, row.TimerMax = milliseconds(p99), milliseconds(longest)
	r.stopTimer()
	return nil
}

func (r *rig) stopTimer() {
	if r.timer != nil {
		r.timer.Stop(5 * time.Second)
		r.timer = nil
	}
}
