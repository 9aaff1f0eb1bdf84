package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/config"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/demo"
	"github.com/recoveryd/recoveryd/schemas"
)

func (a *App) demo() *cobra.Command {
	var asJSON bool
	var beat string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Play the whole story in half a minute and check that it came true",
		Long: `Play the whole story in half a minute: a handler that recovers, a message that cannot be saved,
an outage that is held back and drained, and a fallback. Then check the outcomes, the streams and
the dead letters; exit 1 if a count is wrong.

It runs a NATS server of its own. With --server or --context it uses that one, with streams and
subjects below a random name, disturbs no daemon there, and removes everything afterwards.`,
		Example: "  recoveryd demo\n  recoveryd demo --server nats://127.0.0.1:4222 --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			unit, err := schemas.ParseDuration(beat)
			if err == nil && (time.Duration(unit) < demo.MinBeat || time.Duration(unit) > demo.MaxBeat) {
				err = fmt.Errorf("%s is not between %s and %s", beat, demo.MinBeat, demo.MaxBeat)
			}
			if err != nil {
				return usage(c, fmt.Errorf("--beat: %w", err))
			}
			return a.runDemo(c.Context(), demo.Options{
				Embedded:   a.link.o.Servers == "" && a.link.o.Context == "", // NATS_URL may be somebody's production
				Connection: a.connection(), Domain: a.getenv(config.Prefix + "JS_DOMAIN"), Version: a.Version,
				Beat: time.Duration(unit), Scenes: demo.Story(),
			}, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	c.Flags().StringVar(&beat, "beat", "1s", "unit of all delays, 20ms to 1m: a shorter one tells the story faster")
	return c
}

// runDemo plays the story until it is over or a signal comes.
func (a *App) runDemo(ctx context.Context, o demo.Options, asJSON bool) error {
	if o.Embedded {
		o.Domain = ""
	} else if err := o.Connection.Validate(); err != nil {
		return &exit{code: exitUsage, err: err}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	signals, stop := a.Signals()
	defer stop()
	go func() {
		select {
		case s := <-signals:
			cancel(fmt.Errorf("ended by %s", s))
		case <-ctx.Done():
		}
	}()
	var log bytes.Buffer // of the daemon; said only when something went wrong
	bars := a.newBars(len(o.Scenes))
	o.Log, o.Tell = &log, bars.tell
	result, err := demo.Run(ctx, o)
	bars.stop()
	if (err != nil || !result.OK) && ctx.Err() == nil {
		fmt.Fprint(a.Stderr, log.String())
	}
	if result != nil {
		err = errors.Join(a.printDemo(result, asJSON), err)
	}
	var unreachable *demo.ConnectError
	switch {
	case errors.As(err, &unreachable):
		return &exit{code: exitConnect, err: err}
	case err != nil:
		return err
	case !result.OK:
		return &exit{code: exitFailed, err: errors.New("the story did not come true: see what differs above")}
	}
	return nil
}

func (a *App) printDemo(r *demo.Result, asJSON bool) error {
	if asJSON {
		return printJSON(a.Stdout, r)
	}
	rows := [][]string{{"WHAT", "MESSAGES", "REPORTED", "REDELIVERED", "RECOVERED", "HELD", "FALLBACK", "DEAD", "ATTEMPTS"}}
	for _, s := range r.Scenes {
		w, n := s.Want, s.Seen
		rows = append(rows, []string{
			s.Title, fmt.Sprint(s.Messages), seen(n.Reported, w.Reported), seen(n.Redelivered, w.Redelivered), seen(n.Recovered, w.Recovered),
			seen(n.Held, w.Held), seen(n.Fallback, w.Fallback), seen(n.Dead, w.Dead), seen(n.Attempts, w.Attempts),
		})
	}
	if err := table(a.Stdout, rows...); err != nil {
		return err
	}
	fmt.Fprintln(a.Stdout)
	for _, c := range r.Checks {
		mark, tone := "ok", green
		if !c.OK {
			mark, tone = "no", red
		}
		fmt.Fprintf(a.Stdout, "%s  %s: %s\n", paint(mark, tone, a.colour(a.Stdout)), c.Name, printable(c.Detail))
	}
	return nil
}

// seen is a count, with what was expected where that is something else.
func seen(n, want int) string {
	switch {
	case n != want:
		return fmt.Sprintf("%d, not %d", n, want)
	case n == 0:
		return "-"
	}
	return fmt.Sprint(n)
}
