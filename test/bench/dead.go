package main

import (
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/test/bench/internal/load"
	"github.com/recoveryd/recoveryd/test/bench/internal/report"
)

// deadScenario has failures that become dead letters at once: three durable writes each, as
// a recovery. Then the letters are replayed.
func (b *run) deadScenario() error {
	ideal, err := b.ideal(b.size)
	if err != nil {
		return err
	}
	r, err := b.newRig("dead", b.size, b.calm(time.Second))
	if err != nil {
		return err
	}
	defer r.close()
	before, err := r.begin()
	if err != nil {
		return err
	}
	permanent := schemas.Header{schemas.HeaderError: {"invalid amount"}, schemas.HeaderClass: {schemas.ClassPermanent}}
	start := time.Now()
	sent, err := r.publish.Send(b.ctx, load.Pace{}, fixed(names("dead", b.subjects), b.dead, 0, permanent))
	if err != nil {
		return err
	}
	if err := r.emptied(failedStream); err != nil {
		return err
	}
	took := time.Since(start)
	letters, err := r.state(deadStream)
	if err != nil {
		return err
	}
	row := report.Row{Scenario: "dead letters", Unit: "/s", Result: float64(sent) / took.Seconds(), Of: "raw/3"}
	row.Ratio = row.Result / ideal
	if letters.Msgs != uint64(sent) {
		b.fault(row.Scenario, "%d letters of %d failures", letters.Msgs, sent)
	}
	if err := r.end(&row, before, sent); err != nil {
		return err
	}
	b.add(row)
	return b.replay(r, sent, ideal)
}
