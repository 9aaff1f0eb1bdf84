package handlers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// readSuccesses serves success reports until ctx ends: the breaker of their key hears of
// them, and for redeliveries the outcome recovered is published before the report is
// acknowledged.
func (e *Engine) readSuccesses(ctx context.Context) error {
	pending := make(chan struct{}, 1024)
	var wg sync.WaitGroup
	stop, err := e.bus.Successes(ctx, func(r schemas.Report) {
		e.clock.Saw(r.Time, time.Now())
		select {
		case pending <- struct{}{}:
		case <-ctx.Done():
			return
		}
		wg.Add(1)
		e.succeeded(r, func(settle bool) {
			if settle {
				r.Settle()
			}
			<-pending
			wg.Done()
		})
	})
	if err != nil {
		return err
	}
	<-ctx.Done()
	stop()
	wg.Wait()
	return nil
}

// succeeded handles one report and calls done once. A report that is not settled comes again.
func (e *Engine) succeeded(r schemas.Report, done func(settle bool)) {
	now := e.clock.Now()
	success, err := e.reader.Success(&r.Stored)
	if err != nil {
		e.observer.Observe(Event{Kind: EventAlarm, At: now, Op: "read success report", Subject: r.Subject, Err: err})
		done(true)
		return
	}
	w := schemas.Work{ID: success.ID, Subject: success.Subject, Replay: success.Replay, Fallback: success.Fallback}
	p := e.policies.Load().For(success.Subject)
	if success.Sealed && !delivers(p, &w, success.Intake) {
		success.Unseal()
		w.Subject, w.Fallback = success.Subject, success.Fallback
		p = e.policies.Load().For(success.Subject)
	}
	if p == nil || e.Subjects.CheckTarget(success.Subject) != nil {
		e.observer.Observe(Event{Kind: EventFault, At: now, Op: "read success report", Subject: success.Subject, ID: success.ID,
			Err: fmt.Errorf("no policy serves %q, the report was dropped", success.Subject)})
		done(true)
		return
	}
	k := breakerKey{p.Name, p.BreakerKey(&w)}
	if success.Fallback != schemas.NoFallback {
		k.key = success.Intake
	}
	if !success.Sealed {
		e.tellBreaker(p, k, &success, done) // it never failed: nothing was recovered
		return
	}
	done = both(done)
	e.tellBreaker(p, k, &success, done)
	e.recovered(now, p, k, &success, string(strategies.EvidenceReport), done)
}

// both has done called once, when two parts are done: a report is settled if both say so.
func both(done func(settle bool)) func(settle bool) {
	var mu sync.Mutex
	parts, all := 2, true
	return func(settle bool) {
		mu.Lock()
		parts--
		all = all && settle
		over, result := parts == 0, all
		mu.Unlock()
		if over {
			done(result)
		}
	}
}

// tellBreaker passes a success to the shard that is home to the key, through its ledger if
// another replica owns it.
func (e *Engine) tellBreaker(p *Policy, k breakerKey, success *schemas.Success, done func(settle bool)) {
	r := *success
	l := e.loopOf(e.Subjects.Partition(k.key, e.Shards))
	if l != nil && l.mail.post(func(s *shard, now time.Time) { s.success(now, k, &r) }) || p.Breaker.Disabled {
		done(true)
		return
	}
	e.signals.add(k, &r, p.Breaker.Mode == strategies.ModeRate, done)
}

// recovered publishes that work succeeded in the end.
func (e *Engine) recovered(now time.Time, p *Policy, k breakerKey, success *schemas.Success, evidence string, done func(settle bool)) {
	o := recoveredOutcome(p, k, success, evidence)
	m := e.Subjects.OutcomeMessage(&o, &schemas.Work{FirstFailedAt: success.FirstFailedAt}, now)
	e.bus.Publish(m, func(ack schemas.Ack, err error) {
		if err != nil {
			e.observer.Observe(Event{Kind: EventFault, At: e.clock.Now(), Op: "publish outcome", Subject: o.Subject, ID: o.ID, Err: err})
			done(false)
			return
		}
		if !ack.Duplicate {
			e.observer.Observe(Event{Kind: EventOutcome, At: now, Policy: p.Name, Outcome: &o, Subject: o.Subject, ID: o.ID,
				Trace: success.Trace, Elapsed: max(0, now.Sub(success.FirstFailedAt))})
		}
		done(true)
	})
}

func recoveredOutcome(p *Policy, k breakerKey, success *schemas.Success, evidence string) schemas.Outcome {
	return schemas.Outcome{
		Kind: schemas.KindRecovered, ID: success.ID, Subject: success.Subject, Attempt: success.Attempt, MaxAttempts: p.Retry.MaxAttempts,
		Delivery: success.Delivery, Replay: success.Replay, Policy: p.Name, Key: k.key, Generation: success.Generation,
		Probe: success.Probe, Evidence: evidence, FirstFailedAt: success.FirstFailedAt.UTC().Format(time.RFC3339Nano), Faults: success.Faults,
	}
}
