package handlers

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// CompilePolicies checks a whole document. The error joins one *schemas.FieldError for
// each fault.
func CompilePolicies(doc schemas.PolicyDocument, subjects schemas.Subjects) (*Policies, error) {
	c := compiler{subjects: subjects}
	if doc.Version != 1 {
		c.fault("version", "is %d, only 1 is known", doc.Version)
	}
	if len(doc.Policies) == 0 {
		c.fault("policies", "is empty: nothing would be served")
	}
	p := &Policies{doc: doc}
	names := map[string]int{}
	for i, spec := range doc.Policies {
		path := fmt.Sprintf("policies[%d]", i)
		if first, ok := names[spec.Name]; ok {
			c.fault(path+".name", "%q is the name of policies[%d] too", spec.Name, first)
		}
		names[spec.Name] = i
		p.list = append(p.list, c.policy(path, spec))
	}
	if err := errors.Join(c.faults...); err != nil {
		return nil, err
	}
	canonical, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("policy document: %w", err)
	}
	sum := sha256.Sum256(canonical)
	p.hash = hex.EncodeToString(sum[:6])
	return p, nil
}

type compiler struct {
	subjects schemas.Subjects
	faults   []error
}

func (c *compiler) fault(path, format string, args ...any) {
	c.faults = append(c.faults, &schemas.FieldError{Path: path, Err: fmt.Errorf(format, args...)})
}

// join files the faults that a strategy's own validation found; each begins with the name
// of its field.
func (c *compiler) join(path string, err error) {
	if err == nil {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			c.join(path, e)
		}
		return
	}
	field, text, ok := strings.Cut(err.Error(), ": ")
	if !ok {
		field, text = "", err.Error()
	}
	c.faults = append(c.faults, &schemas.FieldError{Path: strings.TrimSuffix(path+"."+field, "."), Err: errors.New(text)})
}

var policyName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,63}$`)

func (c *compiler) policy(path string, s schemas.PolicySpec) *Policy {
	if !policyName.MatchString(s.Name) {
		c.fault(path+".name", "%q is no name: 1 to 64 letters, digits, - and _", s.Name)
	}
	if len(s.Subjects) == 0 {
		c.fault(path+".subjects", "is empty: the policy would serve nothing")
	}
	for i, pattern := range s.Subjects {
		if err := schemas.CheckPattern(pattern); err != nil {
			c.fault(fmt.Sprintf("%s.subjects[%d]", path, i), "%w", err)
		}
	}
	p := &Policy{Name: s.Name, Subjects: s.Subjects, Fallback: s.Fallback, Outcomes: s.Outcomes, Ack: s.Ack, Spec: s}
	p.Classify = c.classify(path+".classify", s.Classify)
	p.Retry = c.retry(path, s.Retry)
	c.breaker(path, s, p)
	p.Deliver = c.deliver(path+".deliver", s.Deliver)
	for i, subject := range s.Fallback {
		if err := c.subjects.CheckTarget(subject); err != nil {
			c.fault(fmt.Sprintf("%s.fallback[%d]", path, i), "%w", err)
		}
	}
	switch p.Outcomes {
	case "":
		p.Outcomes = schemas.OutcomesAttempts
	case schemas.OutcomesTerminal, schemas.OutcomesAttempts, schemas.OutcomesAll:
	default:
		c.fault(path+".outcomes", "%q is none of terminal, attempts, all", s.Outcomes)
	}
	for i, name := range s.Discard {
		class, err := strategies.ParseClass(name)
		if err != nil {
			c.fault(fmt.Sprintf("%s.discard[%d]", path, i), "%w", err)
		}
		p.Discard = append(p.Discard, class)
	}
	if s.DeadLetter != nil {
		c.deadLetter(path+".dead_letter", s.DeadLetter, p)
	}
	return p
}

func (c *compiler) deadLetter(path string, s *schemas.DeadLetterSpec, p *Policy) {
	p.ReplayTo, p.AutoReplay = s.ReplayTo, s.AutoReplay
	for i, pattern := range s.ReplayTo {
		if err := schemas.CheckPattern(pattern); err != nil {
			c.fault(fmt.Sprintf("%s.replay_to[%d]", path, i), "%w", err)
		}
	}
	a := s.AutoReplay
	if a == nil {
		return
	}
	for i, reason := range a.Reasons {
		if !slices.Contains(schemas.Reasons[:], reason) {
			c.fault(fmt.Sprintf("%s.auto_replay.reasons[%d]", path, i), "%q is none of %s", reason, strings.Join(schemas.Reasons[:], ", "))
		}
	}
	for i, class := range a.Classes {
		if _, err := strategies.ParseClass(class); err != nil {
			c.fault(fmt.Sprintf("%s.auto_replay.classes[%d]", path, i), "%w", err)
		}
	}
	if len(a.Reasons) == 0 && len(a.Classes) == 0 {
		c.fault(path+".auto_replay", "names neither reasons nor classes")
	}
	if a.Max < 1 || a.Rate < 1 {
		c.fault(path+".auto_replay", "max and rate must be at least 1")
	}
}

func (c *compiler) classify(path string, specs []schemas.ClassifySpec) strategies.Classifier {
	var rules strategies.Classifier
	for i, s := range specs {
		at := fmt.Sprintf("%s[%d]", path, i)
		class, err := strategies.ParseClass(s.Class)
		if err != nil {
			c.fault(at+".class", "%w", err)
		}
		if len(s.Code) == 0 && s.Error == "" && s.Header == "" {
			c.fault(at, "matches everything: give at least one of code, error, header")
		}
		if s.Value != "" && s.Header == "" {
			c.fault(at+".value", "is given without header")
		}
		rules = append(rules, strategies.Rule{
			Codes: s.Code, Error: c.expression(at+".error", s.Error),
			Header: s.Header, Value: c.expression(at+".value", s.Value), Class: class,
		})
	}
	return rules
}

func (c *compiler) expression(path, s string) *regexp.Regexp {
	if s == "" {
		return nil
	}
	re, err := regexp.Compile(s)
	if err != nil {
		c.fault(path, "%w", err)
	}
	return re
}

// set overrides a default by a given value.
func set[T any](field *T, given *T) {
	if given != nil {
		*field = *given
	}
}

func setDuration(field *time.Duration, given *schemas.Duration) {
	if given != nil {
		*field = time.Duration(*given)
	}
}

func (c *compiler) retry(path string, s schemas.RetrySpec) strategies.Retry {
	preset := s.Preset
	if preset == "" {
		preset = "seed"
	}
	r, err := strategies.RetryPreset(preset)
	if err != nil {
		c.fault(path+".retry.preset", "%w", err)
		return r
	}
	set(&r.MaxAttempts, s.MaxAttempts)
	setDuration(&r.InitialDelay, s.InitialDelay)
	setDuration(&r.MaxDelay, s.MaxDelay)
	set(&r.Base, s.Base)
	if s.Jitter != nil {
		r.Jitter = strategies.Jitter(*s.Jitter)
	}
	setDuration(&r.MaxElapsed, s.MaxElapsed)
	setDuration(&r.MaxHint, s.MaxHint)
	setDuration(&r.ThrottledDelay, s.ThrottledDelay)
	set(&r.MaxIgnored, s.MaxIgnored)
	c.join(path, r.Validate())
	return r
}

func (c *compiler) breaker(path string, spec schemas.PolicySpec, p *Policy) {
	s, b := spec.Breaker, strategies.DefaultBreaker()
	b.Disabled = s.Disabled
	set(&b.Mode, s.Mode)
	set(&b.FailureThreshold, s.FailureThreshold)
	set(&b.MinDistinct, s.MinDistinct)
	setDuration(&b.Window, s.Window)
	set(&b.MinVolume, s.MinVolume)
	set(&b.RatePermille, s.RatePermille)
	setDuration(&b.ResetTimeout, s.ResetTimeout)
	setDuration(&b.HalfOpenTimeout, s.HalfOpenTimeout)
	setDuration(&b.OutcomeTimeout, s.OutcomeTimeout)
	set(&b.OpenMultiplier, s.OpenMultiplier)
	setDuration(&b.MaxOpen, s.MaxOpen)
	set(&b.Probes, s.Probes)
	set(&b.Successes, s.Successes)
	set(&b.RampMax, s.RampMax)
	setDuration(&b.TripOnHint, s.TripOnHint)
	set(&b.MaxKeys, s.MaxKeys)
	switch spec.SuccessEvidence {
	case "", string(strategies.EvidenceSilence):
		b.Evidence = strategies.EvidenceSilence
	case string(strategies.EvidenceReport), string(strategies.EvidenceAck):
		b.Evidence = strategies.Evidence(spec.SuccessEvidence)
	default:
		c.fault(path+".success_evidence", "%q is none of silence, report, ack", spec.SuccessEvidence)
	}
	if ack := b.Evidence == strategies.EvidenceAck; ack != (spec.Ack != nil) {
		c.fault(path+".ack", "stream and consumer go together with success_evidence: ack")
	} else if ack && (spec.Ack.Stream == "" || spec.Ack.Consumer == "") {
		c.fault(path+".ack", "names no stream or no consumer")
	}
	set(&p.HeldMax, s.HeldMax)
	setDuration(&p.HeldMaxAge, s.HeldMaxAge)
	if p.HeldMax < 0 {
		c.fault(path+".breaker.held_max", "is negative")
	}
	if p.HeldMaxAge < 0 {
		c.fault(path+".breaker.held_max_age", "is negative")
	}
	c.join(path, b.Validate())
	p.Breaker = b
	key := s.Key
	if key == "" {
		key = "{subject}"
	}
	p.Key = c.template(path+".breaker.key", key)
}

func (c *compiler) deliver(path string, s schemas.DeliverSpec) Deliver {
	d := Deliver{Mode: s.Mode, Timeout: 30 * time.Second}
	switch d.Mode {
	case "":
		d.Mode = schemas.DeliverStream
	case schemas.DeliverStream, schemas.DeliverCore, schemas.DeliverRequest:
	default:
		c.fault(path+".mode", "%q is none of stream, core, request", s.Mode)
	}
	setDuration(&d.Timeout, s.Timeout)
	if d.Timeout < time.Millisecond || d.Timeout > time.Minute {
		c.fault(path+".timeout", "%s is not between 1ms and 1m", d.Timeout)
	}
	to := s.To
	if to == "" {
		to = "{subject}"
	}
	d.To = c.template(path+".to", to)
	if d.To.literal() {
		if err := c.subjects.CheckTarget(to); err != nil {
			c.fault(path+".to", "%w", err)
		}
	}
	return d
}

func (c *compiler) template(path, s string) Template {
	t, err := ParseTemplate(s)
	if err != nil {
		c.fault(path, "%w", err)
	}
	return t
}
