package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/bus"
)

func (a *App) streams() *cobra.Command {
	return group("streams", "Show where recoveryd keeps everything, and how many copies there are", a.streamsLs(), a.streamsReplicate())
}

// store is a stream or bucket, for programs.
type store struct {
	Name     string `json:"name"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	Replicas int    `json:"replicas"`
	Current  int    `json:"current"` // replicas that are up to date
}

func storesOf(states []bus.StreamState) []store {
	list := make([]store, len(states))
	for i, s := range states {
		list[i] = store{s.Name, s.Messages, s.Bytes, s.Replicas, s.Current}
	}
	return list
}

func (a *App) streamsLs() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "ls", Short: "List the streams and buckets with their replicas", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := a.dial()
			if err != nil {
				return err
			}
			defer client.end()
			states, err := client.stores(c.Context())
			if err != nil {
				return err
			}
			return a.listStores(states, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// stores looks at all that there is.
func (c *client) stores(ctx context.Context) ([]bus.StreamState, error) {
	if err := c.adopt(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return c.Stores(ctx)
}

func (a *App) listStores(states []bus.StreamState, asJSON bool) error {
	if asJSON {
		return printJSON(a.Stdout, storesOf(states))
	}
	rows := [][]string{{"NAME", "MESSAGES", "SIZE", "REPLICAS", "UP TO DATE"}}
	for _, s := range states {
		rows = append(rows, []string{s.Name, strconv.FormatUint(s.Messages, 10), size(s.Bytes), strconv.Itoa(s.Replicas), strconv.Itoa(s.Current)})
	}
	return table(a.Stdout, rows...)
}

// replication is how many copies an operator wants of everything.
type replication struct {
	copies              int
	dryRun, yes, asJSON bool
}

func (a *App) streamsReplicate() *cobra.Command {
	var r replication
	c := &cobra.Command{
		Use: "replicate COPIES", Short: "Give every stream and bucket so many copies, 1 to 5, and wait until they are up to date", Args: cobra.ExactArgs(1),
		Long: strings.TrimSpace(`
Give every stream and bucket so many copies, 1 to 5, and wait until they are up to date.

A daemon never changes the copies of a stream that exists: copying loads the cluster. Do it
when a single server has become a cluster, e.g. recoveryd streams replicate 3. Work goes on
meanwhile. If it is interrupted the servers go on copying; calling it again is harmless.`),
		RunE: func(c *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 1 || n > 5 {
				return usage(c, fmt.Errorf("COPIES: %q is no number from 1 to 5", args[0]))
			}
			r.copies = n
			return a.replicate(c.Context(), r)
		},
	}
	f := c.Flags()
	f.BoolVar(&r.dryRun, "dry-run", false, "only list what would be changed")
	f.BoolVarP(&r.yes, "yes", "y", false, "do not ask")
	f.BoolVar(&r.asJSON, "json", false, "print JSON")
	return c
}

// replicate looks first, says what is affected, asks, acts, and waits for the copies.
func (a *App) replicate(ctx context.Context, r replication) error {
	client, err := a.dial()
	if err != nil {
		return err
	}
	defer client.end()
	before, err := client.stores(ctx)
	if err != nil {
		return err
	}
	var affected []bus.StreamState
	bytes := uint64(0)
	for _, s := range before {
		if s.Replicas != r.copies {
			affected = append(affected, s)
			bytes += s.Bytes
		}
	}
	if r.dryRun {
		return a.listStores(affected, r.asJSON)
	}
	if len(affected) > 0 {
		question := fmt.Sprintf("Give %s, %s in all, %s each?", counted(len(affected), "store", "stores"), size(bytes), counted(r.copies, "copy", "copies"))
		if err := a.confirm(question, r.yes); err != nil {
			return err
		}
		if err := client.raise(ctx, r.copies); err != nil {
			return err
		}
	}
	after, err := a.awaitCopies(ctx, client, r.copies)
	if err != nil {
		return err
	}
	return a.listStores(after, r.asJSON)
}

func (c *client) raise(ctx context.Context, copies int) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if err := c.RaiseReplicas(ctx, copies); err != nil {
		return fmt.Errorf("%w\nstores that are not named here have %s now; call it again when the cause is gone", err, counted(copies, "copy", "copies"))
	}
	return nil
}

// awaitCopies waits until all copies are up to date, and says now and then how far it is.
func (a *App) awaitCopies(ctx context.Context, c *client, copies int) ([]bus.StreamState, error) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for n := 0; ; n++ {
		states, err := c.stores(ctx)
		if err != nil {
			return nil, err
		}
		var behind []string
		for _, s := range states {
			if s.Current < copies {
				behind = append(behind, fmt.Sprintf("%s (%d of %d)", s.Name, s.Current, copies))
			}
		}
		if len(behind) == 0 {
			return states, nil
		}
		if n%5 == 0 {
			fmt.Fprintln(a.Stderr, "still copying: "+strings.Join(behind, ", "))
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil, &exit{code: exitPartial, err: fmt.Errorf("interrupted; the servers go on with %s", strings.Join(behind, ", "))}
		}
	}
}
