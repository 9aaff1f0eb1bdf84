package handlers

import (
	"slices"
	"time"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// verdict is what follows from a failure: the step, and for a retry when.
type verdict struct {
	step    schemas.Step
	due     time.Time
	delay   time.Duration
	attempt int    // of the next delivery
	reason  string // why there is no retry
	class   strategies.Class
}

// classify gives a failure its class: the policy's rules first, then the reporter's word.
func classify(p *Policy, f *schemas.Failure) strategies.Class {
	return p.Classify.Classify(strategies.Class(f.Class), f.Code, f.Error, f.Header.Get)
}

// decide says what follows from a failure under a policy. It changes nothing.
func decide(p *Policy, f *schemas.Failure, class strategies.Class) verdict {
	if f.Fallback != schemas.NoFallback {
		return verdict{step: schemas.StepFallback, attempt: f.Attempt, reason: schemas.ReasonFallbacksFailed, due: f.At, class: class}
	}
	d := p.Retry.Decide(strategies.Failure{
		ID: f.ID, Attempt: f.Attempt, Delivery: f.Delivery, Class: class, Hint: f.Hint, HasHint: f.HasHint,
		At: f.At, FirstFailedAt: f.FirstFailedAt, Held: f.Held, Trial: f.Probe || f.Ramp,
	})
	v := verdict{step: schemas.StepRetry, due: d.Due, delay: d.Delay, attempt: d.NextAttempt, reason: d.Reason, class: class}
	if !d.Retry {
		v.step, v.due, v.attempt = schemas.StepFallback, f.At, f.Attempt
		if slices.Contains(p.Discard, class) {
			v.step = schemas.StepDiscard
		}
	}
	return v
}

// delivers says whether a policy sends work to a subject, as sealed state claims that it
// did: to the fallback that the state names, else to the work's own target.
func delivers(p *Policy, w *schemas.Work, subject string) bool {
	switch {
	case p == nil:
		return false
	case w.Fallback != schemas.NoFallback:
		return w.Fallback >= 0 && w.Fallback < len(p.Fallback) && p.Fallback[w.Fallback] == subject
	}
	return subject == w.Subject || subject == p.Target(w)
}

// remember adds a failed attempt to the work's history. A history that cannot be read is
// started anew: it was sealed, so only a fault of our own can have broken it.
func remember(w *schemas.Work, delay time.Duration, target string) {
	h, err := deadletter.ParseHistory(w.History)
	if err != nil {
		h = nil
	}
	w.History = h.Append(deadletter.Attempt{
		At: w.LastFailedAt, Attempt: w.Attempt, Error: w.Error, Code: w.Code, Delay: delay, Target: target,
	}).Encode()
}
