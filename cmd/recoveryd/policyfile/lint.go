package policyfile

import (
	"fmt"

	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

// Warnings tells what is allowed but probably not meant: subjects that no failure can
// reach because an earlier policy serves them all.
func Warnings(p *handlers.Policies) []string {
	var warnings []string
	all := p.All()
	for i, policy := range all {
		for _, pattern := range policy.Subjects {
			if name := covering(pattern, all[:i]); name != "" {
				warnings = append(warnings, fmt.Sprintf("policy %q never serves %q: policy %q stands before it and serves all of it", policy.Name, pattern, name))
			}
		}
	}
	return warnings
}

func covering(pattern string, before []*handlers.Policy) string {
	for _, policy := range before {
		for _, wider := range policy.Subjects {
			if schemas.Covers(wider, pattern) {
				return policy.Name
			}
		}
	}
	return ""
}
