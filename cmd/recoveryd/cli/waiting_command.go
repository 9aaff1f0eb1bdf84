package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/schemas"
)

// waitingOrder is what an operator wants of one piece of work that waits.
type waitingOrder struct {
	verb, question string
	request        schemas.CommandRequest
	yes, asJSON    bool
}

func (a *App) waitingCancel() *cobra.Command {
	return a.waitingOrder(waitingOrder{verb: "cancel", question: "Cancel it? It is never delivered, and not kept."},
		"Drop one piece of work that waits or is held, for good",
		"Drop one piece of work that waits or is held, by its id, or by the handle that recoveryd ls prints. It is not kept as a\ndead letter: its outcome is discarded, and says who cancelled it and why.")
}

func (a *App) waitingNow() *cobra.Command {
	return a.waitingOrder(waitingOrder{verb: "now", question: "Try it now?"},
		"Try one piece of work now instead of when it is due",
		"Try one piece of work now instead of when it is due, by its id, or by the handle that recoveryd ls prints. If its breaker is\nnot closed it is held; what is held already is released by recoveryd breaker probe or close.")
}

func (a *App) waitingOrder(o waitingOrder, short, long string) *cobra.Command {
	c := &cobra.Command{
		Use: o.verb + " ID", Short: short, Long: long, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.request.ID, o.request.Handle = idOrHandle(args[0])
			return a.orderWaiting(c.Context(), o)
		},
	}
	changeFlags(c.Flags(), &o.request.Reason, "why, for those who look at its outcomes later", &o.request.DryRun, "only show what would be affected", &o.yes, &o.asJSON)
	return c
}

// orderWaiting looks first, says what is affected, asks, and then acts.
func (a *App) orderWaiting(ctx context.Context, o waitingOrder) error {
	o.request.Actor = a.actor()
	look := o.request
	look.DryRun = true
	var reply schemas.CommandReply
	raw, err := a.ask(ctx, "waiting", o.verb, look, &reply)
	switch {
	case err != nil:
		return err
	case o.request.DryRun && o.asJSON:
		return a.printReply(raw)
	case o.request.DryRun:
		fmt.Fprintln(a.Stdout, described(&reply.Item))
		return nil
	}
	if err := a.confirm(fmt.Sprintf("1 message: %s. %s", described(&reply.Item), o.question), o.yes); err != nil {
		return err
	}
	o.request.ID, o.request.Handle = "", reply.Item.Handle // the one that was shown, and no other with its id
	if raw, err = a.ask(ctx, "waiting", o.verb, o.request, &reply); err != nil {
		return err
	}
	if o.asJSON {
		return a.printReply(raw)
	}
	id := printable(reply.Item.ID)
	switch reply.Result {
	case schemas.KindHeld:
		fmt.Fprintf(a.Stdout, "%s is held: breaker %s is not closed, see recoveryd breaker show %s\n", id, printable(reply.Item.Key), printable(quoted(reply.Item.Key)))
	case schemas.ResultPending:
		fmt.Fprintf(a.Stdout, "%s is on its way: see recoveryd outcomes --id %s\n", id, id)
	case schemas.ResultWaiting:
		fmt.Fprintf(a.Stdout, "%s waits again: see recoveryd show %s\n", id, id)
	default:
		fmt.Fprintf(a.Stdout, "%s is %s\n", id, reply.Result)
	}
	return nil
}

// described is a waiting item in a few words.
func described(i *schemas.WaitingItem) string {
	text := fmt.Sprintf("%s on %s, %s, attempt %s", printable(i.ID), printable(i.Subject), i.State, attempt(i.Attempt, i.MaxAttempts))
	if i.HeldAt != "" {
		return text + ", held since " + day(i.HeldAt)
	}
	return text + ", due " + day(i.DueAt)
}
