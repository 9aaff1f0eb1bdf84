package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/policyfile"
	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

// testFile is a list of failures and of what a policy must do with them.
type testFile struct {
	Cases []testCase `json:"cases"`
}

type testCase struct {
	Name   string  `json:"name"`
	Given  failure `json:"given"`
	Expect expect  `json:"expect"`
}

// expect is what must come out; empty fields are not compared.
type expect struct {
	Refused    bool              `json:"refused,omitempty"`
	Policy     string            `json:"policy,omitempty"`
	Class      string            `json:"class,omitempty"`
	Action     string            `json:"action,omitempty"`
	Reason     string            `json:"reason,omitempty"`
	BreakerKey string            `json:"breaker_key,omitempty"`
	Target     string            `json:"target,omitempty"`
	DelayLeast *schemas.Duration `json:"delay_least,omitempty"` // no delay of the next retry is shorter
	DelayMost  *schemas.Duration `json:"delay_most,omitempty"`  // nor longer
}

// testResult is how one case went.
type testResult struct {
	Name   string   `json:"name"`
	OK     bool     `json:"ok"`
	Faults []string `json:"faults,omitempty"`
}

func (a *App) policyTest(file *string) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "test CASES",
		Short: "Hold the policies against examples of failures",
		Long: `Hold the policies against a YAML file of cases:

  cases:
    - name: a full queue waits
      given:  {subject: payments.card, code: "429", attempt: 1}
      expect: {policy: payments, class: throttled, action: retry, delay_least: 2s, delay_most: 10s}

given takes subject, id, error, code, class, attempt and headers; expect takes policy, class, action
(retry, fallback, dead, discard), reason, breaker_key, target, delay_least, delay_most and refused.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := a.policies(*file)
			if err != nil {
				return err
			}
			cases, err := readCases(args[0])
			if err != nil {
				return err
			}
			var results []testResult
			for _, c := range cases {
				results = append(results, c.run(p, a.subjects()))
			}
			return a.report(results, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func readCases(path string) ([]testCase, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &exit{code: exitUsage, err: err}
	}
	var file testFile
	if err := policyfile.Decode(path, data, &file); err != nil {
		return nil, &exit{code: exitUsage, err: fmt.Errorf("the file of cases has faults\n%s", excerpts(policyfile.Faults(err)))}
	}
	if len(file.Cases) == 0 {
		return nil, &exit{code: exitUsage, err: fmt.Errorf("%s: holds no cases", path)}
	}
	return file.Cases, nil
}

func (c *testCase) run(p *handlers.Policies, subjects schemas.Subjects) testResult {
	r := testResult{Name: c.Name}
	if err := c.Given.check(); err != nil {
		r.Faults = []string{"given: " + err.Error()}
		return r
	}
	v, err := judge(p, subjects, c.Given)
	switch {
	case err != nil && !c.Expect.Refused:
		r.Faults = []string{err.Error()}
	case err == nil && c.Expect.Refused:
		r.Faults = []string{fmt.Sprintf("served by policy %q, want refused", v.Policy)}
	case err == nil:
		r.Faults = c.Expect.compare(v)
	}
	r.OK = len(r.Faults) == 0
	return r
}

func (e expect) compare(v verdict) []string {
	var faults []string
	for _, f := range []struct{ name, got, want string }{
		{"policy", v.Policy, e.Policy}, {"class", v.Class, e.Class}, {"action", v.Action, e.Action}, {"reason", v.Reason, e.Reason},
		{"breaker_key", v.BreakerKey, e.BreakerKey}, {"target", v.Target, e.Target},
	} {
		if f.want != "" && f.got != f.want {
			faults = append(faults, fmt.Sprintf("%s is %q, want %q", f.name, f.got, f.want))
		}
	}
	if e.DelayLeast == nil && e.DelayMost == nil {
		return faults
	}
	if len(v.Schedule) == 0 {
		return append(faults, "there is no retry, so no delay")
	}
	if next := v.Schedule[0]; e.DelayLeast != nil && next.Least < *e.DelayLeast {
		faults = append(faults, fmt.Sprintf("the delay may be %s, want at least %s", next.Least, *e.DelayLeast))
	}
	if next := v.Schedule[0]; e.DelayMost != nil && next.Most > *e.DelayMost {
		faults = append(faults, fmt.Sprintf("the delay may be %s, want at most %s", next.Most, *e.DelayMost))
	}
	return faults
}

func (a *App) report(results []testResult, asJSON bool) error {
	failed := 0
	for _, r := range results {
		if !r.OK {
			failed++
		}
	}
	if asJSON {
		if err := printJSON(a.Stdout, results); err != nil {
			return err
		}
	} else {
		for _, r := range results {
			word := paint("ok    ", green, a.colour(a.Stdout))
			if !r.OK {
				word = paint("FAILED", red, a.colour(a.Stdout))
			}
			fmt.Fprintf(a.Stdout, "%s  %s\n", word, r.Name)
			for f := range slices.Values(r.Faults) {
				fmt.Fprintf(a.Stdout, "        %s\n", f)
			}
		}
	}
	if failed > 0 {
		return &exit{code: exitFailed, err: errors.New(counted(failed, "case", "cases") + " of " + fmt.Sprint(len(results)) + " failed")}
	}
	return nil
}
