package handlers

import (
	"slices"
	"testing"

	"github.com/recoveryd/recoveryd/schemas"
)

func TestPatternOfATemplate(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ template, subject, want string }{
		{"{subject}", "orders.>", "orders.>"},
		{"{subject}", ">", ">"},
		{"{subject}", "orders.new", "orders.new"},
		{"retry.{subject}", "orders.*", "retry.orders.*"},
		{"retry.{subject}", ">", "retry.>"},
		{"retry.{subject}.late", "orders.*.eu", "retry.orders.*.eu.late"},
		{"retry.{subject}.late", "orders.>", "retry.orders.>"},
		{"retry-{subject}", "orders.>", "retry-orders.>"},
		{"retry-{subject}", "*.new", "*.new"},
		{"{2}.retry", "orders.*", "*.retry"},
		{"{2}.retry", "orders.>", "*.retry"},
		{"{1}.retry", "orders.>", "orders.retry"},
		{"{4}.retry", "orders.>", "*.retry"},
		{"x-{2}.retry", "orders.*", "*.retry"},
		{"x-{2}.retry", "orders.new", "x-new.retry"},
		{"{3}.retry", "orders.*", ""},
		{"x{3}.retry", "orders.*", "x.retry"},
		{"by.{policy}.{1}", "orders.>", "by.shop.orders"},
		{"from.{stream}", "orders.>", "from.>"},
		{"from.{stream}.x", "orders.>", "from.>"},
		{"from-{consumer}.x", "orders.>", ">"},
		{"fixed", "orders.>", "fixed"},
	} {
		template, err := ParseTemplate(test.template)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := template.Pattern(test.subject, "shop")
		if got != test.want || ok != (test.want != "") {
			t.Errorf("%s of %s: %q, %v, want %q", test.template, test.subject, got, ok, test.want)
		}
	}
}

// Whatever a template makes of a subject is matched by its pattern.
func TestPatternMatchesWhatIsExpanded(t *testing.T) {
	t.Parallel()
	patterns := []string{">", "orders.>", "*.new", "orders.*", "orders.new", "orders.*.eu", "*.*.>", "*"}
	subjects := []string{"orders", "orders.new", "orders.new.eu", "a.new", "a.b.c.d"}
	origins := []schemas.Origin{{Stream: "S", Consumer: "C"}, {Stream: "s.t", Consumer: "c.d.e"}}
	own := schemas.Subjects{Prefix: schemas.DefaultPrefix}
	n := 0
	for _, text := range []string{
		"{subject}", "x.{subject}", "{subject}.x", "x{subject}y", "{1}", "{2}.x", "x.{3}", "x{4}.y", "{stream}", "a.{consumer}.b", "a{stream}{2}b.{1}", "{policy}.{2}{3}", "fixed.to",
	} {
		template, err := ParseTemplate(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, pattern := range patterns {
			to, ok := template.Pattern(pattern, "shop")
			for _, subject := range subjects {
				if !schemas.Match(pattern, subject) {
					continue
				}
				for _, origin := range origins {
					target := template.Expand(&schemas.Work{Subject: subject, Origin: origin}, "shop")
					if own.CheckTarget(target) != nil {
						continue // never published to
					}
					n++
					if !ok || !schemas.Match(to, target) {
						t.Errorf("%s of %s is %q, but of %s it makes %s", text, pattern, to, subject, target)
					}
				}
			}
		}
	}
	if n < 200 {
		t.Errorf("only %d were compared", n)
	}
}

func TestTargetsOfPolicies(t *testing.T) {
	t.Parallel()
	p, err := CompilePolicies(schemas.PolicyDocument{Version: 1, Policies: []schemas.PolicySpec{
		{Name: "payments", Subjects: []string{"payments.>", "payments.card"}, Fallback: []string{"manual.payments", "payments.slow"},
			DeadLetter: &schemas.DeadLetterSpec{ReplayTo: []string{"fixed.*"}}},
		{Name: "mail", Subjects: []string{"mail.*"}, Deliver: schemas.DeliverSpec{Mode: schemas.DeliverRequest, To: "send.{2}"}, Fallback: []string{"manual.mail"}},
		{Name: "stock", Subjects: []string{"stock.*"}, SuccessEvidence: "ack", Ack: &schemas.AckSpec{Stream: "STOCK", Consumer: "book"}},
	}}, schemas.Subjects{Prefix: schemas.DefaultPrefix})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.Targets(), []string{"payments.>", "manual.payments", "fixed.*", "send.*", "manual.mail", "stock.*"}; !slices.Equal(got, want) {
		t.Errorf("targets %q, want %q", got, want)
	}
	if got, want := p.Asked(), []string{"send.*", "manual.mail"}; !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
	if got, want := p.Acks(), []schemas.AckSpec{{Stream: "STOCK", Consumer: "book"}}; !slices.Equal(got, want) {
		t.Errorf("acks %v, want %v", got, want)
	}
	if got := DefaultPolicies().Targets(); !slices.Equal(got, []string{">"}) {
		t.Errorf("the built-in policy sends to %q", got)
	}
}

func TestMustStore(t *testing.T) {
	t.Parallel()
	compiled := compile(schemas.PolicyDocument{Version: 1, Policies: []schemas.PolicySpec{
		{Name: "orders", Subjects: []string{"orders.>", "bills.*"}, Fallback: []string{"manual.orders"}},
		{Name: "fixed", Subjects: []string{"b.>"}, Deliver: schemas.DeliverSpec{To: "retry.all"}},
		{Name: "made", Subjects: []string{"c.>"}, Deliver: schemas.DeliverSpec{To: "{subject}.retry"}},
		{Name: "core", Subjects: []string{"d.>"}, Deliver: schemas.DeliverSpec{Mode: schemas.DeliverCore}},
		{Name: "rest", Subjects: []string{">"}},
	}})
	if got, want := compiled.MustStore(), []string{"bills.*", "manual.orders", "orders.>", "retry.all"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := DefaultPolicies().MustStore(); len(got) != 0 {
		t.Errorf("the built-in policy names %v", got)
	}
}
