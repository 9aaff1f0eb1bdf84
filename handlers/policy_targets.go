package handlers

import (
	"maps"
	"slices"
	"strings"

	"github.com/recoveryd/recoveryd/schemas"
)

// Targets are patterns of every subject that the policies may send work to: by delivery, to
// fallbacks, and by replays. None of them is covered by another.
func (p *Policies) Targets() []string {
	var all []string
	for _, policy := range p.list {
		all = append(all, policy.delivers()...)
		all = append(all, policy.ReplayTo...)
	}
	return widest(all)
}

// MustStore lists the subjects and patterns that a stream must store, or what the policies
// deliver there is undeliverable. What only a message tells, and a policy for everything,
// names none.
func (p *Policies) MustStore() []string {
	all := map[string]bool{}
	for _, policy := range p.list {
		if policy.Deliver.Mode != schemas.DeliverStream {
			continue
		}
		switch to := policy.Deliver.To; {
		case to.literal():
			all[to.Expand(&schemas.Work{}, policy.Name)] = true
		case to.isSubject():
			for _, pattern := range policy.Subjects {
				all[pattern] = pattern != ">"
			}
		}
		for _, subject := range policy.Fallback {
			all[subject] = true
		}
	}
	maps.DeleteFunc(all, func(_ string, named bool) bool { return !named })
	return slices.Sorted(maps.Keys(all))
}

// Asked are patterns of the subjects that the policies send requests to.
func (p *Policies) Asked() []string {
	var all []string
	for _, policy := range p.list {
		if policy.Deliver.Mode == schemas.DeliverRequest {
			all = append(all, policy.delivers()...)
		}
	}
	return widest(all)
}

// Acks are the consumers whose acknowledgements are the evidence of some policy.
func (p *Policies) Acks() (all []schemas.AckSpec) {
	for _, policy := range p.list {
		if policy.Ack != nil && !slices.Contains(all, *policy.Ack) {
			all = append(all, *policy.Ack)
		}
	}
	return all
}

func (p *Policy) delivers() (all []string) {
	for _, pattern := range p.Subjects {
		if to, ok := p.Deliver.To.Pattern(pattern, p.Name); ok {
			all = append(all, to)
		}
	}
	return append(all, p.Fallback...)
}

func widest(patterns []string) (kept []string) {
	for i, pattern := range patterns {
		covered := slices.ContainsFunc(patterns, func(other string) bool { return other != pattern && schemas.Covers(other, pattern) })
		if !covered && !slices.Contains(patterns[:i], pattern) {
			kept = append(kept, pattern)
		}
	}
	return kept
}

// Pattern matches whatever Expand makes of subjects that match a pattern. It is false if
// that is never a subject. It may match more: a wildcard stands for whole tokens only, and
// nobody knows how many of them a stream or a consumer will have.
func (t Template) Pattern(subject, policy string) (string, bool) {
	var b strings.Builder
	for _, p := range t.parts {
		switch {
		case !p.hole:
			b.WriteString(p.text)
		case p.token > 0:
			b.WriteString(tokenPattern(subject, p.token))
		case p.text == "subject":
			b.WriteString(subject)
		case p.text == "policy":
			b.WriteString(policy)
		default:
			b.WriteString(">")
		}
	}
	tokens := strings.Split(b.String(), ".")
	for i, token := range tokens {
		switch {
		case token == "":
			return "", false
		case strings.Contains(token, ">"):
			return strings.Join(append(tokens[:i], ">"), "."), true
		case strings.Contains(token, "*"):
			tokens[i] = "*"
		}
	}
	return strings.Join(tokens, "."), true
}

// tokenPattern is the n-th token of what a pattern matches, from 1; "" if it has none.
func tokenPattern(pattern string, n int) string {
	tokens := strings.Split(pattern, ".")
	switch last := len(tokens); {
	case n < last || n == last && tokens[last-1] != ">":
		return tokens[n-1]
	case tokens[last-1] == ">":
		return "*"
	}
	return ""
}
