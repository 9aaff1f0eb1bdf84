package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

var head = []string{"scenario", "result", "ratio", "p50", "p99", "max", "timer p99", "timer max", "daemon CPU/op", "server CPU/op", "daemon RSS", "server RSS", "note"}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) error {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(r.Environment)) {
		fmt.Fprintf(&b, "%s: %s\n", name, r.Environment[name])
	}
	b.WriteByte('\n')
	table(&b, r.Rows)
	for _, fault := range r.Faults {
		b.WriteString("FAULT " + fault + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func table(b *strings.Builder, rows []Row) {
	lines := [][]string{head}
	for i := range rows {
		lines = append(lines, rows[i].cells())
	}
	widths := make([]int, len(head))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range lines {
		var text strings.Builder
		for i, cell := range line {
			gap := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 || i == len(line)-1 {
				text.WriteString(cell + gap + "  ")
			} else {
				text.WriteString(gap + cell + "  ")
			}
		}
		b.WriteString(strings.TrimRight(text.String(), " ") + "\n")
	}
}

func (r *Row) cells() []string {
	result := number(r.Result)
	if r.Unit != "" {
		result += " " + r.Unit
	}
	if r.Spread >= 0.005 {
		result += fmt.Sprintf(" ±%.0f%%", 100*r.Spread)
	}
	ratio := ""
	if r.Ratio != 0 {
		ratio = strings.TrimSpace(fmt.Sprintf("%.2f %s", r.Ratio, r.Of))
	}
	with := func(v float64, unit string) string {
		if v == 0 {
			return ""
		}
		return number(v) + " " + unit
	}
	return []string{
		r.Scenario, result, ratio, with(r.P50, "ms"), with(r.P99, "ms"), with(r.Max, "ms"),
		with(r.TimerP99, "ms"), with(r.TimerMax, "ms"),
		with(r.DaemonCPU, "µs"), with(r.ServerCPU, "µs"), with(r.DaemonRSS, "MiB"), with(r.ServerRSS, "MiB"), r.Note,
	}
}

// number shows three digits that count, and all before the point with a comma for each
// thousand.
func number(v float64) string {
	switch {
	case v < 0:
		return "-" + number(-v)
	case v >= 99.95:
		return commas(fmt.Sprintf("%.0f", v))
	case v >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func commas(digits string) string {
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
