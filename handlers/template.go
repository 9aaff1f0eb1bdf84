package handlers

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/recoveryd/recoveryd/schemas"
)

// Template makes a text from the subject and origin of failed work. Placeholders:
// {subject}, {1} to {64} (a token of the subject), {stream}, {consumer}, {policy}.
type Template struct{ parts []part }

type part struct {
	text  string // literal, or the placeholder's name
	token int    // of a subject, from 1; 0 = not a token
	hole  bool
}

// ParseTemplate reads a template; the error names the placeholder.
func ParseTemplate(s string) (Template, error) {
	var t Template
	for s != "" {
		open := strings.IndexAny(s, "{}")
		if open < 0 {
			t.parts = append(t.parts, part{text: s})
			break
		}
		if open > 0 {
			t.parts = append(t.parts, part{text: s[:open]})
		}
		end := strings.IndexByte(s[open:], '}')
		if s[open] == '}' || end < 0 {
			return t, fmt.Errorf("%q has a brace without its partner", s)
		}
		hole := s[open+1 : open+end]
		p := part{text: hole, hole: true}
		switch hole {
		case "subject", "stream", "consumer", "policy":
		default:
			n, err := strconv.Atoi(hole)
			if err != nil || n < 1 || n > 64 {
				return t, fmt.Errorf("{%s} is none of {subject}, {1} to {64}, {stream}, {consumer}, {policy}", hole)
			}
			p.token = n
		}
		t.parts = append(t.parts, p)
		s = s[open+end+1:]
	}
	if len(t.parts) == 0 {
		return t, errors.New("is empty")
	}
	return t, nil
}

// Expand fills the placeholders. A token that the subject does not have is empty.
func (t Template) Expand(w *schemas.Work, policy string) string {
	if t.isSubject() {
		return w.Subject
	}
	var b strings.Builder
	for _, p := range t.parts {
		switch {
		case !p.hole:
			b.WriteString(p.text)
		case p.token > 0:
			b.WriteString(token(w.Subject, p.token))
		case p.text == "subject":
			b.WriteString(w.Subject)
		case p.text == "stream":
			b.WriteString(w.Origin.Stream)
		case p.text == "consumer":
			b.WriteString(w.Origin.Consumer)
		case p.text == "policy":
			b.WriteString(policy)
		}
	}
	return b.String()
}

// isSubject says whether it is nothing but {subject}.
func (t Template) isSubject() bool {
	return len(t.parts) == 1 && t.parts[0].hole && t.parts[0].text == "subject"
}

func (t Template) literal() bool {
	return !slices.ContainsFunc(t.parts, func(p part) bool { return p.hole })
}

// token is the n-th token of a subject, from 1.
func token(subject string, n int) string {
	for ; n > 1; n-- {
		_, rest, ok := strings.Cut(subject, ".")
		if !ok {
			return ""
		}
		subject = rest
	}
	first, _, _ := strings.Cut(subject, ".")
	return first
}
