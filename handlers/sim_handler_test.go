package handlers

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// simNature is how a piece of work behaves with its handler.
type simNature uint8

const (
	natureFine      simNature = iota // fails once, then succeeds
	natureFlaky                      // fails by chance while the faults last
	naturePoison                     // fails for ever
	naturePermanent                  // fails for ever, and says so
	natureThrottled                  // is asked to come back later, twice
	natureIgnored                    // fails three times for reasons that say nothing
	natures
)

// headerWork names the work in its headers, whatever its id is.
const headerWork = "X-Work"

// simWork is a piece of work; its first delivery fails and is reported at a given time.
type simWork struct {
	name    string
	subject string
	nature  simNature
	named   bool // the reporter chooses the id
}

// simWorkers handle what is delivered: each delivery takes a while, then it is reported as
// failed, or as succeeded where the policy asks for that.
type simWorkers struct {
	w       *simWorld
	works   map[string]*simWork
	busy    map[string]int // deliveries in progress, by subject
	pending int            // deliveries and reports without an end
	failed  int
	lastAt  time.Time // when the last delivery ended
}

func newSimWorkers(w *simWorld) *simWorkers {
	return &simWorkers{w: w, works: map[string]*simWork{}, busy: map[string]int{}}
}

// fail reports the failure of the original delivery.
func (h *simWorkers) fail(work *simWork) {
	h.works[work.name] = work
	m := schemas.Message{Header: schemas.Header{headerWork: {work.name}}, Body: []byte("body of " + work.name)}
	if work.named {
		m.Header.Set(schemas.HeaderID, "id-"+work.name)
		// With an id of one's own, only this tells a repeated report from another failure.
		m.Header.Set(schemas.HeaderOccurredAt, h.w.now.Format(time.RFC3339Nano))
	} else {
		m.Header.Set(schemas.HeaderStream, "ORDERS")
		m.Header.Set(schemas.HeaderSequence, strconv.Itoa(1+len(h.works)))
	}
	v := h.verdict(work, work.subject, 1)
	if v == nil {
		v = &simVerdict{class: schemas.ClassTransient}
	}
	h.report(work.subject, m, v)
}

// simVerdict is why a delivery failed.
type simVerdict struct {
	class string
	hint  time.Duration
}

func (h *simWorkers) receive(m *schemas.Stored) {
	h.pending++
	subject, header := m.Subject, m.Header
	work := h.works[header.Get(headerWork)]
	body := m.Body
	h.w.after(h.w.latency(), func() {
		h.busy[subject]++
		if c := h.w.cfg.capacity; c > 0 && h.busy[subject] > c {
			h.failed++
			h.done(subject, header, body, &simVerdict{class: schemas.ClassTransient})
			return
		}
		h.w.after(h.w.between(h.w.cfg.work/2, h.w.cfg.work), func() {
			delivery, _ := strconv.Atoi(header.Get(schemas.HeaderDelivery))
			v := h.verdict(work, subject, delivery)
			if v != nil {
				h.failed++
			}
			h.done(subject, header, body, v)
		})
	})
}

// verdict is nil when a delivery succeeds.
func (h *simWorkers) verdict(work *simWork, subject string, delivery int) *simVerdict {
	transient := &simVerdict{class: schemas.ClassTransient}
	if h.w.faults.active(faultOutage, subject) {
		return transient
	}
	faulty := h.w.now.Before(h.w.cfg.calmFrom(h.w.start))
	switch work.nature {
	case natureFlaky:
		if faulty && h.w.chance(0.6) {
			return transient
		}
	case naturePoison:
		if subject == work.subject || h.w.cfg.poisonEverywhere {
			return transient
		}
	case naturePermanent:
		return &simVerdict{class: schemas.ClassPermanent}
	case natureThrottled:
		if delivery <= 2 {
			return &simVerdict{class: schemas.ClassThrottled, hint: time.Duration(delivery) * 7 * time.Second}
		}
	case natureIgnored:
		if delivery <= 3 {
			return &simVerdict{class: schemas.ClassIgnored}
		}
	}
	return nil
}

func (h *simWorkers) done(subject string, header schemas.Header, body []byte, v *simVerdict) {
	h.busy[subject]--
	h.pending--
	h.lastAt = h.w.now
	echo := schemas.Header{}
	for name, values := range header {
		if !strings.HasPrefix(name, "Nats-") {
			echo[name] = values
		}
	}
	if v == nil {
		h.w.check.handled(header)
		if p := h.w.engine.policies.Load().For(header.Get(schemas.HeaderSubject)); p != nil && p.Breaker.Evidence == strategies.EvidenceReport {
			h.send(schemas.Message{Subject: simSubjects.Succeeded(subject), Header: echo})
		}
		return
	}
	h.report(subject, schemas.Message{Header: echo, Body: body}, v)
}

func (h *simWorkers) report(subject string, m schemas.Message, v *simVerdict) {
	m.Subject = simSubjects.Failed(subject)
	m.Header.Set(schemas.HeaderError, fmt.Sprintf("%s: connection refused", subject))
	m.Header.Set(schemas.HeaderClass, v.class)
	if v.hint > 0 {
		m.Header.Set(schemas.HeaderRetryAfter, v.hint.String())
	}
	wait := time.Duration(0)
	if h.w.chance(h.w.faults.rates.lateReport) {
		wait = h.w.between(0, 3*time.Minute)
	}
	times := 1
	if h.w.chance(h.w.faults.rates.twice) {
		times = 2
	}
	for range times {
		h.pending++
		h.w.after(wait, func() { h.pending--; h.send(m) })
		wait += h.w.between(0, 5*time.Second)
	}
}

// send publishes until it knows that the message is stored.
func (h *simWorkers) send(m schemas.Message) {
	h.pending++
	h.w.faults.publish(m, func(_ schemas.Ack, err error) {
		h.pending--
		if err != nil {
			h.w.check.repeated(m.Header)
			h.send(m)
		}
	})
}
