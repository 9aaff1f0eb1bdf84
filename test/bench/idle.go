package main

import (
	"time"

	"github.com/recoveryd/recoveryd/test/bench/internal/report"
)

// idleScenario tells what the daemon costs while nothing fails.
func (b *run) idleScenario() error {
	r, err := b.newRig("idle", b.size, b.calm(time.Second))
	if err != nil {
		return err
	}
	defer r.close()
	if err := b.sleep(3 * time.Second); err != nil {
		return err
	}
	before, err := r.begin()
	if err != nil {
		return err
	}
	requests, err := b.requests(r)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := b.sleep(b.idle); err != nil {
		return err
	}
	after, err := b.requests(r)
	if err != nil {
		return err
	}
	took := time.Since(start)
	var row report.Row
	if err := r.end(&row, before, 1); err != nil {
		return err
	}
	share := func(micros float64) float64 { return 100 * micros / float64(took.Microseconds()) }
	// One of the two looks at the counter is counted itself.
	b.add(report.Row{Scenario: "idle, API requests", Result: float64(after-requests-1) / took.Seconds(), Unit: "/s", DaemonRSS: row.DaemonRSS, ServerRSS: row.ServerRSS})
	b.add(report.Row{Scenario: "idle, daemon CPU", Result: share(row.DaemonCPU), Unit: "% of one"})
	b.add(report.Row{Scenario: "idle, server CPU", Result: share(row.ServerCPU), Unit: "% of one"})
	return nil
}

// requests is how many requests of the JetStream API the account has made.
func (b *run) requests(r *rig) (uint64, error) {
	account, err := r.js.AccountInfo(b.ctx)
	if err != nil {
		return 0, err
	}
	return account.API.Total, nil
}
