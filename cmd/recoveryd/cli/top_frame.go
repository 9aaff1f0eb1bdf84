package cli

import (
	"encoding/json"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// frame is one picture of all daemons.
type frame struct {
	At       string                  `json:"at"` // time of the server, as a daemon estimates it
	Server   string                  `json:"server"`
	Seconds  float64                 `json:"seconds"`              // between the two looks that rates are made of; 0 = there was only one
	Rates    *rates                  `json:"per_second,omitempty"` // left out when no daemon was there at both looks
	Counts   schemas.Counts          `json:"since_start"`          // of the daemons that are there
	Waiting  waiting                 `json:"waiting"`
	Replicas []replica               `json:"replicas"` // none: no daemon answers, and nothing is known but the outcomes
	Open     int                     `json:"breakers_not_closed"`
	Breakers []schemas.BreakerStatus `json:"breakers"` // the first of those that are not closed
	Outcomes []json.RawMessage       `json:"outcomes"` // events of outcomes and breakers, the newest first
	Faults   []string                `json:"faults"`
}

// rates is schemas.Counts per second.
type rates struct {
	Failures    float64 `json:"failures"`
	Scheduled   float64 `json:"scheduled"`
	Held        float64 `json:"held"`
	Redelivered float64 `json:"redelivered"`
	Recovered   float64 `json:"recovered"`
	Fallback    float64 `json:"fallback"`
	Dead        float64 `json:"dead"`
	Discarded   float64 `json:"discarded"`
	Rejected    float64 `json:"rejected"`
	Replayed    float64 `json:"replayed"`
}

// waiting is what waits, of one daemon or of all.
type waiting struct {
	Near      int    `json:"near"`
	Far       int64  `json:"far"`
	Held      int64  `json:"held"`
	Parked    int64  `json:"parked"`
	InFlight  int    `json:"in_flight"`
	Bytes     int64  `json:"bytes"`
	OldestDue string `json:"oldest_due,omitempty"`
	LateMS    int64  `json:"late_ms"` // by how much that is overdue
}

// replica is one daemon.
type replica struct {
	Instance string  `json:"instance"`
	Version  string  `json:"version"`
	Started  string  `json:"started"`
	Shards   int     `json:"shards"`
	ClockMS  float64 `json:"clock_difference_ms"`
	Waiting  waiting `json:"waiting"`
	Rates    *rates  `json:"per_second,omitempty"`
	Silent   bool    `json:"silent,omitempty"` // it did not answer: the rest is what it said last
}

// frameOf makes a picture of a look and the one before, nil if there was none.
func frameOf(url string, before, now *glance) frame {
	f := frame{
		At: stampUTC(now.at), Server: url, Replicas: []replica{}, Breakers: []schemas.BreakerStatus{}, Outcomes: []json.RawMessage{},
		Faults: append([]string{}, now.faults...),
	}
	if now.fault != nil {
		f.Faults = append(f.Faults, now.fault.Error())
	}
	f.Breakers = append(f.Breakers, now.breakers...)
	for i := range now.outcomes {
		f.Outcomes = append(f.Outcomes, document(now.outcomes[len(now.outcomes)-1-i].Body))
	}
	if before != nil {
		f.Seconds = now.at.Sub(before.at).Seconds()
	}
	for _, r := range now.live {
		reply := now.replies[r.Instance]
		if reply == nil {
			f.add(silent(r))
			continue
		}
		if reply.At != "" {
			f.At = reply.At
		}
		one := replicaOf(reply)
		if reply.Counts != nil {
			f.Counts = sumOf(f.Counts, *reply.Counts, 1)
			if before != nil {
				one.Rates = ratesOf(before.replies[r.Instance], reply, f.Seconds)
			}
		}
		for _, s := range reply.Shards {
			f.Open += s.Open
		}
		for _, fault := range reply.Faults {
			f.Faults = append(f.Faults, reply.Instance+": "+fault)
		}
		f.add(one)
	}
	return f
}

// document is an event, or as a text what somebody else put into its place.
func document(body []byte) json.RawMessage {
	if json.Valid(body) {
		return body
	}
	text, err := json.Marshal(string(body))
	if err != nil {
		return json.RawMessage("null") // a text can always be written
	}
	return text
}

// add puts a daemon into the picture and its numbers into the sums.
func (f *frame) add(r replica) {
	f.Replicas = append(f.Replicas, r)
	f.Waiting.add(r.Waiting)
	if r.Rates == nil {
		return
	}
	if f.Rates == nil {
		f.Rates = &rates{}
	}
	for i, to := range f.Rates.fields() {
		*to += *r.Rates.fields()[i]
	}
}

func silent(r schemas.InstanceStatus) replica {
	return replica{
		Instance: r.Instance, Version: r.Version, Started: r.Started, Shards: len(r.Shards), ClockMS: r.ClockMS, Silent: true,
		Waiting: waiting{Near: r.Near, Far: r.Far, Held: r.Held, LateMS: r.LagMS},
	}
}

func replicaOf(reply *schemas.StatusReply) replica {
	r := replica{Instance: reply.Instance, Version: reply.Version, Started: reply.Started, Shards: len(reply.Shards), ClockMS: reply.ClockMS}
	at, known := momentOf(reply.At)
	for _, s := range reply.Shards {
		w := waiting{Near: s.Near, Far: s.Far, Held: s.Held, Parked: s.Parked, InFlight: s.InFlight, Bytes: s.Bytes, OldestDue: s.OldestDue}
		if due, ok := momentOf(s.OldestDue); ok && known {
			w.LateMS = max(0, at.Sub(due).Milliseconds())
		}
		r.Waiting.add(w)
	}
	return r
}

func (w *waiting) add(o waiting) {
	w.Near, w.Far, w.Held, w.Parked = w.Near+o.Near, w.Far+o.Far, w.Held+o.Held, w.Parked+o.Parked
	w.InFlight, w.Bytes, w.LateMS = w.InFlight+o.InFlight, w.Bytes+o.Bytes, max(w.LateMS, o.LateMS)
	due, ok := momentOf(o.OldestDue)
	if first, known := momentOf(w.OldestDue); ok && (!known || due.Before(first)) {
		w.OldestDue = o.OldestDue
	}
}

func momentOf(at string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, at)
	return t, err == nil
}

func stampUTC(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// ratesOf is nil if the daemon was not there before, or began anew.
func ratesOf(before, now *schemas.StatusReply, seconds float64) *rates {
	if before == nil || before.Counts == nil || before.Started != now.Started || seconds <= 0 {
		return nil
	}
	r, grown := &rates{}, sumOf(*now.Counts, *before.Counts, -1)
	for i, n := range fieldsOf(&grown) {
		*r.fields()[i] = float64(*n) / seconds
	}
	return r
}

func sumOf(a, b schemas.Counts, sign int64) schemas.Counts {
	for i, n := range fieldsOf(&a) {
		*n += sign * *fieldsOf(&b)[i]
	}
	return a
}

// fieldsOf and fields list the same numbers in the same order, that of their columns.
func fieldsOf(c *schemas.Counts) []*int64 {
	return []*int64{&c.Failures, &c.Redelivered, &c.Recovered, &c.Held, &c.Fallback, &c.Dead, &c.Rejected, &c.Discarded, &c.Replayed, &c.Scheduled}
}

func (r *rates) fields() []*float64 {
	return []*float64{&r.Failures, &r.Redelivered, &r.Recovered, &r.Held, &r.Fallback, &r.Dead, &r.Rejected, &r.Discarded, &r.Replayed, &r.Scheduled}
}
