package cli

import (
	"fmt"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// failure is a failure that somebody imagines.
type failure struct {
	Subject string            `json:"subject"`
	ID      string            `json:"id,omitempty"`
	Error   string            `json:"error,omitempty"`
	Code    string            `json:"code,omitempty"`
	Class   string            `json:"class,omitempty"`
	Attempt int               `json:"attempt,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
}

// verdict is what would happen to it.
type verdict struct {
	Subject    string   `json:"subject"`
	Policy     string   `json:"policy"`
	Class      string   `json:"class"`
	Attempt    int      `json:"attempt"`
	Max        int      `json:"max_attempts"`
	Action     string   `json:"action"` // retry, fallback, dead or discard
	Reason     string   `json:"reason,omitempty"`
	BreakerKey string   `json:"breaker_key"`
	Counts     bool     `json:"counts"` // for the breaker
	Target     string   `json:"target"`
	Mode       string   `json:"mode"`
	Fallback   []string `json:"fallback,omitempty"`
	Schedule   []delay  `json:"schedule,omitempty"` // of the retries that are left
}

// delay is the wait before an attempt.
type delay struct {
	Attempt  int              `json:"attempt"` // that it leads to
	Least    schemas.Duration `json:"least"`
	Most     schemas.Duration `json:"most"`
	Computed schemas.Duration `json:"computed,omitzero"` // for the id, if one was given
}

// What happens to a failure.
const (
	actionRetry    = "retry"
	actionFallback = "fallback"
	actionDead     = "dead"
	actionDiscard  = "discard"
)

func (a *App) policyExplain(file *string) *cobra.Command {
	var f failure
	var headers []string
	var asJSON bool
	c := &cobra.Command{
		Use:     "explain SUBJECT",
		Short:   "Say what would happen to a failure",
		Example: "  recoveryd policy explain payments.card --code 429 --attempt 2",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			f.Subject = args[0]
			if err := f.read(headers); err != nil {
				return &exit{code: exitUsage, err: err}
			}
			p, err := a.policies(*file)
			if err != nil {
				return err
			}
			v, err := judge(p, a.subjects(), f)
			if err != nil {
				return &exit{code: exitRefused, err: err}
			}
			if asJSON {
				return printJSON(a.Stdout, v)
			}
			return a.explain(v)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.Error, "error", "", "text of the error")
	flags.StringVar(&f.Code, "code", "", "code of the error, e.g. 429")
	flags.StringVar(&f.Class, "class", "", "class that the worker reports")
	flags.IntVar(&f.Attempt, "attempt", 1, "which attempt failed; the original is 1")
	flags.StringVar(&f.ID, "id", "", "id of the work, for its exact delays")
	flags.StringArrayVarP(&headers, "header", "H", nil, "header of the message, name:value")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (f *failure) read(headers []string) error {
	f.Headers = map[string]string{}
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return fmt.Errorf("--header %q: write it as name:value", h)
		}
		f.Headers[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return f.check()
}

func (f *failure) check() error {
	if f.Attempt < 0 {
		return fmt.Errorf("attempt %d is negative", f.Attempt)
	}
	f.Attempt = max(f.Attempt, 1)
	if f.Class != "" {
		if _, err := strategies.ParseClass(f.Class); err != nil {
			return err
		}
	}
	return nil
}

// header finds a header however its name is written.
func (f *failure) header(name string) string {
	for n, value := range f.Headers {
		if textproto.CanonicalMIMEHeaderKey(n) == textproto.CanonicalMIMEHeaderKey(name) {
			return value
		}
	}
	return ""
}

// judge says what the policies do with a failure. The error says why it is refused.
func judge(policies *handlers.Policies, subjects schemas.Subjects, f failure) (verdict, error) {
	if err := subjects.CheckTarget(f.Subject); err != nil {
		return verdict{}, fmt.Errorf("refused: %w", err)
	}
	p := policies.For(f.Subject)
	if p == nil {
		return verdict{}, fmt.Errorf("refused: no policy serves %q: add its subject to one", f.Subject)
	}
	w := schemas.Work{ID: f.ID, Subject: f.Subject, Attempt: f.Attempt}
	target := p.Target(&w)
	if err := subjects.CheckTarget(target); err != nil {
		return verdict{}, fmt.Errorf("refused: policy %q would deliver elsewhere: %w", p.Name, err)
	}
	class := p.Classify.Classify(strategies.Class(f.Class), f.Code, f.Error, f.header)
	v := verdict{
		Subject: f.Subject, Policy: p.Name, Class: string(class), Attempt: f.Attempt, Max: p.Retry.MaxAttempts,
		BreakerKey: p.BreakerKey(&w), Counts: class.Counts() && !p.Breaker.Disabled, Target: target, Mode: p.Deliver.Mode, Fallback: p.Fallback,
	}
	v.decide(p, f, class)
	return v, nil
}

func (v *verdict) decide(p *handlers.Policy, f failure, class strategies.Class) {
	d := p.Retry.Decide(strategies.Failure{ID: f.ID, Attempt: f.Attempt, Delivery: f.Attempt, Class: class})
	if d.Retry {
		v.Action = actionRetry
		v.Schedule = schedule(p.Retry, f.ID, f.Attempt, class)
		return
	}
	v.Reason = d.Reason
	for _, c := range p.Discard {
		if c == class {
			v.Action = actionDiscard
			return
		}
	}
	if v.Action = actionDead; len(p.Fallback) > 0 {
		v.Action = actionFallback
	}
}

// shownRetries bounds what is listed of a long schedule.
const shownRetries = 50

func schedule(r strategies.Retry, id string, attempt int, class strategies.Class) []delay {
	if class == strategies.ClassThrottled {
		r.InitialDelay = max(r.InitialDelay, r.ThrottledDelay)
		r.MaxDelay = max(r.MaxDelay, r.ThrottledDelay)
	}
	plain := r
	plain.Jitter = strategies.JitterNone
	var all []delay
	for ; attempt < r.MaxAttempts && len(all) < shownRetries; attempt++ {
		least, most := bounds(r.Jitter, plain.Delay("", attempt))
		d := delay{Attempt: attempt + 1, Least: schemas.Duration(least), Most: schemas.Duration(most)}
		if id != "" {
			d.Computed = schemas.Duration(r.Delay(id, attempt))
		}
		all = append(all, d)
	}
	return all
}

// bounds are the least and the most that jitter makes of a delay.
func bounds(j strategies.Jitter, d time.Duration) (least, most time.Duration) {
	switch j {
	case strategies.JitterProportional:
		return d / 2, d + d/2
	case strategies.JitterFull:
		return 0, d
	case strategies.JitterEqual:
		return d / 2, d
	}
	return d, d
}

func (a *App) explain(v verdict) error {
	counts := "counts for it"
	if !v.Counts {
		counts = "does not count for it"
	}
	next := v.Action
	switch v.Action {
	case actionRetry:
		next = fmt.Sprintf("retry as attempt %d of %d", v.Schedule[0].Attempt, v.Max)
	case actionFallback:
		next = "fallback to " + v.Fallback[0] + ", because " + v.Reason
	case actionDead, actionDiscard:
		next += ", because " + v.Reason
	}
	rows := [][]string{
		{"subject", v.Subject}, {"policy", v.Policy}, {"class", v.Class}, {"breaker", v.BreakerKey + ", " + counts},
		{"next", next}, {"sent to", v.Target + " (" + v.Mode + ")"},
	}
	if len(v.Fallback) > 0 {
		rows = append(rows, []string{"fallback", strings.Join(v.Fallback, ", ")})
	}
	if err := table(a.Stdout, rows...); err != nil || len(v.Schedule) == 0 {
		return err
	}
	rows = [][]string{{"ATTEMPT", "AFTER AT LEAST", "AT MOST"}}
	if v.Schedule[0].Computed > 0 {
		rows[0] = append(rows[0], "THIS ID")
	}
	for _, d := range v.Schedule {
		row := []string{strconv.Itoa(d.Attempt), d.Least.String(), d.Most.String()}
		if d.Computed > 0 {
			row = append(row, d.Computed.String())
		}
		rows = append(rows, row)
	}
	if more := v.Max - v.Schedule[len(v.Schedule)-1].Attempt; more > 0 {
		rows = append(rows, []string{fmt.Sprintf("and %d more", more)})
	}
	fmt.Fprintln(a.Stdout)
	return table(a.Stdout, rows...)
}
