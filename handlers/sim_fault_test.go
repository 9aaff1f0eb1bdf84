package handlers

import (
	"fmt"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// simRates are the chances of what may go wrong at any single step.
type simRates struct {
	lost       float64 // a publish is not stored, and times out
	unanswered float64 // a publish is stored, and times out
	late       float64 // a publish is stored after it timed out
	slow       float64 // a publish takes long, but not too long
	choreLost  float64 // a request fails and did nothing
	choreBlind float64 // a request fails and did its work
	staleRead  float64 // a read misses the newest entries
	lag        float64 // the follower lags
	twice      float64 // a worker reports twice
	lateReport float64 // a worker reports minutes later
}

type simFaultKind uint8

const (
	faultNoStream simFaultKind = iota // a subject without a stream
	faultFull                         // a subject whose stream is full
	faultDeadFull                     // the store of dead letters is full
	faultOutage                       // the handlers of a subject fail
)

type simFaultWindow struct {
	kind     simFaultKind
	subject  string
	from, to time.Time
}

// simFaults injects what may go wrong while the faults last.
type simFaults struct {
	w       *simWorld
	rates   simRates
	windows []simFaultWindow
}

// active says whether something is wrong with a subject at this moment.
func (f *simFaults) active(kind simFaultKind, subject string) bool {
	for i := range f.windows {
		win := &f.windows[i]
		if win.kind == kind && win.subject == subject && !f.w.now.Before(win.from) && f.w.now.Before(win.to) {
			return true
		}
	}
	return false
}

// unownedAny says whether any subject is without a stream for so long that giving it up is right.
func (f *simFaults) unownedAny() bool {
	for i := range f.windows {
		win := &f.windows[i]
		if win.kind == faultNoStream && win.to.Sub(win.from) >= unownedFor {
			return true
		}
	}
	return false
}

func (f *simFaults) lag() time.Duration {
	if f.w.chance(f.rates.lag) {
		return f.w.between(0, 3*time.Second)
	}
	return 0
}

// simTimeout is how long a publish waits for its answer.
const simTimeout = 5 * time.Second

// publish stores a message by way of an unreliable network. Like the bus it calls done
// once, and a late answer meets nobody.
func (f *simFaults) publish(m schemas.Message, done func(schemas.Ack, error)) {
	w := f.w
	timeout := func() { done(schemas.Ack{}, fmt.Errorf("publish to %s: %w", m.Subject, schemas.ErrTimeout)) }
	there, back := w.latency(), w.latency()
	dice := w.rng.Float64()
	hit := func(p float64) bool {
		dice -= p
		return dice < 0
	}
	switch {
	case hit(f.rates.lost):
		w.after(simTimeout, timeout)
		return
	case hit(f.rates.unanswered):
		w.after(there, func() { w.streams.store(m) })
		w.after(simTimeout, timeout)
		return
	case hit(f.rates.late):
		w.after(simTimeout+w.between(0, 8*time.Second), func() { w.streams.store(m) })
		w.after(simTimeout, timeout)
		return
	case hit(f.rates.slow):
		there, back = w.between(0, simTimeout/2), w.between(0, simTimeout/2)
	}
	w.after(there, func() {
		ack, err := w.streams.store(m)
		w.after(back, func() { done(ack, err) })
	})
}

// chore decides about a request: an error before it did anything, or after.
func (f *simFaults) chore() (before, after error) {
	switch dice := f.w.rng.Float64(); {
	case dice < f.rates.choreLost:
		return schemas.ErrTimeout, nil
	case dice < f.rates.choreLost+f.rates.choreBlind:
		return nil, schemas.ErrTimeout
	}
	return nil, nil
}
