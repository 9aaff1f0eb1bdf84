package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// lines is a picture as text. What matters most stands first: a low terminal cuts off the
// rest.
func (f *frame) lines(colour bool) []string {
	at, _ := momentOf(f.At)
	head := fmt.Sprintf("recoveryd top  %s  %s  %s", f.Server, counted(len(f.Replicas), "daemon", "daemons"), at.UTC().Format(time.DateTime))
	if f.Seconds > 0 {
		head += fmt.Sprintf("  rates over %.1f s", f.Seconds)
	}
	all := []string{paint(head, blue, colour)}
	for _, fault := range f.Faults {
		all = append(all, paint("fault: "+printable(fault), red, colour))
	}
	parts := []func(bool) []string{f.rateLines, f.waitingLines, f.breakerLines, f.outcomeLines}
	if len(f.Replicas) == 0 {
		parts = parts[3:] // zeros would say that all is well
	}
	for _, part := range parts {
		all = append(append(all, ""), part(colour)...)
	}
	return all
}

// columns are rows in columns with a dim heading.
func columns(colour bool, rows ...[]string) []string {
	var b strings.Builder
	if table(&b, rows...) != nil {
		return nil // a strings.Builder takes everything
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	lines[0] = paint(lines[0], dim, colour)
	return lines
}

func (f *frame) rateLines(colour bool) []string {
	fast, slow := []string{"per second"}, []string{"since start"}
	r := f.Rates
	if r == nil {
		r = &rates{}
	}
	for i, n := range fieldsOf(&f.Counts) {
		fast, slow = append(fast, rate(f.Rates != nil, *r.fields()[i])), append(slow, strconv.FormatInt(*n, 10))
	}
	return columns(colour, []string{"", "FAILURES", "REDELIVERED", "RECOVERED", "HELD", "FALLBACK", "DEAD", "REJECTED", "DISCARDED", "REPLAYED", "SCHEDULED"}, fast, slow)
}

func rate(known bool, n float64) string {
	switch {
	case !known:
		return "-"
	case n < 10:
		return strconv.FormatFloat(n, 'f', 1, 64)
	}
	return strconv.FormatFloat(n, 'f', 0, 64)
}

// waitingLines is a row for each daemon, and one for all if there are several.
func (f *frame) waitingLines(colour bool) []string {
	at, _ := momentOf(f.At)
	// A narrow terminal cuts off what is on the right.
	rows := [][]string{{"DAEMON", "SHARDS", "NEAR", "FAR", "HELD", "PARKED", "LATE", "NEXT DUE", "FAILURES/S", "REDELIVERED/S", "IN FLIGHT", "MEMORY", "CLOCK", "UP", "VERSION"}}
	shards := 0
	for _, r := range f.Replicas {
		name := printable(r.Instance)
		if r.Silent {
			name += " (silent)"
		}
		shards += r.Shards
		rows = append(rows, append(waitingRow(name, r.Shards, r.Waiting, r.Rates), fmt.Sprintf("%.0f ms", math.Abs(r.ClockMS)), since(r.Started, at), r.Version))
	}
	if len(f.Replicas) > 1 {
		rows = append(rows, waitingRow("all", shards, f.Waiting, f.Rates))
	}
	return columns(colour, rows...)
}

func waitingRow(name string, shards int, w waiting, r *rates) []string {
	lateness := "-"
	if w.LateMS > 0 {
		lateness = brief(time.Duration(w.LateMS) * time.Millisecond)
	}
	failures, redelivered := 0.0, 0.0
	if r != nil {
		failures, redelivered = r.Failures, r.Redelivered
	}
	return []string{
		name, strconv.Itoa(shards), strconv.Itoa(w.Near), strconv.FormatInt(w.Far, 10), strconv.FormatInt(w.Held, 10), strconv.FormatInt(w.Parked, 10),
		lateness, dueClock(w.OldestDue), rate(r != nil, failures), rate(r != nil, redelivered), strconv.Itoa(w.InFlight), size(uint64(max(w.Bytes, 0))),
	}
}

// dueClock is a due time without its fraction, - if nothing waits.
func dueClock(at string) string {
	if at == "" {
		return "-"
	}
	return day(at)
}

func (f *frame) breakerLines(colour bool) []string {
	if f.Open == 0 && len(f.Breakers) == 0 {
		return []string{paint("BREAKERS", dim, colour) + "  all are closed"}
	}
	rows := [][]string{{"BREAKER", "KEY", "POLICY", "HELD", "FAILURES", "CHANGED", "NEXT", "REASON"}}
	for _, b := range f.Breakers {
		rows = append(rows, []string{b.State, printable(b.Key), b.Policy, strconv.Itoa(b.Held), strconv.Itoa(b.Failures), day(b.ChangedAt), day(b.NextAt), printable(b.Reason)})
	}
	lines := columns(colour, rows...)
	for i, b := range f.Breakers {
		lines[i+1] = paint(lines[i+1], tone(b.State), colour)
	}
	if more := f.Open - len(f.Breakers); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more that are not closed", more))
	}
	return lines
}

func (f *frame) outcomeLines(colour bool) []string {
	lines := []string{paint("LAST OUTCOMES", dim, colour)}
	t := tail{colour: colour}
	for _, event := range f.Outcomes {
		if o, e, err := schemas.ParseOutcome(event); err == nil {
			lines = append(lines, t.outcome(&o, e.Time))
		} else if b, e, err := schemas.ParseBreakerEvent(event); err == nil {
			lines = append(lines, t.breaker(&b, e.Time))
		} else {
			lines = append(lines, "cannot be read: "+printable(err.Error()))
		}
	}
	return lines
}
