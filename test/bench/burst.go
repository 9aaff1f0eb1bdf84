package main

import (
	"time"

	"github.com/recoveryd/recoveryd/test/bench/internal/load"
	"github.com/recoveryd/recoveryd/test/bench/internal/report"
)

// burstScenario has many failures due within the same second.
func (b *run) burstScenario() error {
	r, err := b.newRig("burst", b.size, b.calm(time.Second))
	if err != nil {
		return err
	}
	defer r.close()
	return b.bursts(r, "burst, due within 1 s")
}

func (b *run) bursts(r *rig, name string) error {
	before, err := r.begin()
	if err != nil {
		return err
	}
	due := time.Now().Add(5*time.Second + per(b.burst, 2*sureReports))
	sent, err := r.publish.Send(b.ctx, load.Pace{}, spread(names("burst", b.subjects), b.burst, due, time.Second, time.Second))
	if err != nil {
		return err
	}
	if err := r.settled(0, sent); err != nil {
		return err
	}
	row := report.Row{Scenario: name, Unit: "s", Note: count(sent) + " failures; result: from the first due time to the last delivery"}
	if err := r.end(&row, before, sent); err != nil {
		return err
	}
	x, err := r.read(0, sent, 0, uint64(sent), 0)
	if err != nil {
		return err
	}
	x.lateness(&row)
	row.Result = x.last.Sub(due).Seconds()
	b.account(row.Scenario, x, sent)
	b.add(row)
	return nil
}
