package main

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/test/bench/internal/report"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(runRole(role, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// One tiny pass: processes start and end, numbers are there, and everything is accounted for.
func TestSmoke(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts processes and loads the machine for seconds")
	}
	o, err := parse(strings.Fields("-quick -json -recoveryd self -raw 2000 -subjects 10 -delay 100ms -warm 50ms -span 300ms -dead 300 raw steady dead"))
	if err != nil {
		t.Fatal(err)
	}
	o.dir = t.TempDir()
	var out, progress bytes.Buffer
	if err := bench(t.Context(), o, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	var got report.Report
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range got.Rows {
		names = append(names, r.Scenario)
		if r.Result <= 0 || r.ServerRSS <= 0 {
			t.Errorf("nothing was measured: %+v", r)
		}
		if strings.HasPrefix(r.Scenario, "steady") && (r.Ratio <= 0 || r.P99 < r.P50 || r.Max < r.P99 || r.TimerP99 <= 0 || r.TimerMax < r.TimerP99) {
			t.Errorf("no lateness or no ratio: %+v", r)
		}
	}
	want := []string{"raw publish 1 KiB", "raw consume 1 KiB", "steady, fastest", "steady, 200/s", "steady, tenth", "steady, half", "dead letters", "replay"}
	if !slices.Equal(names, want) {
		t.Errorf("measured %q, want %q", names, want)
	}
	if left, err := os.ReadDir(o.dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	o, err := parse(strings.Fields("-quick -span 7s far"))
	if err != nil || o.runs != 1 || o.span != 7*time.Second || !slices.Equal(o.scenarios, []string{"far"}) || o.farLead != 12*time.Second {
		t.Errorf("got %+v, %v", o, err)
	}
	o, err = parse([]string{"-profile", "p"})
	if err != nil || len(o.scenarios) != len(scenarios) || o.binary != itself || o.farLead != 125*time.Second || o.outageOpen != 28*time.Second {
		t.Errorf("got %+v, %v", o, err)
	}
	_, err = parse(strings.Fields("-runs 0 -window 0 -size 1000000 nothing"))
	for _, want := range []string{"-runs", "-window", "-size", `"nothing"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %s: %v", want, err)
		}
	}
}

// A failure is never asked to wait for less than the policy's delay, whatever the moment.
func TestSpread(t *testing.T) {
	t.Parallel()
	const n = 1000
	from := time.Now().Add(10 * time.Second)
	next := spread(names("x", 7), n, from, 5*time.Second, 12*time.Second)
	body := make([]byte, 32)
	clamped := 0
	for i := range n {
		m, more := next(i, body)
		delay, err := time.ParseDuration(m.Header.Get("Recovery-Retry-After"))
		if err != nil || !more || delay < 12*time.Second || delay > 15*time.Second {
			t.Fatalf("failure %d: %v, %v, %v", i, m.Header, err, more)
		}
		if delay == 12*time.Second {
			clamped++
		}
	}
	if _, more := next(n, body); more || clamped < n/4 || clamped > n*3/4 {
		t.Errorf("%d clamped, more %v", clamped, more)
	}
}
