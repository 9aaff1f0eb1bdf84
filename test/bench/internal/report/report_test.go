package report

import (
	"strings"
	"testing"
)

func TestCombine(t *testing.T) {
	t.Parallel()
	got := Combine([][]Row{
		{{Scenario: "a", Result: 100, Unit: "/s", Ratio: 0.5, P50: 1, P99: 2, Max: 3, TimerP99: 1, TimerMax: 3, DaemonCPU: 10, ServerCPU: 20, DaemonRSS: 5, ServerRSS: 6}, {Scenario: "b", Result: 7}},
		{{Scenario: "a", Result: 80, Unit: "/s", Ratio: 0.7, P50: 3, P99: 9, Max: 50, TimerP99: 6, TimerMax: 40, DaemonCPU: 12, ServerCPU: 21, DaemonRSS: 4, ServerRSS: 9}},
		{{Scenario: "a", Result: 110, Unit: "/s", Ratio: 0.6, P50: 2, P99: 4, Max: 5, TimerP99: 2, TimerMax: 4, DaemonCPU: 11, ServerCPU: 29, DaemonRSS: 6, ServerRSS: 7}, {Scenario: "b", Result: 9}},
	})
	want := []Row{
		{Scenario: "a", Result: 100, Unit: "/s", Spread: 0.15, Ratio: 0.6, P50: 2, P99: 4, Max: 50, TimerP99: 2, TimerMax: 40, DaemonCPU: 11, ServerCPU: 21, DaemonRSS: 5, ServerRSS: 7},
		{Scenario: "b", Result: 8, Spread: 0.125},
	}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestPrint(t *testing.T) {
	t.Parallel()
	r := Report{
		Environment: map[string]string{"machine": "2 CPUs"},
		Rows: []Row{
			{Scenario: "steady", Result: 21345.6, Unit: "/s", Spread: 0.03, Ratio: 0.876, Of: "raw/3", P50: 1.234, P99: 12.34, Max: 1234.5, TimerP99: 3.21, TimerMax: 45.6, DaemonCPU: 45.67, ServerCPU: 56.78, DaemonRSS: 99.96, ServerRSS: 9.994, Note: "saturated"},
			{Scenario: "idle", Result: 0.25, Unit: "/s"},
		},
		Faults: []string{"steady: 1 of 7 lost"},
	}
	var b strings.Builder
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"machine: 2 CPUs",
		"",
		"scenario         result       ratio      p50      p99       max  timer p99  timer max  daemon CPU/op  server CPU/op  daemon RSS  server RSS  note",
		"steady    21,346 /s ±3%  0.88 raw/3  1.23 ms  12.3 ms  1,234 ms    3.21 ms    45.6 ms        45.7 µs        56.8 µs     100 MiB    9.99 MiB  saturated",
		"idle            0.25 /s",
		"FAULT steady: 1 of 7 lost",
		"",
	}, "\n")
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0.00", 0.004: "0.00", 9.99: "9.99", 9.996: "10.0", 99.94: "99.9", 99.96: "100", 999: "999", 1000: "1,000", 1234567: "1,234,567", -12.5: "-12.5"} {
		if got := number(v); got != want {
			t.Errorf("%v is shown as %s, want %s", v, got, want)
		}
	}
}
