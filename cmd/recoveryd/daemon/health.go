package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/console"
	"github.com/recoveryd/recoveryd/handlers"
)

// almostFull is the share of the store of dead letters from which on it is a fault.
const almostFull = 0.9

// checks says how the daemon is. Work is recovered as long as every Essential one is OK;
// the others ask for somebody's attention.
func (d *Daemon) checks() []console.Check {
	all := []console.Check{d.checkConnection(), d.checkStreams()}
	all = append(all, d.checkEngine()...)
	return append(all, d.checkPolicy(), d.checkDeadStore(), d.checkDeadLane())
}

func (d *Daemon) checkConnection() console.Check {
	c := console.Check{Name: "connection", Essential: true}
	if !d.connected() {
		c.Detail = "no server at the moment, trying to reach one"
		return c
	}
	name, version, cluster := d.bus.ServerInfo()
	if c.OK, c.Detail = true, fmt.Sprintf("%s, version %s", name, version); cluster != "" {
		c.Detail += ", cluster " + cluster
	}
	return c
}

func (d *Daemon) checkStreams() console.Check {
	c := console.Check{Name: "streams", Essential: true}
	if reason := d.waiting.Load(); reason != nil {
		c.Detail = (*reason).Error()
		return c
	}
	states, err := d.stores.get()
	switch {
	case err != nil:
		c.Detail = err.Error()
	case d.engine.Load() == nil:
		c.Detail = "not looked at yet"
	default:
		c.OK, c.Detail = true, fmt.Sprintf("%d there", len(states))
	}
	return c
}

// checkEngine takes the engine's own checks; only that it serves shards is essential, as
// what is wrong with one subject must not stop the others.
func (d *Daemon) checkEngine() []console.Check {
	e := d.engine.Load()
	if e == nil {
		return []console.Check{{Name: "shards", Essential: true, Detail: "none served yet"}}
	}
	var all []console.Check
	for _, c := range e.Checks() {
		all = append(all, console.Check{Name: c.Name, OK: c.OK, Detail: c.Detail, Essential: c.Name == "shards"})
	}
	return all
}

func (d *Daemon) checkPolicy() console.Check {
	c := console.Check{Name: "policy", OK: true, Detail: fmt.Sprintf("%s, %d in use", d.Policies().Hash(), len(d.Policies().All()))}
	if err := d.reloadErr.Load(); err != nil {
		c.OK, c.Detail = false, fmt.Sprintf("the file cannot be used, %s stays in use: %v", d.Policies().Hash(), *err)
	}
	return c
}

func (d *Daemon) checkDeadStore() console.Check {
	c := console.Check{Name: "dead letter store", OK: true}
	dead, ok := d.stores.dead()
	if !ok {
		c.Detail = "not looked at yet"
		return c
	}
	c.Detail = fmt.Sprintf("%d letters, no limit", dead.Messages)
	if dead.MaxBytes > 0 {
		ratio := handlers.FillRatio(dead.Bytes, dead.MaxBytes)
		c.OK, c.Detail = ratio < almostFull, fmt.Sprintf("%d letters, %.0f %% full", dead.Messages, 100*ratio)
	}
	if at := d.expiry(dead); !at.IsZero() && time.Until(at) < time.Duration(d.Config.DeadMaxAge)/10 {
		c.OK = false
		c.Detail += fmt.Sprintf(", the oldest is dropped for its age at %s: replay, export or discard it", at.UTC().Format(time.RFC3339))
	}
	return c
}

func (d *Daemon) checkDeadLane() console.Check {
	n := handlers.Total(d.stats()).DeadWait
	return console.Check{Name: "dead letter lane", OK: n == 0, Detail: fmt.Sprintf("%d letters wait to be stored", n)}
}

// State implements console.Source.
func (d *Daemon) State(ctx context.Context) console.State {
	d.renew(ctx)
	s := console.State{
		Version: d.Version, Instance: d.Instance, Prefix: d.Config.Prefix, PolicyHash: d.Policies().Hash(),
		PolicyFile: d.Config.PolicyFile, Checks: d.checks(), Totals: handlers.Total(d.stats()),
	}
	for _, p := range d.Policies().All() {
		s.Policies = append(s.Policies, console.Policy{Name: p.Name, Subjects: p.Subjects})
	}
	states, _ := d.stores.get()
	for _, st := range states {
		s.Streams = append(s.Streams, console.Stream{Name: st.Name, Messages: st.Messages, Bytes: st.Bytes, MaxBytes: st.MaxBytes})
	}
	s.Breakers = d.breakers(ctx)
	return s
}
