package policyfile

import (
	"fmt"
	"strings"

	"github.com/recoveryd/recoveryd/handlers"
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
			if covers(wider, pattern) {
				return policy.Name
			}
		}
	}
	return ""
}

// covers says whether every subject that matches pattern matches wider too.
func covers(wider, pattern string) bool {
	for {
		w, wRest, wMore := strings.Cut(wider, ".")
		p, pRest, pMore := strings.Cut(pattern, ".")
		switch {
		case w == ">":
			return true
		case p == ">", wMore != pMore, w != "*" && w != p:
			return false
		case !wMore:
			return true
		}
		wider, pattern = wRest, pRest
	}
}
