package daemon

import (
	"context"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/bus"
)

// houseEvery is how often streams are looked at, besides when somebody wants to see them,
// and sweepEvery how often repeated faults are told.
const (
	houseEvery = 30 * time.Second
	sweepEvery = 5 * time.Second
)

// staleAfter is how old a look at the streams may be for somebody who wants to see them.
const staleAfter = 5 * time.Second

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
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	defer d.events.Sweep()
	for ctx.Err() == nil {
		if d.stores.age() >= houseEvery {
			d.look(ctx)
		}
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
	at     time.Time
}

// age is how long ago they were looked at, very long if they never were or could not be.
func (s *stores) age() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return math.MaxInt64
	}
	return time.Since(s.at)
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
		s.states, s.at = states, time.Now()
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

// renew looks at the streams for somebody who wants to see them now.
func (d *Daemon) renew(ctx context.Context) {
	if d.stores.age() >= staleAfter {
		d.look(ctx)
	}
}

func (d *Daemon) look(ctx context.Context) {
	if !d.connected() {
		return // that is a check of its own
	}
	ctx, cancel := context.WithTimeout(ctx, sweepEvery)
	defer cancel()
	d.stores.set(d.bus.StreamStates(ctx))
	if dead, ok := d.stores.dead(); ok {
		d.gauges.DeadStore(dead.Messages, dead.Bytes, dead.MaxBytes, dead.FirstTime)
		d.gauges.DeadExpiry(d.expiry(dead))
	}
}
