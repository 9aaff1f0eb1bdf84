package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// watching is how somebody wants to look on.
type watching struct {
	every        time.Duration
	once, asJSON bool
}

// leastEvery keeps a screen from being a load.
const leastEvery = 100 * time.Millisecond

func (a *App) top() *cobra.Command {
	var o watching
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch what all daemons do, as it happens",
		Long: strings.TrimSpace(`
Watch what all daemons do: how much fails and is redelivered per second, what waits, which
breakers are not closed, and the last outcomes. On a terminal it is redrawn in place until
Ctrl-C; elsewhere a picture is printed at each interval.

Rates are counted by the daemons, of everything, also of what policies do not publish, over
the time between two looks: the first picture that has them comes after one interval.`),
		Example: "  recoveryd top --every 5s\n  recoveryd top --once --json",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return a.watch(c.Context(), o) },
	}
	f := c.Flags()
	f.DurationVar(&o.every, "every", time.Second, "time between two looks, at least 100ms")
	f.BoolVar(&o.once, "once", false, "look twice, print one picture, and end")
	f.BoolVar(&o.asJSON, "json", false, "print a JSON document a line")
	return c
}

func (a *App) watch(ctx context.Context, o watching) error {
	if o.every < leastEvery {
		return &exit{code: exitUsage, err: fmt.Errorf("--every: %s is less than %s", o.every, leastEvery)}
	}
	client, err := a.dial()
	if err != nil {
		return err
	}
	defer client.end()
	ctx, stop := a.untilLeft(ctx, client)
	defer stop()
	pictures := a.pictures(o)
	defer pictures.end()
	if err := client.look(ctx, o, pictures); err != nil && !errors.Is(err, errLeft) && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// look shows what is until ctx ends, or once.
func (c *client) look(ctx context.Context, o watching, p pictures) error {
	tick := time.NewTicker(o.every)
	defer tick.Stop()
	before := c.glance(ctx)
	if o.once && before.fault != nil {
		return refusal(before.fault, c)
	}
	if p.live() && ctx.Err() == nil {
		if err := p.show(frameOf(c.url, nil, before)); err != nil {
			return err
		}
	}
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		now := c.glance(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := p.show(frameOf(c.url, before, now)); err != nil || o.once {
			return err
		}
		before = now
	}
}

// pictures is where frames go.
type pictures interface {
	live() bool // drawn in place: also a frame without rates is shown
	show(frame) error
	end()
}

func (a *App) pictures(o watching) pictures {
	switch {
	case o.asJSON:
		return jsonLines{a.Stdout}
	case !o.once && terminal(a.Stdout) && a.getenv("TERM") != "dumb":
		return newScreen(a.Stdout, a.colour(a.Stdout), a.area)
	}
	return plain{a.Stdout, a.colour(a.Stdout)}
}

// jsonLines prints a document a line.
type jsonLines struct{ w io.Writer }

func (jsonLines) live() bool { return false }
func (jsonLines) end()       {}

func (j jsonLines) show(f frame) error {
	e := json.NewEncoder(j.w)
	e.SetEscapeHTML(false)
	return e.Encode(f)
}

// plain prints one picture below the other.
type plain struct {
	w      io.Writer
	colour bool
}

func (plain) live() bool { return false }
func (plain) end()       {}

func (p plain) show(f frame) error {
	_, err := fmt.Fprintln(p.w, strings.Join(f.lines(p.colour), "\n")+"\n")
	return err
}
