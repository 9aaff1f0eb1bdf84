package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/recoveryd/recoveryd/test/bench/internal/load"
	"github.com/recoveryd/recoveryd/test/bench/internal/report"
)

// farScenario has many failures wait in the ledger.
func (b *run) farScenario() error {
	raw, _, err := b.raw(b.farSize)
	if err != nil {
		return err
	}
	r, err := b.newRig("far", b.farSize, b.calm(time.Second))
	if err != nil {
		return err
	}
	defer r.close()
	if err := b.memory(r, "far, empty", 0); err != nil {
		return err
	}
	row := report.Row{Scenario: "far, report", Unit: "/s", Of: "raw", Note: "stored, and moved to the ledger meanwhile"}
	due, err := b.fill(r, &row, b.far)
	if err != nil {
		return err
	}
	row.Ratio = row.Result / raw.Result
	b.add(row)
	if err := b.memory(r, "far, waiting", b.far); err != nil {
		return err
	}
	if err := b.sleep(time.Until(due.Add(-6 * time.Second))); err != nil {
		return err
	}
	if err := b.memory(r, "far, still waiting", b.far); err != nil {
		return err
	}
	return b.release(r, "far, release", due)
}

// fill reports n failures that are due from a moment on, which is returned, and waits until
// they all stand in the ledger.
func (b *run) fill(r *rig, row *report.Row, n int) (due time.Time, err error) {
	before, err := r.begin()
	if err != nil {
		return due, err
	}
	start := time.Now()
	due = start.Add(b.farLead)
	sent, err := r.publish.Send(b.ctx, load.Pace{}, spread(names("far", b.subjects), n, due, b.farSpread, time.Second))
	if err != nil {
		return due, err
	}
	row.Result = float64(sent) / time.Since(start).Seconds()
	if err := r.emptied(failedStream); err != nil {
		return due, err
	}
	if time.Until(due) < 2*time.Second {
		return due, fmt.Errorf("the first are due before all of them wait, after %s: raise -far-lead", time.Since(start).Round(time.Second))
	}
	return due, r.end(row, before, sent)
}

// memory adds what both processes take at this moment, once nothing is on its way.
func (b *run) memory(r *rig, name string, waiting int) error {
	if err := b.sleep(time.Second); err != nil {
		return err
	}
	u, err := r.usage()
	if err != nil {
		return err
	}
	b.add(report.Row{
		Scenario: name, Result: float64(waiting), Unit: "waiting", DaemonRSS: mebibytes(u.daemon.RSS), ServerRSS: mebibytes(u.server.RSS),
		Note: "RSS at this moment",
	})
	return nil
}

// release waits until all that waited was delivered, and tells how late it was.
func (b *run) release(r *rig, name string, due time.Time) error {
	row := report.Row{Scenario: name, Unit: "/s"}
	if err := b.sleep(time.Until(due.Add(-3 * time.Second))); err != nil {
		return err
	}
	before, err := r.begin()
	if err != nil {
		return err
	}
	if err := r.settled(0, b.far); err != nil {
		return err
	}
	if err := r.end(&row, before, b.far); err != nil {
		return err
	}
	x, err := r.read(0, b.far, 0, uint64(b.far), 0)
	if err != nil {
		return err
	}
	x.lateness(&row)
	span := x.last.Sub(x.first)
	if span <= 0 {
		return errors.New("nothing was released")
	}
	row.Result = float64(b.far) / span.Seconds()
	b.account(row.Scenario, x, b.far)
	b.add(row)
	return nil
}
