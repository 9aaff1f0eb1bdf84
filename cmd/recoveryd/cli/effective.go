package cli

import (
	"time"

	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

// effective is the document that says in full what the policies do.
func effective(p *handlers.Policies) schemas.PolicyDocument {
	doc := schemas.PolicyDocument{Version: p.Document().Version}
	for _, policy := range p.All() {
		doc.Policies = append(doc.Policies, filled(policy))
	}
	return doc
}

func filled(p *handlers.Policy) schemas.PolicySpec {
	s := p.Spec
	s.Retry = filledRetry(p)
	s.Breaker = filledBreaker(p)
	s.Deliver.Mode = p.Deliver.Mode
	s.Deliver.Timeout = span(p.Deliver.Timeout)
	if s.Deliver.To == "" {
		s.Deliver.To = "{subject}"
	}
	s.SuccessEvidence = string(p.Breaker.Evidence)
	s.Outcomes = p.Outcomes
	return s
}

func filledRetry(p *handlers.Policy) schemas.RetrySpec {
	r, jitter := p.Retry, string(p.Retry.Jitter)
	return schemas.RetrySpec{
		Preset: p.Spec.Retry.Preset, MaxAttempts: &r.MaxAttempts, InitialDelay: span(r.InitialDelay), MaxDelay: span(r.MaxDelay),
		Base: &r.Base, Jitter: &jitter, MaxElapsed: span(r.MaxElapsed), MaxHint: span(r.MaxHint),
		ThrottledDelay: span(r.ThrottledDelay), MaxIgnored: &r.MaxIgnored,
	}
}

func filledBreaker(p *handlers.Policy) schemas.BreakerSpec {
	b, held := p.Breaker, p.HeldMax
	key := p.Spec.Breaker.Key
	if key == "" {
		key = "{subject}"
	}
	return schemas.BreakerSpec{
		Disabled: b.Disabled, Key: key, Mode: &b.Mode, FailureThreshold: &b.FailureThreshold, MinDistinct: &b.MinDistinct,
		Window: span(b.Window), MinVolume: &b.MinVolume, RatePermille: &b.RatePermille, ResetTimeout: span(b.ResetTimeout),
		HalfOpenTimeout: span(b.HalfOpenTimeout), OutcomeTimeout: span(b.OutcomeTimeout), OpenMultiplier: &b.OpenMultiplier,
		MaxOpen: span(b.MaxOpen), Probes: &b.Probes, Successes: &b.Successes, RampMax: &b.RampMax,
		TripOnHint: span(b.TripOnHint), MaxKeys: &b.MaxKeys, HeldMax: &held, HeldMaxAge: span(p.HeldMaxAge),
	}
}

func span(d time.Duration) *schemas.Duration {
	s := schemas.Duration(d)
	return &s
}
