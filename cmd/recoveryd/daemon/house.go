package daemon

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/bus"
)

// houseEvery is how often streams are looked at and repeated faults are told.
const houseEvery = 5 * time.Second

// keepHouse starts what runs beside the engine, and has it stopped with the rest.
func (d *Daemon) keepHouse(ctx context.Context) {
	if d.watcher != nil {
		done := make(chan struct{})
		go func() { defer close(done); d.watcher.Run(ctx) }()
		d.stack.add("policy watch", waitFor(done))
	}
	done := make(chan struct{})
	go func() { defer close(done); d.house(ctx) }()
	d.stack.add("upkeep", waitFor(done))
}

func (d *Daemon) house(ctx context.Context) {
	ticker := time.NewTicker(houseEvery)
	defer ticker.Stop()
	defer d.events.Sweep()
	for ctx.Err() == nil {
		d.look(ctx)
		d.events.Sweep()
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// stores is how the streams were when they were last looked at.
type stores struct {
	mu     sync.Mutex
	states []bus.StreamState
	err    error
}

func (s *stores) get() ([]bus.StreamState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.states, s.err
}

func (s *stores) set(states []bus.StreamState, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	if err == nil {
		s.states = states
	}
}

// dead is the store of dead letters.
func (s *stores) dead() (bus.StreamState, bool) {
	states, _ := s.get()
	for _, st := range states {
		if strings.HasSuffix(st.Name, "_DEAD") {
			return st, true
		}
	}
	return bus.StreamState{}, false
}

// expiry is when the oldest letter is dropped for its age, zero if none is.
func (d *Daemon) expiry(dead bus.StreamState) time.Time {
	if d.Config.DeadMaxAge == 0 || dead.Messages == 0 {
		return time.Time{}
	}
	return dead.FirstTime.Add(time.Duration(d.Config.DeadMaxAge))
}

func (d *Daemon) look(ctx context.Context) {
	if !d.connected() {
		return // that is a check of its own
	}
	ctx, cancel := context.WithTimeout(ctx, houseEvery)
	defer cancel()
	d.stores.set(d.bus.StreamStates(ctx))
	if dead, ok := d.stores.dead(); ok {
		d.gauges.DeadStore(dead.Messages, dead.Bytes, dead.MaxBytes, dead.FirstTime)
		d.gauges.DeadExpiry(d.expiry(dead))
	}
}
