package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/schemas"
)

func (a *App) watchCommand() *cobra.Command {
	c := group("watch", "Recover what consumers give up, without any change of their workers", a.watchLs(),
		a.watchChange("add", "Watch a consumer: what reaches its max_deliver, or is terminated, is recovered"),
		a.watchChange("rm", "Watch a consumer no more; what was reported goes on its way"),
	)
	c.Long = `Recover what consumers give up, without any change of their workers.

The server says when a message was delivered max_deliver times in vain, or when a worker terminated it.
Of a consumer that is watched recoveryd takes this for a report of failure: the message is tried again,
or becomes a dead letter, as its policy says, and is settled in its stream.

Each attempt of a policy is then max_deliver deliveries of the consumer. Give it a small one:
  nats consumer edit ORDERS worker --max-deliver 3
  recoveryd watch add ORDERS worker`
	return c
}

func (a *App) watchLs() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "ls", Short: "List the consumers that are watched, and how they are", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var reply schemas.WatchListReply
			raw, err := a.ask(c.Context(), "watch", "ls", schemas.WatchListRequest{}, &reply)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printReply(raw)
			}
			return a.listWatches(&reply)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the reply")
	return c
}

func (a *App) listWatches(r *schemas.WatchListReply) error {
	switch {
	case r.Mode == "all":
		fmt.Fprintln(a.Stderr, "RECOVERYD_ADVISORIES is all: every other consumer with max_deliver is served, too")
	case r.Mode == "off":
		fmt.Fprintln(a.Stderr, "RECOVERYD_ADVISORIES is off: nothing is recovered")
	}
	if len(r.Watches) == 0 {
		fmt.Fprintln(a.Stderr, "no consumer is watched: add one with recoveryd watch add STREAM CONSUMER")
		return nil
	}
	rows := [][]string{{"STREAM", "CONSUMER", "RETENTION", "MAX DELIVER", "WAITING", "UNDER WAY", "GIVEN UP", "ADDED", "BY", "REASON"}}
	for _, w := range r.Watches {
		row := []string{printable(w.Stream), printable(w.Consumer), "", "", "", "", "", day(w.AddedAt), printable(w.Actor), printable(w.Reason)}
		if w.Exists {
			copy(row[2:], []string{w.Retention, strconv.Itoa(w.MaxDeliver), strconv.FormatUint(w.Waiting, 10), strconv.Itoa(w.AckPending), "?"})
		}
		if w.Exhausted != nil {
			row[6] = strconv.Itoa(*w.Exhausted)
		}
		rows = append(rows, row)
	}
	if err := table(a.Stdout, rows...); err != nil {
		return err
	}
	for i := range r.Watches {
		a.warnOfWatch(&r.Watches[i])
	}
	return nil
}

// warnOfWatch says what is wrong with a consumer that is watched.
func (a *App) warnOfWatch(w *schemas.WatchStatus) {
	name := printable(w.Stream) + "/" + printable(w.Consumer)
	if w.Fault != "" {
		fmt.Fprintf(a.Stderr, "%s: nothing is recovered: %s\n", name, printable(w.Fault))
	}
	for _, warning := range w.Warnings {
		fmt.Fprintf(a.Stderr, "%s: %s\n", name, printable(warning))
	}
}

// watchOrder is what an operator wants of a watch.
type watchOrder struct {
	verb        string
	request     schemas.WatchRequest
	yes, asJSON bool
}

func (a *App) watchChange(verb, short string) *cobra.Command {
	o := watchOrder{verb: verb}
	c := &cobra.Command{
		Use: verb + " STREAM CONSUMER", Short: short, Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			o.request.Stream, o.request.Consumer = args[0], args[1]
			return a.changeWatch(c.Context(), o)
		},
	}
	changeFlags(c.Flags(), &o.request.Reason, "why, for those who look at it later", &o.request.DryRun, "only show the consumer", &o.yes, &o.asJSON)
	return c
}

// changeWatch looks first, says how the consumer is, asks, and then acts.
func (a *App) changeWatch(ctx context.Context, o watchOrder) error {
	o.request.Actor = a.actor()
	look := o.request
	look.DryRun = true
	var before, after schemas.WatchStatus
	raw, err := a.ask(ctx, "watch", o.verb, look, &before)
	if err != nil {
		return err
	}
	if o.verb == "add" {
		a.warnOfWatch(&before)
	}
	if o.request.DryRun {
		return a.watchChanged(raw, o.asJSON, describeWatch(&before))
	}
	question, done := "Watch it?", "is watched"
	if o.verb == "rm" {
		question, done = "Watch it no more?", "is watched no more"
	}
	if err := a.confirm(describeWatch(&before)+". "+question, o.yes); err != nil {
		return err
	}
	if raw, err = a.ask(ctx, "watch", o.verb, o.request, &after); err != nil {
		return err
	}
	return a.watchChanged(raw, o.asJSON, consumerText(&after)+" "+done)
}

func (a *App) watchChanged(raw json.RawMessage, asJSON bool, text string) error {
	if asJSON {
		return a.printReply(raw)
	}
	_, err := fmt.Fprintln(a.Stdout, text)
	return err
}

func consumerText(w *schemas.WatchStatus) string {
	return fmt.Sprintf("consumer %s of stream %s", printable(w.Consumer), printable(w.Stream))
}

func describeWatch(w *schemas.WatchStatus) string {
	text := consumerText(w)
	switch {
	case !w.Exists:
		return text + " is not there"
	case w.MaxDeliver < 1:
		return text + " never gives up"
	}
	text += " gives up after " + counted(w.MaxDeliver, "delivery", "deliveries")
	if w.Exhausted != nil {
		text += fmt.Sprintf("; given up and not settled: %d", *w.Exhausted)
	}
	return text
}
