// Package report puts the results of several runs together and prints them.
package report

import (
	"slices"
)

// Row is the result of one part of a scenario. A number that was not measured is zero.
type Row struct {
	Scenario  string  `json:"scenario"`
	Result    float64 `json:"result"`
	Unit      string  `json:"unit"`
	Spread    float64 `json:"spread"`                // of the runs: half of highest less lowest, as a share of the median
	Ratio     float64 `json:"ratio,omitzero"`        // to raw publishing in the same run, see Of
	Of        string  `json:"ratio_of,omitempty"`    // what the ratio refers to
	P50       float64 `json:"p50_ms,omitzero"`       // lateness
	P99       float64 `json:"p99_ms,omitzero"`       //
	Max       float64 `json:"max_ms,omitzero"`       // of all runs
	TimerP99  float64 `json:"timer_p99_ms,omitzero"` // lateness of a bare timer meanwhile
	TimerMax  float64 `json:"timer_max_ms,omitzero"` // of all runs
	DaemonCPU float64 `json:"daemon_us,omitzero"`    // CPU time of one operation, microseconds
	ServerCPU float64 `json:"server_us,omitzero"`    //
	DaemonRSS float64 `json:"daemon_mib,omitzero"`   // the most memory while it ran, MiB
	ServerRSS float64 `json:"server_mib,omitzero"`   //
	Note      string  `json:"note,omitempty"`
}

// Report is what a whole benchmark found.
type Report struct {
	Environment map[string]string `json:"environment"`
	Rows        []Row             `json:"rows"` // medians
	Runs        [][]Row           `json:"runs"`
	Faults      []string          `json:"faults"` // work lost, repeated or early, and what could not be measured: there must be none
}

// Combine takes the median of each number over the runs of the same part; the maximum is
// that of all runs. Parts stand in the order in which they first appear.
func Combine(runs [][]Row) []Row {
	var names []string
	parts := map[string][]Row{}
	for _, run := range runs {
		for _, r := range run {
			if parts[r.Scenario] == nil {
				names = append(names, r.Scenario)
			}
			parts[r.Scenario] = append(parts[r.Scenario], r)
		}
	}
	all := make([]Row, 0, len(names))
	for _, name := range names {
		all = append(all, combine(parts[name]))
	}
	return all
}

func combine(rows []Row) Row {
	of := func(number func(*Row) *float64) []float64 {
		values := make([]float64, len(rows))
		for i := range rows {
			values[i] = *number(&rows[i])
		}
		slices.Sort(values)
		return values
	}
	out := rows[len(rows)-1]
	for _, number := range []func(*Row) *float64{
		func(r *Row) *float64 { return &r.Result }, func(r *Row) *float64 { return &r.Ratio },
		func(r *Row) *float64 { return &r.P50 }, func(r *Row) *float64 { return &r.P99 },
		func(r *Row) *float64 { return &r.TimerP99 },
		func(r *Row) *float64 { return &r.DaemonCPU }, func(r *Row) *float64 { return &r.ServerCPU },
		func(r *Row) *float64 { return &r.DaemonRSS }, func(r *Row) *float64 { return &r.ServerRSS },
	} {
		*number(&out) = median(of(number))
	}
	out.Max = slices.Max(of(func(r *Row) *float64 { return &r.Max }))
	out.TimerMax = slices.Max(of(func(r *Row) *float64 { return &r.TimerMax }))
	results := of(func(r *Row) *float64 { return &r.Result })
	out.Spread = 0
	if out.Result != 0 {
		out.Spread = (results[len(results)-1] - results[0]) / 2 / out.Result
	}
	return out
}

// median is the middle of sorted values, the mean of the two in the middle if there are two.
func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
