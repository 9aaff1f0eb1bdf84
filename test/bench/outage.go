package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/test/bench/internal/load"
	"github.com/recoveryd/recoveryd/test/bench/internal/report"
)

func outagePolicy(open time.Duration) string {
	return fmt.Sprintf(`version: 1
policies:
  - name: bench
    subjects: ["bench.>"]
    retry: {max_attempts: 5, initial_delay: 1s, jitter: none}
    breaker: {failure_threshold: 5, reset_timeout: %s, max_open: 1h}
    success_evidence: report
`, open)
}

// outageScenario opens breakers by failures, has everything held, and lets a worker that
// succeeds drain it.
func (b *run) outageScenario() error {
	r, err := b.newRig("outage", b.size, outagePolicy(b.outageOpen))
	if err != nil {
		return err
	}
	defer r.close()
	before, err := r.begin()
	if err != nil {
		return err
	}
	sent, err := r.publish.Send(b.ctx, load.Pace{}, fixed(names("outage", b.outageKeys), b.outage, time.Second, reported))
	if err != nil {
		return err
	}
	if err := r.held(sent); err != nil {
		return err
	}
	row, err := b.holding(r, before, sent)
	if err != nil {
		return err
	}
	b.add(row)
	return b.drain(r, sent)
}

// held waits until all of n failures stand in the ledger.
func (r *rig) held(n int) error {
	if err := r.stored(ledgerStream, uint64(n)); err != nil {
		return err
	}
	if err := r.emptied(failedStream); err != nil {
		return err
	}
	state, err := r.state(target)
	if err == nil && state.LastSeq > 0 {
		err = fmt.Errorf("%d were delivered before all were held: raise -outage-open", state.LastSeq)
	}
	return err
}

// holding tells what it cost to hold n messages.
func (b *run) holding(r *rig, before usage, n int) (report.Row, error) {
	row := report.Row{Scenario: "outage, hold", Unit: "writes each"}
	ledger, err := r.state(ledgerStream)
	if err != nil {
		return row, err
	}
	outcomes, err := r.state(outcomeStream)
	if err != nil {
		return row, err
	}
	row.Result = float64(ledger.LastSeq) / float64(n)
	row.Note = fmt.Sprintf("%d held by %d breakers; %.3f outcomes each", n, b.outageKeys, float64(outcomes.LastSeq)/float64(n))
	return row, r.end(&row, before, n)
}

// drain answers every delivery with a success at once.
func (b *run) drain(r *rig, n int) error {
	row := report.Row{Scenario: "outage, drain", Unit: "/s"}
	before, err := r.begin()
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	worker, err := r.nc.Subscribe("bench.>", func(m *nats.Msg) { r.succeed(m, failed) })
	if err != nil {
		return err
	}
	defer worker.Unsubscribe()
	if err := worker.SetPendingLimits(-1, -1); err != nil {
		return err
	}
	if err := r.settled(0, n); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return fmt.Errorf("report a success: %w", err)
	default:
	}
	if err := r.end(&row, before, n); err != nil {
		return err
	}
	x, err := r.read(0, n, 0, 0, 0)
	if err != nil {
		return err
	}
	took := x.last.Sub(x.first)
	row.Result, row.Note = float64(n)/took.Seconds(), fmt.Sprintf("took %.1f s from the first probe, with a success report each", took.Seconds())
	b.account(row.Scenario, x, n)
	b.add(row)
	return nil
}

// succeed reports the success of a delivery, its headers echoed.
func (r *rig) succeed(m *nats.Msg, failed chan<- error) {
	header := schemas.Header{}
	for name, values := range m.Header {
		if !strings.HasPrefix(name, "Nats-") {
			header[name] = values
		}
	}
	r.bus.Publish(schemas.Message{Subject: subjects.Succeeded(m.Subject), Header: header}, func(_ schemas.Ack, err error) {
		if err != nil {
			select {
			case failed <- err:
			default: // the first counts
			}
		}
	})
}
