package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/recoveryd/recoveryd/test/bench/internal/proc"
	"github.com/recoveryd/recoveryd/test/bench/internal/report"
)

// bareScenario has the bare loop do the work of the daemon: what it reaches is what the bus
// has to give to such work on this machine, and what is between it and the daemon is what
// the daemon's own work costs.
func (b *run) bareScenario() error {
	for _, part := range []func() error{b.bareSteady, b.bareBurst, b.bareFar} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

func (b *run) bareSteady() error {
	ideal, err := b.ideal(b.size)
	if err != nil {
		return err
	}
	r, err := b.newBareRig(b.size)
	if err != nil {
		return err
	}
	defer r.close()
	_, err = b.fastest(r, "bare loop, fastest", ideal)
	return err
}

func (b *run) bareBurst() error {
	r, err := b.newBareRig(b.size)
	if err != nil {
		return err
	}
	defer r.close()
	return b.bursts(r, "bare loop, burst, due within 1 s")
}

func (b *run) bareFar() error {
	raw, _, err := b.raw(b.farSize)
	if err != nil {
		return err
	}
	r, err := b.newBareRig(b.farSize)
	if err != nil {
		return err
	}
	defer r.close()
	row := report.Row{Scenario: "bare loop, far, report", Unit: "/s", Of: "raw"}
	due, err := b.fill(r, &row, b.far)
	if err != nil {
		return err
	}
	row.Ratio = row.Result / raw.Result
	b.add(row)
	if err := b.memory(r, "bare loop, far, waiting", b.far); err != nil {
		return err
	}
	return b.release(r, "bare loop, far, release", due)
}

// newBareRig starts a server with the target stream, and the bare loop on it.
func (b *run) newBareRig(size int) (*rig, error) {
	r, err := b.newServers(1, "bare", size)
	if err != nil {
		return nil, err
	}
	if err = r.createTarget(); err == nil {
		err = r.startBare(size)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *rig) startBare(size int) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	r.daemon, err = proc.Start(proc.Command{Name: "bare loop", Path: exe, Args: []string{r.url, fmt.Sprint(size)}, Env: r.env(roleBare), Log: filepath.Join(r.dir, "bare.log")})
	if err != nil {
		return err
	}
	_, err = r.daemon.Line()
	return err
}

// bareNear is what waits without being written to the ledger, the daemon's default.
const bareNear = 5 * time.Second
