package strategies

import (
	"regexp"
	"slices"
)

// Rule gives a class to the failures that match all of its given parts. A rule without any part matches everything.
type Rule struct {
	Codes  []string       // one of these codes, exactly
	Error  *regexp.Regexp // found in the error text
	Header string         // this header is present and not empty
	Value  *regexp.Regexp // found in that header
	Class  Class
}

// Classifier holds the rules of one policy in order.
type Classifier []Rule

// Classify returns the class of the first rule that matches, else the reported class, else transient.
// A nil header function means that there are no headers.
func (c Classifier) Classify(reported Class, code, errText string, header func(name string) string) Class {
	for i := range c {
		if c[i].matches(code, errText, header) {
			return c[i].Class
		}
	}
	if reported == "" {
		return ClassTransient
	}
	return reported
}

func (r *Rule) matches(code, errText string, header func(string) string) bool {
	if len(r.Codes) > 0 && !slices.Contains(r.Codes, code) {
		return false
	}
	if r.Error != nil && !r.Error.MatchString(errText) {
		return false
	}
	return r.Header == "" || r.matchesHeader(header)
}

func (r *Rule) matchesHeader(header func(string) string) bool {
	if header == nil {
		return false
	}
	value := header(r.Header)
	return value != "" && (r.Value == nil || r.Value.MatchString(value))
}
