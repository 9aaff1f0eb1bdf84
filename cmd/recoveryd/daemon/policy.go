package daemon

import (
	"context"
	"time"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/policyfile"
	"github.com/recoveryd/recoveryd/handlers"
)

// loadPolicies reads the policy file, if there is one, and prepares to follow it.
func (d *Daemon) loadPolicies() error {
	policies := handlers.DefaultPolicies()
	if file := d.Config.PolicyFile; file != "" {
		watcher, err := policyfile.NewWatcher(file, d.subjects, d.reload)
		if err != nil {
			return err
		}
		d.watcher = watcher
		d.stack.add("policy file", func(context.Context) error { return watcher.Close() })
		if policies, err = watcher.Load(); err != nil {
			return err
		}
	}
	d.use(policies)
	return nil
}

// reload takes what the watcher found. What is in use stays in use if it is no good.
func (d *Daemon) reload(policies *handlers.Policies, err error) {
	d.gauges.Reloaded(time.Now(), err)
	if err != nil {
		d.reloadErr.Store(&err)
		d.log.Error().Str("file", d.Config.PolicyFile).Str("in_use", d.Policies().Hash()).Err(err).Msg("policy file not used, the former policies stay")
		return
	}
	d.reloadErr.Store(nil)
	before := d.Policies().Hash()
	d.use(policies)
	d.log.Info().Str("file", d.Config.PolicyFile).Str("before", before).Str("in_use", policies.Hash()).Msg("policies reloaded")
}

func (d *Daemon) use(policies *handlers.Policies) {
	for _, warning := range policyfile.Warnings(policies) {
		d.log.Warn().Msg(warning)
	}
	d.gauges.Reloaded(time.Now(), nil)
	d.metrics.Prepare(policies)
	d.policies.Store(policies)
	if e := d.engine.Load(); e != nil {
		e.SetPolicies(policies)
	}
}
