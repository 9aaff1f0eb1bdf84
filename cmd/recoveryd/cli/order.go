package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

// order is a job that an operator asks for.
type order struct {
	resource, verb      string // of the API
	act                 string // in a question, e.g. Replay
	request             schemas.JobRequest
	yes, follow, asJSON bool
	sampled             bool // the difference was shown already
}

func (o *order) flags(f *pflag.FlagSet) {
	f.StringVar(&o.request.Reason, "reason", "", "why, for those who look at it later")
	f.BoolVar(&o.request.DryRun, "dry-run", false, "only show what would be done")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	f.BoolVarP(&o.follow, "follow", "f", false, "show the progress until the job has ended")
	f.BoolVar(&o.asJSON, "json", false, "print the reply; with --follow the last state of the job")
}

// startJob looks first, says what is affected, asks, and then has the job made, for the very
// letters that were looked at.
func (a *App) startJob(ctx context.Context, o order) error {
	client, err := a.dial()
	if err != nil {
		return err
	}
	defer client.end()
	o.request.Actor = a.actor()
	if err := client.carries(o.request.Body); err != nil {
		return err
	}
	plan, raw, err := client.plan(ctx, o)
	if err != nil {
		return err
	}
	if o.request.DryRun {
		if o.asJSON {
			return a.printReply(raw)
		}
		return a.describePlan(a.Stdout, o, plan)
	}
	if plan.Eligible > 0 || plan.Partial {
		if err := a.describePlan(a.Stderr, o, plan); err != nil {
			return err
		}
		if err := a.confirm(o.question(plan.Eligible), o.yes); err != nil {
			return err
		}
	} else if plan.Matched > 0 && !o.yes {
		if err := a.describePlan(a.Stderr, o, plan); err != nil {
			return err
		}
		return unable(plan.Ineligible)
	}
	if last := o.request.Filter.LastSequence; last == 0 || last > plan.LastSequence {
		o.request.Filter.LastSequence = max(1, plan.LastSequence)
	}
	var reply schemas.JobReply
	if raw, err = client.ask(ctx, o.resource, o.verb, o.request, &reply); err != nil {
		return err
	}
	if reply.Job == nil {
		return errors.New("the daemon's answer names no job")
	}
	if o.follow {
		return a.followJob(ctx, client, reply.Job.ID, plan.Eligible, o.asJSON)
	}
	if o.asJSON {
		return a.printReply(raw)
	}
	_, err = fmt.Fprintf(a.Stdout, "job %s began\n", reply.Job.ID)
	fmt.Fprintf(a.Stderr, "follow it: recoveryd replay show %s --follow\n", reply.Job.ID)
	return err
}

// unable says that nothing can be done to any letter, and whether only policies forbid it.
func unable(why []schemas.JobSkipped) error {
	code := exitRefused
	for _, s := range why {
		if !slices.Contains([]string{"target", "refused", "no_policy", "mode"}, s.Why) {
			code = exitFailed
		}
	}
	return &exit{code: code, err: errors.New("nothing can be done to any of them")}
}

// plan is what a job would do, and the reply that says so.
func (c *client) plan(ctx context.Context, o order) (*schemas.JobPlan, json.RawMessage, error) {
	o.request.DryRun = true
	var reply schemas.JobReply
	raw, err := c.ask(ctx, o.resource, o.verb, o.request, &reply)
	if err == nil && reply.Plan == nil {
		err = errors.New("the daemon's answer tells no plan")
	}
	return reply.Plan, raw, err
}

// carries refuses a payload that does not fit into a request.
func (c *client) carries(body []byte) error {
	const around = 16 << 10 // bytes of a request beside the payload
	if most := min(deadletter.MaxEdited, (c.MaxBody()-around)/4*3); len(body) > most {
		return &exit{code: exitUsage, err: fmt.Errorf("--edit (body): has %d bytes, at most %d can be given", len(body), most)}
	}
	return nil
}

func (o *order) question(n int64) string {
	if o.sampled {
		return o.act + " it as it is now?"
	}
	return o.act + " " + them(n) + "?"
}

func them(n int64) string {
	if n == 1 {
		return "it"
	}
	return "them"
}

// shownKinds bounds the causes and targets of a plan that are shown.
const shownKinds = 10

// describePlan says what would be done to how many letters, and which are left alone.
func (a *App) describePlan(w io.Writer, o order, p *schemas.JobPlan) error {
	least := ""
	if p.Partial {
		least = "at least "
	}
	line := fmt.Sprintf("%s %s%s", o.act, least, dead(p.Eligible))
	if p.Matched != p.Eligible {
		line = fmt.Sprintf("%s %s%d of %s", o.act, least, p.Eligible, dead(p.Matched))
	}
	fmt.Fprintln(w, line+pacing(&o.request, p))
	var rows [][]string
	for i, c := range p.Causes {
		if i == shownKinds {
			rows = append(rows, []string{"  ...", "", counted(len(p.Causes)-i, "more cause", "more causes")})
			break
		}
		rows = append(rows, []string{"  cause", strconv.Itoa(c.Count), c.Cause + " " + shorten(printable(c.Error), 80)})
	}
	for i, t := range p.Targets {
		if i == shownKinds {
			rows = append(rows, []string{"  ...", "", counted(len(p.Targets)-i, "more subject", "more subjects")})
			break
		}
		rows = append(rows, []string{"  to", strconv.FormatInt(t.Count, 10), printable(t.Target)})
	}
	rows = append(rows, skippedRows("  leave", p.Ineligible)...)
	if err := table(w, rows...); err != nil {
		return err
	}
	if o.sampled || len(p.Samples) == 0 {
		return nil
	}
	for i := range p.Samples {
		fmt.Fprintf(w, "\n%s", sample(&p.Samples[i], a.colour(w)))
	}
	_, err := fmt.Fprintln(w)
	return err
}

// skippedRows says why letters are left alone.
func skippedRows(title string, skipped []schemas.JobSkipped) [][]string {
	var rows [][]string
	for _, s := range skipped {
		text := fmt.Sprintf("%s, e.g. dead letter %d", strings.ReplaceAll(s.Why, "_", " "), s.Sequence)
		if s.Detail != "" {
			text += ": " + shorten(printable(s.Detail), 120)
		}
		rows = append(rows, []string{title, strconv.FormatInt(s.Count, 10), text})
	}
	return rows
}

// pacing says how fast a job would go, and what holds it back.
func pacing(q *schemas.JobRequest, p *schemas.JobPlan) string {
	text := ""
	if q.MaxLetters > 0 && int64(q.MaxLetters) < p.Eligible {
		text += fmt.Sprintf(", at most %d", q.MaxLetters)
	}
	if q.Rate != nil {
		text += fmt.Sprintf(", %g a second", *q.Rate)
	}
	if p.Seconds >= 1 {
		text += ", in about " + (time.Duration(math.Ceil(p.Seconds)) * time.Second).String()
	}
	if q.Canary > 0 {
		text += fmt.Sprintf(", %d first", q.Canary)
	}
	if q.Ramp {
		text += ", in growing rounds"
	}
	switch {
	case q.StopFailures > 0:
		text += fmt.Sprintf(", until %d failed again", q.StopFailures)
	case q.StopPermille > 0:
		text += fmt.Sprintf(", until %g %% failed again", float64(q.StopPermille)/10)
	case q.Ramp:
		text += ", until 10 % failed again"
	}
	return text
}
