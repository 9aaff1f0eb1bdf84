package handlers

import (
	"slices"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// Policy is a compiled policy: what happens to the failures of the subjects it serves.
type Policy struct {
	Name       string
	Subjects   []string
	Classify   strategies.Classifier
	Retry      strategies.Retry
	Breaker    strategies.BreakerConfig
	Key        Template
	HeldMax    int           // 0 = no limit
	HeldMaxAge time.Duration // 0 = no limit
	Deliver    Deliver
	Fallback   []string
	Outcomes   string
	Discard    []strategies.Class
	ReplayTo   []string
	AutoReplay *schemas.AutoReplaySpec
	Ack        *schemas.AckSpec
	Spec       schemas.PolicySpec
}

// Deliver says how and where work is sent again.
type Deliver struct {
	Mode    string
	To      Template
	Timeout time.Duration
}

// Policies is a compiled policy file; it never changes.
type Policies struct {
	list []*Policy
	doc  schemas.PolicyDocument
	hash string
}

// DefaultPolicies serves every subject with the defaults.
func DefaultPolicies() *Policies {
	p, err := CompilePolicies(schemas.PolicyDocument{
		Version:  1,
		Policies: []schemas.PolicySpec{{Name: "default", Subjects: []string{">"}}},
	}, schemas.Subjects{Prefix: schemas.DefaultPrefix})
	if err != nil {
		panic("the built-in policy does not compile: " + err.Error())
	}
	return p
}

// For is the first policy that serves a subject, nil if none does.
func (p *Policies) For(subject string) *Policy {
	for _, policy := range p.list {
		if policy.Serves(subject) {
			return policy
		}
	}
	return nil
}

// Named is the policy with a name, nil if there is none.
func (p *Policies) Named(name string) *Policy {
	for _, policy := range p.list {
		if policy.Name == name {
			return policy
		}
	}
	return nil
}

// All lists the policies in their order.
func (p *Policies) All() []*Policy { return p.list }

// Hash tells one set of policies from another; all replicas should show the same.
func (p *Policies) Hash() string { return p.hash }

// Document is what the policies were compiled from.
func (p *Policies) Document() schemas.PolicyDocument { return p.doc }

// Serves says whether a subject is the policy's, if no policy before it serves it.
func (p *Policy) Serves(subject string) bool {
	for _, pattern := range p.Subjects {
		if schemas.Match(pattern, subject) {
			return true
		}
	}
	return false
}

// Target is the subject that work is sent to again.
func (p *Policy) Target(w *schemas.Work) string { return p.Deliver.To.Expand(w, p.Name) }

// BreakerKey is the key of the breaker that counts the work's failures.
func (p *Policy) BreakerKey(w *schemas.Work) string { return p.Key.Expand(w, p.Name) }

// MayReplayTo says whether a replay may go to another subject than the letter's own.
func (p *Policy) MayReplayTo(subject string) bool {
	return slices.ContainsFunc(p.ReplayTo, func(pattern string) bool { return schemas.Match(pattern, subject) })
}
