package main

import (
	"fmt"
	"time"

	"github.com/recoveryd/recoveryd/test/bench/internal/report"
)

// overdueBy is how long the first have been due when the daemon is started cold.
const overdueBy = 3 * time.Second

// takeoverScenario kills the daemon twice: while everything waits, until some of it is
// overdue, and in the middle of releasing it.
func (b *run) takeoverScenario() error {
	r, err := b.newRig("takeover", b.farSize, b.calm(time.Second))
	if err != nil {
		return err
	}
	defer r.close()
	var filling report.Row
	due, err := b.fill(r, &filling, b.takeover)
	if err != nil {
		return err
	}
	r.daemon.Kill()
	if err := b.sleep(time.Until(due.Add(overdueBy))); err != nil {
		return err
	}
	if err := b.coldStart(r); err != nil {
		return err
	}
	if err := r.stored(target, uint64(b.takeover)/2); err != nil {
		return err
	}
	return b.takeOver(r)
}

// coldStart starts the daemon and tells when it released the first message.
func (b *run) coldStart(r *rig) error {
	row := report.Row{Scenario: "takeover, cold start", Unit: "s", Note: fmt.Sprintf("%d waiting; from the start of the process to the first release", b.takeover)}
	start := time.Now()
	if err := r.startDaemon(); err != nil {
		return err
	}
	if err := r.stored(target, 1); err != nil {
		return err
	}
	s, err := r.js.Stream(b.ctx, target)
	if err != nil {
		return err
	}
	m, err := s.GetMsg(b.ctx, 1)
	if err != nil {
		return err
	}
	row.Result = m.Time.Sub(start).Seconds()
	u, err := r.usage()
	row.DaemonRSS, row.ServerRSS = mebibytes(u.daemon.Peak), mebibytes(u.server.RSS)
	b.add(row)
	return err
}

// takeOver kills the daemon, starts it again at once, and tells how long nothing was
// released.
func (b *run) takeOver(r *rig) error {
	row := report.Row{Scenario: "takeover, killed at work", Unit: "s", Note: "longest time without a release"}
	state, err := r.state(target)
	if err != nil {
		return err
	}
	r.daemon.Kill()
	if err := r.startDaemon(); err != nil {
		return err
	}
	if err := r.settled(0, b.takeover); err != nil {
		return err
	}
	x, err := r.read(0, b.takeover, 0, 0, state.LastSeq)
	if err != nil {
		return err
	}
	row.Result = x.gap.Seconds()
	b.account(row.Scenario, x, b.takeover)
	b.add(row)
	return nil
}
