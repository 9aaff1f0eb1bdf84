package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// verdict of one check.
const (
	stateOK   = "ok"
	stateWarn = "warn"
	stateFail = "fail"
)

// finding is what one check found, and what to do about it.
type finding struct {
	State string `json:"state"` // ok, warn or fail
	Check string `json:"check"`
	Found string `json:"found"`
	Next  string `json:"next,omitempty"` // of warn and fail
}

func (a *App) doctor() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong and what to do next",
		Long: strings.TrimSpace(`
Say what is wrong and what to do next: for who was woken and does not know where to begin.

It looks at the server, the streams, the daemons and the work from where it is called, with
or without a running daemon, and changes nothing. Exit code 0: nothing failed, there may be
warnings; 1: something failed; 4: there is no connection.`),
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.examine(c.Context(), asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the findings as a list")
	return c
}

func (a *App) examine(ctx context.Context, asJSON bool) error {
	client, err := a.dial()
	if codeOf(err) == exitConnect && err != nil {
		found := []finding{{stateFail, "connection", err.Error(), "Start the server, or say which with --server, NATS_URL or --context."}}
		if err := a.tellFindings(found, asJSON); err != nil {
			return err
		}
		return quiet(exitConnect)
	}
	if err != nil {
		return err
	}
	defer client.end()
	found := diagnose(client.gather(ctx))
	if err := a.tellFindings(found, asJSON); err != nil {
		return err
	}
	for _, f := range found {
		if f.State == stateFail {
			return quiet(exitFailed)
		}
	}
	return nil
}

func (a *App) tellFindings(all []finding, asJSON bool) error {
	if asJSON {
		return printJSON(a.Stdout, all)
	}
	writeFindings(a.Stdout, all, a.colour(a.Stdout))
	count := map[string]int{}
	for _, f := range all {
		count[f.State]++
	}
	fmt.Fprintf(a.Stderr, "%d failed, %s, %d ok\n", count[stateFail], counted(count[stateWarn], "warning", "warnings"), count[stateOK])
	return nil
}

// writeFindings writes a line for each finding, and below it what to do next.
func writeFindings(w io.Writer, all []finding, colour bool) {
	widest := 0
	for _, f := range all {
		widest = max(widest, len(f.Check))
	}
	tones := map[string]string{stateOK: green, stateWarn: yellow, stateFail: red}
	for _, f := range all {
		fmt.Fprintf(w, "%s  %-*s  %s\n", paint(fmt.Sprintf("%-4s", f.State), tones[f.State], colour), widest, f.Check, printable(f.Found))
		if f.Next != "" {
			fmt.Fprintf(w, "      %-*s  -> %s\n", widest, "", printable(f.Next))
		}
	}
}
