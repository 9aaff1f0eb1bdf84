package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

func (a *App) dlq() *cobra.Command {
	return group("dlq", "Look at dead letters, and replay, discard, export or import them",
		a.dlqGroups(), a.dlqLs(), a.dlqShow(), a.dlqReplay(), a.dlqDiscard(), a.dlqExport(), a.dlqImport())
}

func (a *App) dlqGroups() *cobra.Command {
	var q schemas.DeadGroupsRequest
	var s selection
	var asJSON bool
	c := &cobra.Command{
		Use: "groups", Short: "Count dead letters by cause, the most frequent first", Args: cobra.NoArgs,
		Example: "  recoveryd dlq groups --subject 'orders.>' --since 24h",
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if q.Filter, err = s.read(nil, time.Now()); err != nil {
				return err
			}
			var reply schemas.DeadGroupsReply
			raw, err := a.ask(c.Context(), "dlq", "groups", q, &reply)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printReply(raw)
			}
			return a.listGroups(c, &q, &reply)
		},
	}
	f := c.Flags()
	s.flags(f, false)
	f.StringVar(&q.By, "by", "cause", "what to count by: cause, subject or both")
	f.IntVar(&q.Offset, "offset", 0, "leave out so many groups at the beginning")
	f.IntVar(&q.Limit, "limit", 50, "list at most so many, 1 to 500")
	f.BoolVar(&asJSON, "json", false, "print the reply")
	a.offerSelection(c)
	offer(c, "by", deadletter.ByCause, deadletter.BySubject, deadletter.ByBoth)
	return c
}

func (a *App) listGroups(c *cobra.Command, q *schemas.DeadGroupsRequest, r *schemas.DeadGroupsReply) error {
	if len(r.Groups) == 0 {
		a.none(r.TotalGroups > 0)
		return nil
	}
	head := []string{"COUNT", "CAUSE", "REASON", "LAST", "SUBJECTS", "ERROR"}
	if q.By == "subject" {
		head = []string{"COUNT", "SUBJECT", "LAST", "ERROR"}
	}
	rows := [][]string{head}
	for _, g := range r.Groups {
		row := []string{strconv.FormatUint(g.Count, 10), g.Cause, g.Reason, day(g.LastAt), subjectsOf(&g), printable(g.Error)}
		if q.By == "subject" {
			row = []string{row[0], printable(g.Subject), row[3], row[5]}
		}
		rows = append(rows, row)
	}
	if err := a.fitted(rows...); err != nil {
		return err
	}
	fmt.Fprintf(a.Stderr, "%s in %s\n", dead(int64(r.TotalLetters)), counted(r.TotalGroups, "group", "groups"))
	if r.Partial {
		fmt.Fprintln(a.Stderr, "there was no time to look at all letters: narrow it down by --subject or --cause, which the server counts by itself")
	}
	if next := q.Offset + len(r.Groups); next < r.TotalGroups {
		fmt.Fprintf(a.Stderr, "more: %s\n", again(c, nil, "offset", strconv.Itoa(next)))
	}
	return nil
}

// subjectsOf names the first subjects of a group.
func subjectsOf(g *schemas.DeadGroup) string {
	if g.Subject != "" {
		return printable(g.Subject)
	}
	if len(g.Subjects) == 0 {
		return ""
	}
	text := shorten(printable(g.Subjects[0].Subject), 40)
	if more := len(g.Subjects) - 1 + g.More; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// none says that no letter fits, or that they are all before this page.
func (a *App) none(before bool) {
	if before {
		fmt.Fprintln(a.Stderr, "there are no more")
		return
	}
	fmt.Fprintln(a.Stderr, "no dead letter fits")
}

func dead(n int64) string { return counted(int(n), "dead letter", "dead letters") }

func (a *App) dlqLs() *cobra.Command {
	var q schemas.DeadListRequest
	var s selection
	var after uint64
	var asJSON bool
	c := &cobra.Command{
		Use: "ls", Short: "List dead letters, the oldest first", Args: cobra.NoArgs,
		Example: "  recoveryd dlq ls --cause d0713ce8 --since 2h --attempts 3-",
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if q.Filter, err = s.read(nil, time.Now()); err != nil {
				return err
			}
			q.From = after + 1
			if asJSON {
				raw, err := a.ask(c.Context(), "dlq", "ls", q, &schemas.DeadListReply{})
				if err != nil {
					return err
				}
				return a.printReply(raw)
			}
			return a.listLetters(c, q)
		},
	}
	f := c.Flags()
	s.flags(f, false)
	f.Uint64Var(&after, "after", 0, "only letters after this sequence")
	f.IntVar(&q.Limit, "limit", 50, "list at most so many, 1 to 1000")
	f.BoolVar(&asJSON, "json", false, "print the reply: one page, its next is the --after of the next one plus 1")
	a.offerSelection(c)
	return c
}

// listLetters asks until it has a full page: an answer may end early when it took long.
func (a *App) listLetters(c *cobra.Command, q schemas.DeadListRequest) error {
	client, err := a.dial()
	if err != nil {
		return err
	}
	defer client.end()
	rows := [][]string{{"SEQ", "DEAD", "CAUSE", "REASON", "SUBJECT", "TRIES", "ERROR"}}
	limit, next, total := q.Limit, q.From, uint64(0)
	for more := true; more; more = next > 0 && len(rows) <= limit {
		var reply schemas.DeadListReply
		q.From, q.Limit = next, limit+1-len(rows)
		if _, err := client.ask(c.Context(), "dlq", "ls", q, &reply); err != nil {
			return err
		}
		for i := range reply.Letters {
			rows = append(rows, letterRow(&reply.Letters[i]))
		}
		next, total = reply.Next, reply.Total
	}
	if len(rows) == 1 {
		a.none(q.From > 1 && total > 0)
		return nil
	}
	if err := a.fitted(rows...); err != nil {
		return err
	}
	if next > 0 {
		fmt.Fprintf(a.Stderr, "more: %s\n", again(c, nil, "after", strconv.FormatUint(next-1, 10)))
	}
	return nil
}

func letterRow(l *schemas.DeadLetterItem) []string {
	at, text := l.DeadAt, printable(l.Error)
	if at == "" {
		at = l.StoredAt
	}
	if l.Code != "" {
		text = printable(l.Code) + " " + text
	}
	if l.Fault != "" {
		text = "unreadable: " + printable(l.Fault)
	}
	if l.Job != "" {
		text = "[job " + l.Job + "] " + text
	}
	tries := strconv.Itoa(l.Attempt)
	if l.Replay > 0 {
		tries += fmt.Sprintf(" (replay %d)", l.Replay)
	}
	return []string{strconv.FormatUint(l.Sequence, 10), day(at), l.Cause, l.Reason, shorten(printable(l.Subject), 40), tries, strings.TrimSpace(text)}
}
