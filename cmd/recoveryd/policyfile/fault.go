package policyfile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Fault is one thing that is wrong with a file, and where. Line and column count from 1,
// columns in characters; both are 0 if the fault is with the file as a whole.
type Fault struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path,omitempty"` // of the field, e.g. policies[0].retry.base
	Message string `json:"message"`
	Source  string `json:"source,omitempty"` // the line itself

	instead string // path of the field that was probably meant
}

// Error is the fault on one line, in the form that editors can jump to.
func (f *Fault) Error() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	}
	b.WriteString(": ")
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	b.WriteString(f.Message)
	return b.String()
}

// Excerpt is the line in question with a caret below the place, or "".
func (f *Fault) Excerpt() string {
	if f.Line == 0 || f.Source == "" {
		return ""
	}
	number := fmt.Sprintf("%5d", f.Line)
	before := []rune(f.Source)[:min(max(f.Column-1, 0), utf8.RuneCountInString(f.Source))]
	for i, r := range before {
		if r != '\t' {
			before[i] = ' ' // tabs stay, so that the caret stands below its character
		}
	}
	blank := strings.Repeat(" ", len(number))
	return fmt.Sprintf("%s | %s\n%s | %s^\n", number, f.Source, blank, string(before))
}

// Faults lists the faults joined or wrapped in err, in the order of the file.
func Faults(err error) []*Fault {
	switch e := err.(type) {
	case *Fault:
		return []*Fault{e}
	case interface{ Unwrap() []error }:
		var all []*Fault
		for _, each := range e.Unwrap() {
			all = append(all, Faults(each)...)
		}
		return all
	case interface{ Unwrap() error }:
		return Faults(e.Unwrap())
	}
	return nil
}

func join(faults []*Fault) error {
	slices.SortStableFunc(faults, func(a, b *Fault) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	all := make([]error, len(faults))
	for i, f := range faults {
		all[i] = f
	}
	return errors.Join(all...)
}
