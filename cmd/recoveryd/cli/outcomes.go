package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/schemas"
)

// tail is which outcomes are shown, and how.
type tail struct {
	subject, id string
	kinds       []string
	since       string
	json        bool
	count       int

	w      io.Writer
	colour bool
}

func (a *App) outcomes() *cobra.Command {
	t := tail{w: a.Stdout}
	c := &cobra.Command{
		Use:   "outcomes",
		Short: "Show what happens to failed work, as it happens",
		Long: `Show outcomes and changes of breakers as they happen. With a filter only outcomes are shown.
--json prints exactly the events, one on each line.`,
		Example: "  recoveryd outcomes --kind dead,rejected --since 1h\n  recoveryd outcomes --subject 'payments.>' --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t.colour = a.colour(a.Stdout)
			return a.follow(c.Context(), &t)
		},
	}
	f := c.Flags()
	f.StringVar(&t.subject, "subject", "", "only those of subjects that match, e.g. 'orders.>'")
	f.StringSliceVar(&t.kinds, "kind", nil, "only these kinds: "+strings.Join(schemas.Kinds[:], ", "))
	f.StringVar(&t.id, "id", "", "only those of the work with this id")
	f.StringVar(&t.since, "since", "", "also what happened before: a duration like 10m or 2d, or a time like 2026-01-02T15:04:05Z")
	f.IntVarP(&t.count, "count", "n", 0, "end after so many; 0 = never")
	f.BoolVar(&t.json, "json", false, "print the events")
	return c
}

func (a *App) follow(ctx context.Context, t *tail) error {
	since, err := t.check(time.Now())
	if err != nil {
		return &exit{code: exitUsage, err: err}
	}
	signals, stopSignals := a.Signals()
	defer stopSignals()
	client, err := a.dial()
	if err != nil {
		return err
	}
	defer client.end()
	if err := client.adopt(ctx); err != nil {
		return err
	}
	enough := make(chan struct{})
	var once sync.Once
	shown := 0
	stop, err := client.FollowOutcomes(ctx, t.filter(client.subjects), since, func(m schemas.Stored) {
		if t.count > 0 && shown >= t.count || !t.show(m) {
			return
		}
		if shown++; shown == t.count {
			once.Do(func() { close(enough) })
		}
	})
	if err != nil {
		return err
	}
	defer stop()
	select {
	case <-enough:
	case <-signals:
	case <-ctx.Done():
	case err := <-client.closed:
		return err
	}
	return nil
}

// check reads the flags; the zero time means only what is new.
func (t *tail) check(now time.Time) (time.Time, error) {
	for _, kind := range t.kinds {
		if !slices.Contains(schemas.Kinds[:], kind) {
			return time.Time{}, fmt.Errorf("--kind: %q is none of %s", kind, strings.Join(schemas.Kinds[:], ", "))
		}
	}
	if t.subject != "" {
		if err := schemas.CheckPattern(t.subject); err != nil {
			return time.Time{}, fmt.Errorf("--subject: %w", err)
		}
	}
	if t.count < 0 {
		return time.Time{}, fmt.Errorf("--count: %d is negative", t.count)
	}
	return moment("--since", t.since, now)
}

// moment reads the value of a flag that is a time, or a duration before now; none is zero.
func moment(flag, value string, now time.Time) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339Nano, value); err == nil {
		return at, nil
	}
	d, err := schemas.ParseDuration(value)
	if err != nil || d < 0 {
		return time.Time{}, fmt.Errorf("%s: %q is neither a duration like 10m or 2d nor a time like 2026-01-02T15:04:05Z", flag, value)
	}
	return now.Add(-time.Duration(d)), nil
}

// filter is the subject that the server selects by; show selects the rest.
func (t *tail) filter(s schemas.Subjects) string {
	if t.subject == "" && len(t.kinds) == 0 && t.id == "" {
		return ""
	}
	kind, subject := "*", ">"
	if len(t.kinds) == 1 {
		kind = t.kinds[0]
	}
	if t.subject != "" {
		subject = t.subject
	}
	return s.Prefix + ".outcomes." + kind + "." + subject
}

// show prints an event if it is asked for.
func (t *tail) show(m schemas.Stored) bool {
	o, e, err := schemas.ParseOutcome(m.Body)
	isOutcome := err == nil
	if isOutcome && (len(t.kinds) > 0 && !slices.Contains(t.kinds, o.Kind) || t.id != "" && o.ID != t.id) {
		return false
	}
	if t.json {
		fmt.Fprintf(t.w, "%s\n", m.Body)
		return true
	}
	if isOutcome {
		fmt.Fprintln(t.w, t.outcome(&o, e.Time))
		return true
	}
	b, e, err := schemas.ParseBreakerEvent(m.Body)
	if err != nil {
		fmt.Fprintf(t.w, "%s  cannot be read: %v\n", printable(m.Subject), err)
		return true
	}
	fmt.Fprintln(t.w, t.breaker(&b, e.Time))
	return true
}

func (t *tail) outcome(o *schemas.Outcome, at string) string {
	attempt := strconv.Itoa(o.Attempt)
	if o.MaxAttempts > 0 {
		attempt += "/" + strconv.Itoa(o.MaxAttempts)
	}
	line := fmt.Sprintf("%s  %s  %s  id %s  attempt %s", clock(at), paint(fmt.Sprintf("%-11s", o.Kind), tone(o.Kind), t.colour), printable(o.Subject), printable(o.ID), attempt)
	for _, detail := range []string{
		o.Reason, named("error", o.Error), named("code", o.Code), timing(o), named("to", differs(o.Target, o.Subject)), named("cause", o.Cause), named("by", o.Actor), named("because", o.Note),
	} {
		if detail != "" {
			line += "  " + printable(detail)
		}
	}
	return line
}

// timing says when a retry is due, or how late a release was.
func timing(o *schemas.Outcome) string {
	switch {
	case o.Kind == schemas.KindScheduled || o.Kind == schemas.KindHeld:
		return named("due", clock(o.DueAt))
	case o.LateMS > 0:
		return fmt.Sprintf("late %d ms", o.LateMS)
	}
	return ""
}

func (t *tail) breaker(b *schemas.BreakerEvent, at string) string {
	line := fmt.Sprintf("%s  %s  %s  %s -> %s", clock(at), paint(fmt.Sprintf("%-11s", "breaker"), tone(b.To), t.colour), printable(b.Key), b.From, b.To)
	for _, detail := range []string{b.Reason, named("held", strconv.Itoa(b.Held)), named("until", clock(b.OpenUntil))} {
		if detail != "" {
			line += "  " + printable(detail)
		}
	}
	return line
}

func named(name, value string) string {
	if value == "" {
		return ""
	}
	return name + " " + value
}

func differs(a, b string) string {
	if a == b {
		return ""
	}
	return a
}

// clock shortens a time of an event to its time of day, UTC.
func clock(at string) string {
	t, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return at
	}
	return t.UTC().Format("15:04:05.000")
}

func tone(word string) string {
	switch word {
	case schemas.KindDead, schemas.KindRejected, "open", "forced_open":
		return red
	case schemas.KindHeld, schemas.KindFallback, schemas.KindDiscarded, "half_open", "disabled":
		return yellow
	case schemas.KindRecovered, schemas.KindRedelivered, "closed":
		return green
	}
	return blue
}
