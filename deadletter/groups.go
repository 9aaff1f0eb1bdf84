package deadletter

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// What letters are grouped by.
const (
	ByCause   = "cause"
	BySubject = "subject"
	ByBoth    = "both"
)

const (
	maxGroups       = 100_000 // that are counted; letters of any more make the result partial
	shownSubjects   = 10
	countedSubjects = 1_000 // of one cause; more are only counted
)

// Groups counts letters by cause, subject or both.
type Groups struct {
	by      string
	groups  map[groupKey]*group
	letters uint64
	partial bool
}

type groupKey struct{ cause, subject string }

type group struct {
	count       uint64
	subjects    map[string]uint64
	more        int
	first, last *seen
}

// seen is what is kept of a letter that was looked at.
type seen struct {
	at                           time.Time
	error, reason, class, policy string
}

// NewGroups counts by ByCause (also ""), BySubject or ByBoth.
func NewGroups(by string) (*Groups, error) {
	switch by {
	case "":
		by = ByCause
	case ByCause, BySubject, ByBoth:
	default:
		return nil, &schemas.FieldError{Path: "by", Err: fmt.Errorf("%q is none of cause, subject, both", clip(by))}
	}
	return &Groups{by: by, groups: map[groupKey]*group{}}, nil
}

func (g *Groups) key(cause, subject string) groupKey {
	switch g.by {
	case ByCause:
		subject = ""
	case BySubject:
		cause = ""
	}
	return groupKey{cause, subject}
}

// Count adds n letters with a cause that are filed under a subject.
func (g *Groups) Count(cause, subject string, n uint64) {
	g.letters += n
	k := g.key(cause, subject)
	each := g.groups[k]
	if each == nil {
		if len(g.groups) == maxGroups {
			g.partial = true
			return
		}
		each = &group{}
		g.groups[k] = each
	}
	each.count += n
	if g.by == ByCause {
		each.countSubject(subject, n)
	}
}

func (g *group) countSubject(subject string, n uint64) {
	if g.subjects == nil {
		g.subjects = map[string]uint64{}
	}
	if _, ok := g.subjects[subject]; !ok && len(g.subjects) == countedSubjects {
		g.more++
		return
	}
	g.subjects[subject] += n
}

// Add counts a letter that was looked at; letters come in their order.
func (g *Groups) Add(l *Letter) {
	g.Count(l.Cause, l.Filed, 1)
	g.See(l.Cause, l.Filed, l)
}

// See describes the group of a cause and a subject by one of its letters: the first that is
// seen is taken for its first, every later one for its last.
func (g *Groups) See(cause, subject string, l *Letter) {
	each := g.groups[g.key(cause, subject)]
	if each == nil {
		return
	}
	each.last = &seen{at: l.At(), error: l.Error, reason: l.Reason, class: l.Class, policy: l.Policy}
	if each.first == nil {
		each.first = each.last
	}
}

// Interrupt notes that not everything was counted.
func (g *Groups) Interrupt() { g.partial = true }

// page is the keys of the groups from offset on, the largest first, at most limit.
func (g *Groups) page(offset, limit int) []groupKey {
	keys := make([]groupKey, 0, len(g.groups))
	for k := range g.groups {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b groupKey) int {
		return cmp.Or(cmp.Compare(g.groups[b].count, g.groups[a].count), cmp.Compare(a.cause, b.cause), cmp.Compare(a.subject, b.subject))
	})
	keys = keys[min(offset, len(keys)):]
	return keys[:min(limit, len(keys))]
}

// Each names the groups that Reply lists; what they are not grouped by is "".
func (g *Groups) Each(offset, limit int, do func(cause, subject string)) {
	for _, k := range g.page(offset, limit) {
		do(k.cause, k.subject)
	}
}

// Reply lists the groups from offset on, the largest first, at most limit.
func (g *Groups) Reply(offset, limit int) schemas.DeadGroupsReply {
	r := schemas.DeadGroupsReply{Groups: []schemas.DeadGroup{}, TotalGroups: len(g.groups), TotalLetters: g.letters, Partial: g.partial}
	for _, k := range g.page(offset, limit) {
		r.Groups = append(r.Groups, g.groups[k].describe(k))
	}
	return r
}

func (g *group) describe(k groupKey) schemas.DeadGroup {
	d := schemas.DeadGroup{Cause: k.cause, Subject: k.subject, Count: g.count, Subjects: top(g.subjects)}
	d.More = len(g.subjects) - len(d.Subjects) + g.more
	if g.first == nil {
		return d
	}
	d.FirstAt, d.LastAt, d.Error = absolute(g.first.at), absolute(g.last.at), g.last.error
	if k.cause != "" {
		d.Reason = g.last.reason
	}
	d.Classes, d.Policies = either(g.first.class, g.last.class), either(g.first.policy, g.last.policy)
	return d
}

func either(a, b string) []string {
	both := slices.DeleteFunc([]string{a, b}, func(s string) bool { return s == "" })
	slices.Sort(both)
	return slices.Compact(both)
}

func top(counts map[string]uint64) []schemas.SubjectCount {
	list := make([]schemas.SubjectCount, 0, len(counts))
	for subject, n := range counts {
		list = append(list, schemas.SubjectCount{Subject: subject, Count: n})
	}
	slices.SortFunc(list, func(a, b schemas.SubjectCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Subject, b.Subject))
	})
	return list[:min(shownSubjects, len(list))]
}
