package deadletter

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

var (
	names  = schemas.Subjects{Prefix: schemas.DefaultPrefix}
	midday = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
)

// letterOf is a letter as the store would return it.
func letterOf(sequence uint64, change ...func(*schemas.DeadLetter)) Letter {
	d := schemas.DeadLetter{
		Work: schemas.Work{
			ID: "id-1", Subject: "orders.new", Attempt: 3, Delivery: 3, Fallback: schemas.NoFallback, FirstFailedAt: midday, LastFailedAt: midday,
			Error: "Connection refused", Code: "503", Class: schemas.ClassTransient, Header: schemas.Header{"Tenant": {"a", "b"}}, Body: []byte(`{"n":1}`),
		},
		Reason: schemas.ReasonExhausted, Policy: "default", DeadAt: midday,
	}
	for _, f := range change {
		f(&d)
	}
	d.Cause = Cause(d.Reason, d.Error)
	return Read(schemas.Stored{Message: names.DeadLetterMessage(&d), Sequence: sequence, Time: midday}, names)
}

func TestFilterSelects(t *testing.T) {
	t.Parallel()
	l := letterOf(7)
	none, one := 0, 1
	for name, c := range map[string]struct {
		filter schemas.DeadFilter
		want   bool
	}{
		"everything":          {schemas.DeadFilter{}, true},
		"subject":             {schemas.DeadFilter{Subject: "orders.*"}, true},
		"other subject":       {schemas.DeadFilter{Subject: "orders.*.x"}, false},
		"cause":               {schemas.DeadFilter{Causes: []string{"00000000", l.Cause}}, true},
		"other cause":         {schemas.DeadFilter{Causes: []string{"00000000"}}, false},
		"reason":              {schemas.DeadFilter{Reasons: []string{"permanent", "exhausted"}}, true},
		"other reason":        {schemas.DeadFilter{Reasons: []string{"permanent"}}, false},
		"class":               {schemas.DeadFilter{Classes: []string{"transient"}}, true},
		"code":                {schemas.DeadFilter{Codes: []string{"503"}}, true},
		"other code":          {schemas.DeadFilter{Codes: []string{"50"}}, false},
		"policy":              {schemas.DeadFilter{Policies: []string{"default"}}, true},
		"at its very time":    {schemas.DeadFilter{Since: "2026-05-01T12:00:00Z"}, true},
		"since later":         {schemas.DeadFilter{Since: "30m"}, false},
		"until then":          {schemas.DeadFilter{Until: "2026-05-01T12:00:00Z"}, false},
		"until later":         {schemas.DeadFilter{Since: "2h", Until: "30m"}, true},
		"header":              {schemas.DeadFilter{Headers: map[string]string{"Tenant": "b"}}, true},
		"header of any value": {schemas.DeadFilter{Headers: map[string]string{"Tenant": ""}}, true},
		"other value":         {schemas.DeadFilter{Headers: map[string]string{"Tenant": "c"}}, false},
		"no such header":      {schemas.DeadFilter{Headers: map[string]string{"tenant": ""}}, false},
		"attempts":            {schemas.DeadFilter{MinAttempts: 3, MaxAttempts: 3}, true},
		"more attempts":       {schemas.DeadFilter{MinAttempts: 4}, false},
		"fewer attempts":      {schemas.DeadFilter{MaxAttempts: 2}, false},
		"never replayed":      {schemas.DeadFilter{MaxReplays: &none}, true},
		"replayed":            {schemas.DeadFilter{MinReplays: 1, MaxReplays: &one}, false},
		"id":                  {schemas.DeadFilter{IDs: []string{"x", "id-1"}}, true},
		"other id":            {schemas.DeadFilter{IDs: []string{"x"}}, false},
		"sequence":            {schemas.DeadFilter{Sequences: []uint64{9, 7}}, true},
		"other sequence":      {schemas.DeadFilter{Sequences: []uint64{8}}, false},
		"text in any case":    {schemas.DeadFilter{Error: "connection REF"}, true},
		"other text":          {schemas.DeadFilter{Error: "reset"}, false},
		"up to it":            {schemas.DeadFilter{LastSequence: 7}, true},
		"up to before it":     {schemas.DeadFilter{LastSequence: 6}, false},
		"one of two wrong":    {schemas.DeadFilter{Codes: []string{"503"}, Policies: []string{"x"}}, false},
	} {
		f, err := CompileFilter(c.filter, midday.Add(time.Hour))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := f.Match(&l); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestFilterNamesEveryFault(t *testing.T) {
	t.Parallel()
	_, err := CompileFilter(schemas.DeadFilter{
		Subject: "a..b", Causes: []string{"deadbeef", "DEADBEEF"}, Reasons: []string{"x"}, Classes: []string{"y"}, Since: "soon", MinAttempts: 3, MaxAttempts: 2,
		IDs: []string{"has space"}, Codes: make([]string, maxListed+1),
	}, midday)
	for _, field := range []string{"subject", "causes[1]", "reasons[0]", "classes[0]", "since", "max_attempts", "ids[0]", "codes"} {
		found := false
		for _, fault := range schemas.FieldErrors(err) {
			found = found || fault.Path == "filter."+field
		}
		if !found {
			t.Errorf("no fault of filter.%s in %v", field, err)
		}
	}
}

// A relative time is resolved once: the filter of a job does not drift while the job runs.
func TestFilterIsFrozen(t *testing.T) {
	t.Parallel()
	f, err := CompileFilter(schemas.DeadFilter{Since: "1h"}, midday)
	if err != nil || f.Spec().Since != "2026-05-01T11:00:00Z" {
		t.Fatalf("%+v, %v", f.Spec(), err)
	}
	again, err := CompileFilter(f.Spec(), midday.Add(24*time.Hour))
	if err != nil || again.Spec().Since != f.Spec().Since {
		t.Errorf("%+v, %v", again.Spec(), err)
	}
}

func TestFilterTellsTheServer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		filter           schemas.DeadFilter
		pattern          string
		bySubject, exact bool
	}{
		{schemas.DeadFilter{}, "recovery.dead.*.>", true, true},
		{schemas.DeadFilter{Causes: []string{"0000000a"}, Subject: "a.*"}, "recovery.dead.0000000a.a.*", true, true},
		{schemas.DeadFilter{Causes: []string{"0000000a", "0000000b"}}, "recovery.dead.*.>", true, false},
		{schemas.DeadFilter{Error: "x"}, "recovery.dead.*.>", false, false},
		{schemas.DeadFilter{Since: "1h", Subject: ">"}, "recovery.dead.*.>", false, false},
	} {
		f, err := CompileFilter(c.filter, midday)
		if err != nil || f.Pattern(names) != c.pattern || f.BySubject() != c.bySubject || f.Exact() != c.exact {
			t.Errorf("%+v: %s %v %v, %v", c.filter, f.Pattern(names), f.BySubject(), f.Exact(), err)
		}
	}
	f, err := CompileFilter(schemas.DeadFilter{Sequences: []uint64{9, 3, 3}}, midday)
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range map[uint64]uint64{1: 3, 3: 3, 4: 9, 10: 0} {
		if got, ok := f.After(from); got != want || ok != (want > 0) {
			t.Errorf("after %d comes %d, %v", from, got, ok)
		}
	}
}

func TestGroupsFold(t *testing.T) {
	t.Parallel()
	for by, want := range map[string]int{ByCause: 2, BySubject: 3, ByBoth: 4} {
		g, err := NewGroups(by)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range []struct{ subject, text string }{
			{"a", "refused"}, {"b", "refused"}, {"a", "reset"}, {"a", "refused"}, {"c", "refused"},
		} {
			l := letterOf(uint64(i+1), func(d *schemas.DeadLetter) {
				d.Subject, d.Error, d.DeadAt, d.Class = c.subject, c.text, midday.Add(time.Duration(i)*time.Minute), classes[i%2]
			})
			g.Add(&l)
		}
		r := g.Reply(0, 10)
		if len(r.Groups) != want || r.TotalLetters != 5 || r.TotalGroups != want {
			t.Errorf("by %s: %+v", by, r)
		}
		if by == ByCause {
			first := r.Groups[0]
			if first.Count != 4 || first.FirstAt != "2026-05-01T12:00:00Z" || first.LastAt != "2026-05-01T12:04:00Z" || len(first.Subjects) != 3 || first.Subjects[0].Subject != "a" {
				t.Errorf("group %+v", first)
			}
		}
		if page := g.Reply(1, 1); len(page.Groups) != 1 || page.TotalGroups != want {
			t.Errorf("page %+v", page)
		}
	}
	if _, err := NewGroups("colour"); err == nil || !strings.HasPrefix(err.Error(), "by: ") {
		t.Errorf("grouped by colour: %v", err)
	}
}

func TestLettersThatCannotBeRead(t *testing.T) {
	t.Parallel()
	l := Read(schemas.Stored{Message: schemas.Message{Subject: "recovery.dead.0000000a._refused.x", Header: schemas.Header{"A": {"b"}}}, Sequence: 1, Time: midday}, names)
	if l.Fault == nil || l.Cause != "0000000a" || l.Filed != "_refused.x" || !l.At().Equal(midday) {
		t.Errorf("letter %+v", l)
	}
	f, err := CompileFilter(schemas.DeadFilter{Subject: "_refused.>"}, midday)
	if err != nil || !f.Match(&l) {
		t.Errorf("a letter that cannot be read is not found by its place: %v", errors.Join(err, l.Fault))
	}
}
