package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

// completeWithin is how long a shell waits for what it can offer.
const completeWithin = 2 * time.Second

// offer has a shell offer the values that a flag may have.
func offer(c *cobra.Command, flag string, values ...string) {
	offerWith(c, flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

func offerWith(c *cobra.Command, flag string, values cobra.CompletionFunc) {
	if err := c.RegisterFlagCompletionFunc(flag, values); err != nil {
		panic(err) // the flag is defined a few lines above
	}
}

// offerSelection has a shell offer what letters are selected by.
func (a *App) offerSelection(c *cobra.Command) {
	offer(c, "dead-reason", schemas.Reasons[:]...)
	offer(c, "class", schemas.ClassTransient, schemas.ClassThrottled, schemas.ClassTimeout, schemas.ClassPermanent, schemas.ClassIgnored)
	offerWith(c, "cause", a.causes)
}

// causes are those of the dead letters that there are.
func (a *App) causes(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(c.Context(), completeWithin)
	defer cancel()
	var r schemas.DeadGroupsReply
	if _, err := a.ask(ctx, "dlq", "groups", schemas.DeadGroupsRequest{}, &r); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var all []string
	for _, g := range r.Groups {
		all = append(all, cobra.CompletionWithDesc(g.Cause, shorten(printable(g.Error), 60)))
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}

// jobs are those that there are, with what became of them.
func (a *App) jobs(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(c.Context(), completeWithin)
	defer cancel()
	var r schemas.JobListReply
	if _, err := a.ask(ctx, "replay", "ls", schemas.JobListRequest{}, &r); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var all []string
	for i := range r.Jobs {
		j := &r.Jobs[i]
		about := strings.Join([]string{j.Kind, j.State, progressOf(j)}, ", ")
		all = append(all, cobra.CompletionWithDesc(j.ID, about))
	}
	return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// offerStates has a shell offer the states and kinds of jobs.
func offerStates(c *cobra.Command) {
	offer(c, "state", deadletter.JobStates[:]...)
	offer(c, "kind", deadletter.JobReplay, deadletter.JobDiscard, deadletter.JobEdit)
}
