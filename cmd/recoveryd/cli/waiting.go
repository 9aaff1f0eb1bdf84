package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/schemas"
)

func (a *App) waitingLs() *cobra.Command {
	var q schemas.WaitingRequest
	var asJSON bool
	c := &cobra.Command{
		Use: "ls", Short: "List the work that waits or is held", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var reply schemas.WaitingReply
			raw, err := a.ask(c.Context(), "waiting", "ls", q, &reply)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printReply(raw)
			}
			return a.listWaiting(&reply)
		},
	}
	f := c.Flags()
	f.StringVar(&q.Subject, "subject", "", "only work of subjects that match, e.g. 'orders.>'")
	f.StringVar(&q.State, "state", "", "only this state: near, far, held, parked")
	f.StringVar(&q.Policy, "policy", "", "only work of this policy")
	f.IntVar(&q.Limit, "limit", 50, "list at most so many, 1 to 1000")
	f.BoolVar(&asJSON, "json", false, "print the reply")
	return c
}

func (a *App) listWaiting(r *schemas.WaitingReply) error {
	if len(r.Items) == 0 {
		fmt.Fprintln(a.Stderr, "nothing waits that fits")
		return nil
	}
	rows := [][]string{{"HANDLE", "STATE", "DUE", "SUBJECT", "ID", "ATTEMPT", "POLICY", "ERROR"}}
	for _, i := range r.Items {
		rows = append(rows, []string{i.Handle, i.State, day(i.DueAt), printable(i.Subject), printable(i.ID), attempt(i.Attempt, i.MaxAttempts), i.Policy, shorten(printable(i.Error), 60)})
	}
	if err := table(a.Stdout, rows...); err != nil {
		return err
	}
	if r.More {
		fmt.Fprintf(a.Stderr, "%d of %d listed: see more with --limit, or narrow it down\n", len(r.Items), r.Total)
	}
	return nil
}

var handle = regexp.MustCompile(`^\d+:(f?\d+|\d+\.\d+)$`)

// idOrHandle tells a handle from an id.
func idOrHandle(argument string) (id, place string) {
	if handle.MatchString(argument) {
		return "", argument
	}
	return argument, ""
}

func (a *App) waitingShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show one piece of work that waits or is held",
		Long:  "Show one piece of work that waits or is held, by its id, or by the handle that recoveryd ls prints, which is faster.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var q schemas.HandleRequest
			q.ID, q.Handle = idOrHandle(args[0])
			var item schemas.WaitingItem
			raw, err := a.ask(c.Context(), "waiting", "show", q, &item)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printReply(raw)
			}
			return a.showItem(&item)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the reply")
	return c
}

func (a *App) showItem(i *schemas.WaitingItem) error {
	var rows [][]string
	for _, field := range [...][2]string{
		{"id", i.ID}, {"subject", i.Subject}, {"state", i.State}, {"handle", i.Handle}, {"policy", i.Policy}, {"next", i.Step + " as attempt " + attempt(i.Attempt, i.MaxAttempts)},
		{"due", i.DueAt}, {"held since", i.HeldAt}, {"breaker", i.Key}, {"error", i.Error}, {"class", i.Class}, {"first failed", i.FirstFailed}, {"body", fmt.Sprintf("%d bytes", i.Size)},
	} {
		if field[1] != "" {
			rows = append(rows, []string{field[0], printable(field[1])})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(i.Headers)) {
		rows = append(rows, []string{"header", printable(name + ": " + strings.Join(i.Headers[name], ", "))})
	}
	rows = append(rows, history(i.History)...)
	if err := table(a.Stdout, rows...); err != nil || len(i.Body) == 0 {
		return err
	}
	body := string(i.Body)
	if !utf8.ValidString(body) {
		body = fmt.Sprintf("%d bytes that are no text, see --json", len(i.Body))
	}
	fmt.Fprintf(a.Stdout, "\n%s\n", strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return []rune(printable(string(r)))[0]
	}, body))
	return nil
}

// history lists the attempts, one on each line, as far as they can be read.
func history(text string) [][]string {
	var attempts []json.RawMessage
	if json.Unmarshal([]byte(text), &attempts) != nil {
		if text == "" {
			return nil
		}
		return [][]string{{"history", printable(text)}}
	}
	var rows [][]string
	for _, each := range attempts {
		rows = append(rows, []string{"history", printable(string(each))})
	}
	return rows
}

// day shortens a time of the API to whole seconds, UTC.
func day(at string) string {
	t, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return at
	}
	return t.UTC().Format(time.DateTime)
}

func attempt(n, most int) string {
	if most > 0 {
		return strconv.Itoa(n) + "/" + strconv.Itoa(most)
	}
	return strconv.Itoa(n)
}

func shorten(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
