package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/schemas"
)

func (a *App) breaker() *cobra.Command {
	return group("breaker", "Show breakers, and open or close them by hand", a.breakerLs(), a.breakerShow(),
		a.operate("open", "Hold everything back, until closed or reset, or for the time of --for", true),
		a.operate("close", "Close a breaker and release what it holds", false),
		a.operate("reset", "Forget what a breaker counted, and close it", false),
		a.operate("disable", "Let everything through and count nothing, until reset, or for the time of --for", true),
		a.operate("probe", "Probe now instead of waiting for the end of the opening", false),
	)
}

func (a *App) breakerLs() *cobra.Command {
	var q schemas.BreakerListRequest
	var asJSON bool
	c := &cobra.Command{
		Use: "ls", Short: "List the breakers that counted something; all others are closed", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var reply schemas.BreakerListReply
			raw, err := a.ask(c.Context(), "breaker", "ls", q, &reply)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printReply(raw)
			}
			return a.listBreakers(&reply)
		},
	}
	f := c.Flags()
	f.StringVar(&q.Policy, "policy", "", "only those of this policy")
	f.StringVar(&q.Key, "key", "", "only this key, or keys that match, e.g. 'orders.>'")
	f.StringVar(&q.State, "state", "", "only this state: closed, open, half_open, recovering, forced_open, disabled")
	f.IntVar(&q.Limit, "limit", 100, "list at most so many, 1 to 1000")
	f.BoolVar(&asJSON, "json", false, "print the reply")
	return c
}

func (a *App) listBreakers(r *schemas.BreakerListReply) error {
	if len(r.Breakers) == 0 {
		fmt.Fprintln(a.Stderr, "none fits: all breakers are closed and counted nothing")
		return nil
	}
	rows := [][]string{{"STATE", "KEY", "POLICY", "HELD", "FAILURES", "CHANGED", "NEXT", "REASON"}}
	for _, b := range r.Breakers {
		rows = append(rows, []string{b.State, printable(b.Key), b.Policy, strconv.Itoa(b.Held), strconv.Itoa(b.Failures), day(b.ChangedAt), day(b.NextAt), printable(b.Reason)})
	}
	if err := table(a.Stdout, rows...); err != nil {
		return err
	}
	if r.More {
		fmt.Fprintln(a.Stderr, "there are more: see them with --limit, or narrow it down")
	}
	return nil
}

func (a *App) breakerShow() *cobra.Command {
	var q schemas.BreakerRequest
	var asJSON bool
	c := &cobra.Command{
		Use: "show KEY", Short: "Show one breaker and what it counted", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			q.Key = args[0]
			var b schemas.BreakerStatus
			raw, err := a.ask(c.Context(), "breaker", "show", q, &b)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printReply(raw)
			}
			return a.showBreaker(&b)
		},
	}
	c.Flags().StringVar(&q.Policy, "policy", "", "policy of the key; default the one that serves it as a subject")
	c.Flags().BoolVar(&asJSON, "json", false, "print the reply")
	return c
}

func (a *App) showBreaker(b *schemas.BreakerStatus) error {
	var rows [][]string
	for _, field := range [...][2]string{
		{"key", b.Key}, {"policy", b.Policy}, {"state", b.State}, {"held", strconv.Itoa(b.Held)}, {"changed", b.ChangedAt}, {"reason", b.Reason}, {"by", b.Actor},
		{"because of id", b.CauseID}, {"open until", b.OpenUntil}, {"until", b.Until}, {"next change", b.NextAt},
		{"failures", fmt.Sprintf("%d of %d messages", b.Failures, b.Distinct)}, {"last success", b.LastSuccess}, {"failed ids", strings.Join(b.Samples, ", ")},
	} {
		if field[1] != "" {
			rows = append(rows, []string{field[0], printable(field[1])})
		}
	}
	for _, cause := range b.Causes {
		rows = append(rows, []string{"cause " + cause.Cause, fmt.Sprintf("%d × %s", cause.Count, printable(cause.Error))})
	}
	return table(a.Stdout, rows...)
}

// operation is what an operator wants of a breaker.
type operation struct {
	verb        string
	request     schemas.BreakerRequest
	length      string
	yes, asJSON bool
}

func (a *App) operate(verb, short string, limited bool) *cobra.Command {
	o := operation{verb: verb}
	c := &cobra.Command{
		Use: verb + " KEY", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.request.Key = args[0]
			return a.changeBreaker(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.request.Policy, "policy", "", "policy of the key; default the one that serves it as a subject")
	changeFlags(f, &o.request.Reason, "why, for those who look at it later", &o.request.DryRun, "only show the breaker", &o.yes, &o.asJSON)
	if limited {
		f.StringVar(&o.length, "for", "", "how long, e.g. 30m; default without end")
	}
	return c
}

// changeBreaker looks first, says what is affected, asks, and then acts.
func (a *App) changeBreaker(ctx context.Context, o operation) error {
	if o.length != "" {
		d, err := schemas.ParseDuration(o.length)
		if err != nil || d < schemas.Duration(time.Millisecond) {
			return &exit{code: exitUsage, err: fmt.Errorf("--for: %q is no duration like 30s, 5m or 24h", o.length)}
		}
		o.request.ForMS = time.Duration(d).Milliseconds()
	}
	o.request.Actor = a.actor()
	look := o.request
	look.DryRun = true
	var b schemas.BreakerStatus
	raw, err := a.ask(ctx, "breaker", o.verb, look, &b)
	if err != nil || o.request.DryRun {
		return a.changed(raw, &b, o.asJSON, err)
	}
	question := fmt.Sprintf("Breaker %s of policy %s is %s and holds %s. %s it?", printable(b.Key), b.Policy, b.State, counted(b.Held, "message", "messages"), strings.ToUpper(o.verb[:1])+o.verb[1:])
	if err := a.confirm(question, o.yes); err != nil {
		return err
	}
	raw, err = a.ask(ctx, "breaker", o.verb, o.request, &b)
	return a.changed(raw, &b, o.asJSON, err)
}

func (a *App) changed(raw json.RawMessage, b *schemas.BreakerStatus, asJSON bool, err error) error {
	switch {
	case err != nil:
		return err
	case asJSON:
		return a.printReply(raw)
	}
	fmt.Fprintf(a.Stdout, "%s of policy %s is %s and holds %s\n", printable(b.Key), b.Policy, b.State, counted(b.Held, "message", "messages"))
	return nil
}

// actor is who acts: the user and the machine.
func (a *App) actor() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}
