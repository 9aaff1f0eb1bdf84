package main

import (
	"context"
	"fmt"
	"time"

	"github.com/recoveryd/recoveryd/test/bench/internal/load"
	"github.com/recoveryd/recoveryd/test/bench/internal/report"
)

// phase is a load that goes on for a while.
type phase struct {
	part string // token of its subjects
	pace load.Pace
}

func (b *run) steady() error {
	ideal, err := b.ideal(b.size)
	if err != nil {
		return err
	}
	loads := []steadyLoad{{name: fmt.Sprintf("%g/s", b.only), rate: b.only}}
	if b.only <= 0 {
		most, err := b.fastestOf(b.size, "steady", "steady, fastest", ideal)
		if err != nil || b.only < 0 {
			return err
		}
		loads = []steadyLoad{{"200/s", 200}, {"tenth", most / 10}, {"half", most / 2}}
	}
	return b.atRates(loads, ideal)
}

// atRates measures loads that grow, on a server that had no other: one that was full a moment
// ago still has its memory and is as late as that makes it.
func (b *run) atRates(loads []steadyLoad, ideal float64) error {
	r, err := b.newRig("rates", b.size, b.calm(b.delay))
	if err != nil {
		return err
	}
	defer r.close()
	for i, load := range loads {
		if err := b.atRate(r, i, load, ideal); err != nil {
			return fmt.Errorf("%s: %w", load.name, err)
		}
	}
	return nil
}

// steadyLoad is a fixed number of failures per second.
type steadyLoad struct {
	name string
	rate float64
}

// sizes measures the fastest rate with small and large bodies.
func (b *run) sizes() error {
	for _, size := range []int{64, 64 << 10} {
		ideal, err := b.ideal(size)
		if err != nil {
			return err
		}
		if _, err := b.fastestOf(size, "sizes", "steady, fastest, "+sizeName(size), ideal); err != nil {
			return err
		}
	}
	return nil
}

// fastestOf measures the fastest rate for bodies of a size, on a server of its own.
func (b *run) fastestOf(size int, rig, name string, ideal float64) (perSecond float64, err error) {
	r, err := b.newRig(rig, size, b.calm(b.delay))
	if err != nil {
		return 0, err
	}
	defer r.close()
	return b.fastest(r, name, ideal)
}

// fastest keeps a fixed number of failures under way: more than the delay alone accounts
// for at the ideal rate, so that recoveryd and not the load decides how fast it goes. The
// lateness is then mostly the length of the queue that is kept up.
func (b *run) fastest(r *rig, name string, ideal float64) (perSecond float64, err error) {
	window := max(1000, int(b.window*ideal*b.delay.Seconds()))
	row, err := b.measure(r, name, phase{part: "fastest", pace: load.Pace{Window: window}})
	if err != nil {
		return 0, err
	}
	row.Ratio, row.Of, row.Note = row.Result/ideal, "raw/3", fmt.Sprintf("%d under way, late by the queue", window)
	b.add(row)
	return row.Result, nil
}

func (b *run) atRate(r *rig, i int, l steadyLoad, ideal float64) error {
	row, err := b.measure(r, "steady, "+l.name, phase{part: fmt.Sprintf("rate%d", i), pace: load.Pace{Rate: l.rate}})
	if err != nil {
		return err
	}
	row.Ratio, row.Of = row.Result/ideal, "raw/3"
	b.add(row)
	return nil
}

// mark is how far the target was at a moment.
type mark struct {
	at   time.Time
	last uint64
	usage
}

func (r *rig) mark(take func() (usage, error)) (m mark, err error) {
	if m.usage, err = take(); err != nil {
		return m, err
	}
	state, err := r.state(target)
	m.at, m.last = time.Now(), state.LastSeq
	return m, err
}

// measure offers a load, measures in the middle of it, waits until everything has settled,
// and accounts for all of it.
func (b *run) measure(r *rig, name string, p phase) (row report.Row, err error) {
	row = report.Row{Scenario: name, Unit: "/s"}
	base, err := r.mark(r.usage)
	if err != nil {
		return row, err
	}
	if p.pace.Window > 0 {
		f := r.follow()
		defer f.close()
		p.pace.Done = func() int { return int(f.last.Load()) - int(base.last) }
	}
	ctx, stop := context.WithCancel(b.ctx)
	defer stop()
	sending := make(chan error, 1)
	sent := 0
	go func() {
		var err error
		sent, err = r.publish.Send(ctx, p.pace, fixed(names(p.part, b.subjects), 0, b.delay, reported))
		sending <- err
	}()
	from, to, err := b.within(r, &row)
	stop()
	if sendErr := <-sending; err == nil {
		err = sendErr
	}
	if err != nil {
		return row, err
	}
	row.Result = float64(to.last-from.last) / to.at.Sub(from.at).Seconds()
	if err := r.settled(base.last, sent); err != nil {
		return row, err
	}
	x, err := r.read(base.last, sent, from.last, to.last, 0)
	if err != nil {
		return row, err
	}
	x.lateness(&row)
	b.account(name, x, sent)
	return row, r.purge()
}

// within lets the load warm up and measures what is used while it goes on.
func (b *run) within(r *rig, row *report.Row) (from, to mark, err error) {
	if err = b.sleep(b.delay + b.warm); err != nil {
		return from, to, err
	}
	if from, err = r.mark(r.begin); err != nil {
		return from, to, err
	}
	if err = b.sleep(b.span); err != nil {
		return from, to, err
	}
	if to, err = r.mark(r.usage); err != nil {
		return from, to, err
	}
	return from, to, r.end(row, from.usage, int(to.last-from.last))
}

// purge empties the target between two loads.
func (r *rig) purge() error {
	s, err := r.js.Stream(r.b.ctx, target)
	if err != nil {
		return err
	}
	return s.Purge(r.b.ctx)
}
