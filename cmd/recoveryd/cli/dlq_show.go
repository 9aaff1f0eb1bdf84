package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/schemas"
)

func (a *App) dlqShow() *cobra.Command {
	var payload string
	var edit, asJSON bool
	var e letterEdit
	c := &cobra.Command{
		Use:   "show SEQUENCE",
		Short: "Show one dead letter, or edit and replay it",
		Long: `Show one dead letter, by its sequence or by the id of the work.

The payload is never encoded anew: pretty indents JSON and leaves every number as it is, and
shows what is no text as hex; raw prints the bytes and nothing else.
--edit opens it in $VISUAL or $EDITOR, shows the difference, asks, and replays what was made of it.`,
		Example: "  recoveryd dlq show 42 --payload raw > body.json\n  recoveryd dlq show 42 --edit --reason 'the amount was missing'",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if !slices.Contains(payloads[:], payload) {
				return usage(c, fmt.Errorf("--payload: %q is none of %s", payload, strings.Join(payloads[:], ", ")))
			}
			if edit && asJSON && !e.yes {
				return usage(c, fmt.Errorf("--edit with --json asks nobody: add --yes"))
			}
			for _, name := range [...]string{"yes", "dry-run", "reason", "follow"} {
				if !edit && c.Flags().Changed(name) {
					return usage(c, fmt.Errorf("--%s is for --edit", name))
				}
			}
			q := schemas.DeadShowRequest{ID: args[0]}
			if n, err := strconv.ParseUint(args[0], 10, 64); err == nil {
				q = schemas.DeadShowRequest{Sequence: n}
			}
			if edit {
				e.asJSON = asJSON
				return a.editLetter(c.Context(), q, e)
			}
			return a.showLetter(c.Context(), q, payload, asJSON)
		},
	}
	f := c.Flags()
	f.StringVar(&payload, "payload", payloadPretty, "how to show the payload: pretty, raw, hex or none")
	f.BoolVar(&edit, "edit", false, "edit the payload and replay it")
	f.StringVar(&e.request.Reason, "reason", "", "why it is edited, for those who look at it later")
	f.BoolVar(&e.request.DryRun, "dry-run", false, "edit, but only show what would be done")
	f.BoolVarP(&e.yes, "yes", "y", false, "do not ask")
	f.BoolVarP(&e.follow, "follow", "f", false, "wait for the outcome of the replay")
	f.BoolVar(&asJSON, "json", false, "print the reply, with the first 256 KiB of the payload")
	offer(c, "payload", payloads[:]...)
	return c
}

func (a *App) showLetter(ctx context.Context, q schemas.DeadShowRequest, payload string, asJSON bool) error {
	client, err := a.dial()
	if err != nil {
		return err
	}
	defer client.end()
	q.Hide = payload == payloadNone
	var l schemas.DeadLetterItem
	raw, err := client.ask(ctx, "dlq", "show", q, &l)
	if err != nil {
		return err
	}
	if asJSON {
		if l.Partial {
			fmt.Fprintf(a.Stderr, "the reply holds %d of %d bytes of the payload; see all of it with --payload raw\n", len(l.Body), l.Size)
		}
		return a.printReply(raw)
	}
	if err := client.complete(ctx, &l); err != nil {
		return err
	}
	if payload == payloadRaw {
		_, err := a.Stdout.Write(l.Body)
		return err
	}
	if err := a.describeLetter(&l); err != nil || payload == payloadNone || len(l.Body) == 0 {
		return err
	}
	_, err = fmt.Fprintf(a.Stdout, "\n%s\n", strings.TrimSuffix(payloadText(l.Body, payload), "\n"))
	return err
}

// complete reads the rest of a payload that did not fit into one reply.
func (c *client) complete(ctx context.Context, l *schemas.DeadLetterItem) error {
	for l.Partial && len(l.Body) < l.Size {
		var more schemas.DeadLetterItem
		if _, err := c.ask(ctx, "dlq", "show", schemas.DeadShowRequest{Sequence: l.Sequence, Offset: len(l.Body)}, &more); err != nil {
			return err
		}
		if more.Offset != len(l.Body) || len(more.Body) == 0 {
			return fmt.Errorf("dead letter %d: its payload ends after %d of %d bytes", l.Sequence, len(l.Body), l.Size)
		}
		l.Body = append(l.Body, more.Body...)
	}
	l.Partial = false
	return nil
}

func (a *App) describeLetter(l *schemas.DeadLetterItem) error {
	number := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatUint(n, 10)
	}
	rows := fields(
		"sequence", number(l.Sequence), "id", l.ID, "subject", l.Subject, "cause", l.Cause, "reason", l.Reason, "error", l.Error, "code", l.Code,
		"class", l.Class, "policy", l.Policy, "attempt", strconv.Itoa(l.Attempt), "deliveries", strconv.Itoa(l.Delivery), "replayed", number(uint64(l.Replay)),
		"first failed", l.FirstFailedAt, "last failed", l.LastFailedAt, "dead", l.DeadAt, "from stream", l.Origin.Stream, "consumer", l.Origin.Consumer,
		"sequence there", number(l.Origin.Sequence), "deliveries there", number(l.Origin.Deliveries), "job", l.Job, "unreadable", l.Fault,
		"headers dropped", strings.Join(l.Truncated, ", "), "payload", counted(l.Size, "byte", "bytes"),
	)
	rows = append(rows, headerRows("header", l.Headers)...)
	rows = append(rows, headerRows("kept header", l.Aside)...)
	return table(a.Stdout, append(rows, history(l.History)...)...)
}

// fields makes rows of names and values, without those that have none.
func fields(pairs ...string) [][]string {
	var rows [][]string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			rows = append(rows, []string{pairs[i], printable(pairs[i+1])})
		}
	}
	return rows
}

// headerRows has a row for every value, since values may hold commas.
func headerRows(title string, h schemas.Header) [][]string {
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			rows = append(rows, []string{title, printable(name + ": " + value)})
		}
	}
	return rows
}
