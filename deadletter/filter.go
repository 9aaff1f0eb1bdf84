package deadletter

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// maxListed bounds each list of a filter.
const maxListed = 1000

// Filter selects letters. It never changes.
type Filter struct {
	spec         schemas.DeadFilter // with absolute times
	since, until time.Time
	error        string // in lower case
	ids          map[string]bool
}

var causePattern = regexp.MustCompile(`^[0-9a-f]{8}$`)

// CompileFilter checks a filter and resolves times that count from now. The error joins a
// *schemas.FieldError for every fault.
func CompileFilter(spec schemas.DeadFilter, now time.Time) (*Filter, error) {
	var faults []error
	bad := func(path, format string, args ...any) {
		faults = append(faults, &schemas.FieldError{Path: "filter." + path, Err: fmt.Errorf(format, args...)})
	}
	spec.Sequences = slices.Compact(slices.Sorted(slices.Values(spec.Sequences)))
	f := &Filter{error: strings.ToLower(spec.Error), ids: map[string]bool{}}
	if spec.Subject != "" {
		if err := schemas.CheckPattern(spec.Subject); err != nil {
			bad("subject", "%w", err)
		}
	}
	for i, cause := range spec.Causes {
		if !causePattern.MatchString(cause) {
			bad(fmt.Sprintf("causes[%d]", i), "%q is no cause: 8 hex digits, as dlq groups shows", cause)
		}
	}
	for i, reason := range spec.Reasons {
		if !slices.Contains(schemas.Reasons[:], reason) {
			bad(fmt.Sprintf("reasons[%d]", i), "%q is none of %s", reason, strings.Join(schemas.Reasons[:], ", "))
		}
	}
	for i, class := range spec.Classes {
		if !slices.Contains(classes[:], class) {
			bad(fmt.Sprintf("classes[%d]", i), "%q is none of %s", class, strings.Join(classes[:], ", "))
		}
	}
	for i, id := range spec.IDs {
		if !schemas.CheckID(id) {
			bad(fmt.Sprintf("ids[%d]", i), "%q is no id", clip(id))
		}
		f.ids[id] = true
	}
	for name, n := range map[string]int{
		"causes": len(spec.Causes), "codes": len(spec.Codes), "policies": len(spec.Policies), "headers": len(spec.Headers),
		"ids": len(spec.IDs), "sequences": len(spec.Sequences),
	} {
		if n > maxListed {
			bad(name, "holds %d values, at most %d are taken", n, maxListed)
		}
	}
	if spec.MinAttempts < 0 || spec.MaxAttempts < 0 || spec.MaxAttempts > 0 && spec.MaxAttempts < spec.MinAttempts {
		bad("max_attempts", "%d to %d is no range of attempts", spec.MinAttempts, spec.MaxAttempts)
	}
	if spec.MinReplays < 0 || spec.MaxReplays != nil && *spec.MaxReplays < spec.MinReplays {
		bad("min_replays", "%d is negative or more than max_replays", spec.MinReplays)
	}
	var err error
	if f.since, err = moment(spec.Since, now); err != nil {
		bad("since", "%w", err)
	}
	if f.until, err = moment(spec.Until, now); err != nil {
		bad("until", "%w", err)
	}
	if !f.until.IsZero() && !f.since.Before(f.until) {
		bad("until", "%s is not after since", spec.Until)
	}
	spec.Since, spec.Until = absolute(f.since), absolute(f.until)
	f.spec = spec
	return f, errors.Join(faults...)
}

var classes = [...]string{schemas.ClassTransient, schemas.ClassThrottled, schemas.ClassTimeout, schemas.ClassPermanent, schemas.ClassIgnored}

func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	d, err := schemas.ParseDuration(text)
	if err != nil || d < 0 {
		return time.Time{}, fmt.Errorf("%q is neither an RFC 3339 time nor a duration like 24h", clip(text))
	}
	return now.Add(-time.Duration(d)), nil
}

func absolute(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Spec is the filter as it was given, its times absolute.
func (f *Filter) Spec() schemas.DeadFilter { return f.spec }

// Pattern matches the subjects on which the store may hold letters that f selects.
func (f *Filter) Pattern(subjects schemas.Subjects) string {
	cause, subject := "*", f.spec.Subject
	if len(f.spec.Causes) == 1 {
		cause = f.spec.Causes[0]
	}
	if subject == "" {
		subject = ">"
	}
	return subjects.Dead(cause, subject)
}

// BySubject says whether a letter's cause and subject alone decide, besides LastSequence.
func (f *Filter) BySubject() bool {
	s := f.spec
	return len(s.Reasons)+len(s.Classes)+len(s.Codes)+len(s.Policies)+len(s.Headers)+len(s.IDs)+len(s.Sequences) == 0 &&
		s.Since == "" && s.Until == "" && s.MinAttempts == 0 && s.MaxAttempts == 0 && s.MinReplays == 0 && s.MaxReplays == nil && s.Error == ""
}

// Exact says whether the store holds only letters that f selects on its pattern, besides
// LastSequence.
func (f *Filter) Exact() bool { return f.BySubject() && len(f.spec.Causes) <= 1 }

// Files says whether letters with this cause that are filed under this subject may be
// selected.
func (f *Filter) Files(cause, filed string) bool {
	return listed(f.spec.Causes, cause) && (f.spec.Subject == "" || schemas.Match(f.spec.Subject, filed))
}

// Match says whether a letter is selected.
func (f *Filter) Match(l *Letter) bool {
	s, at := &f.spec, l.At()
	switch {
	case s.LastSequence > 0 && l.Stored.Sequence > s.LastSequence,
		!f.Files(l.Cause, l.Filed),
		!listed(s.Reasons, l.Reason), !listed(s.Classes, l.Class), !listed(s.Codes, l.Code), !listed(s.Policies, l.Policy),
		!f.since.IsZero() && at.Before(f.since), !f.until.IsZero() && !at.Before(f.until),
		l.Attempt < s.MinAttempts, s.MaxAttempts > 0 && l.Attempt > s.MaxAttempts,
		l.Replay < s.MinReplays, s.MaxReplays != nil && l.Replay > *s.MaxReplays,
		len(f.ids) > 0 && !f.ids[l.ID],
		!listed(s.Sequences, l.Stored.Sequence),
		f.error != "" && !strings.Contains(strings.ToLower(l.Error), f.error):
		return false
	}
	for name, want := range s.Headers {
		values, ok := l.Header[name]
		if !ok || want != "" && !slices.Contains(values, want) {
			return false
		}
	}
	return true
}

// After returns the first sequence at or after from at which a selected letter may be, and
// false if there is none.
func (f *Filter) After(from uint64) (uint64, bool) {
	if s := f.spec.Sequences; len(s) > 0 {
		i, _ := slices.BinarySearch(s, from)
		if i == len(s) {
			return 0, false
		}
		from = s[i]
	}
	return from, f.spec.LastSequence == 0 || from <= f.spec.LastSequence
}

// Picks says whether single letters were named by their sequence.
func (f *Filter) Picks() bool { return len(f.spec.Sequences) > 0 }

// listed says whether v is in the list, or the list is empty.
func listed[T comparable](list []T, v T) bool { return len(list) == 0 || slices.Contains(list, v) }
