// Package proc starts child processes and reads from Linux what they use.
package proc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has used so far.
type Usage struct {
	CPU  time.Duration // user and system, of all threads
	RSS  int64         // bytes in memory now
	Peak int64         // most bytes in memory since the start or ResetPeak
}

// tick is the unit of CPU times below /proc: Linux reports them in 1/100 s everywhere.
const tick = 10 * time.Millisecond

// Read reads the usage of a process.
func Read(pid int) (Usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Usage{}, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	u, err := parse(stat, status)
	if err != nil {
		return Usage{}, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	return u, nil
}

// ResetPeak has the peak of a process begin anew.
func ResetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

func parse(stat, status []byte) (u Usage, err error) {
	if u.CPU, err = parseCPU(stat); err != nil {
		return Usage{}, err
	}
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		switch name {
		case "VmRSS":
			u.RSS, err = parseSize(value)
		case "VmHWM":
			u.Peak, err = parseSize(value)
		}
		if err != nil {
			return Usage{}, err
		}
	}
	if u.RSS == 0 || u.Peak == 0 {
		return Usage{}, errors.New("its status names no memory: it has ended")
	}
	return u, nil
}

// parseCPU reads fields 14 and 15 of a stat file. The second field is the program's name
// in parentheses, which may hold anything.
func parseCPU(stat []byte) (time.Duration, error) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("stat has only %d fields after the name", len(fields))
	}
	var total int64
	for _, text := range fields[11:13] {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("stat: %w", err)
		}
		total += n
	}
	return time.Duration(total) * tick, nil
}

func parseSize(text string) (int64, error) {
	digits, ok := strings.CutSuffix(strings.TrimSpace(text), " kB")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !ok {
		return 0, fmt.Errorf("status: %q is no size in kB", text)
	}
	return n << 10, nil
}
