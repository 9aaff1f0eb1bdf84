// Package cli is the command line: one file for each noun. Data goes to stdout, everything
// else to stderr, and the exit code says what kind of thing happened.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/internal/nearest"
)

// App is the command line of one process. Tests run it with their own streams.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Environ        []string
	Version        string

	// Signals delivers the signals that ask the process to stop, until stop is called.
	Signals func() (signals <-chan os.Signal, stop func())

	link link // flags of the connection
}

// Main runs the command line of this process and returns its exit code.
func Main() int {
	a := &App{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(), Version: version(), Signals: notify}
	return a.Run(context.Background(), os.Args[1:])
}

func notify() (<-chan os.Signal, func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	return signals, func() { signal.Stop(signals) }
}

// version is that of the module, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}

// Run executes the arguments and returns the exit code.
func (a *App) Run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(a.Stderr, "recoveryd: "+text)
	}
	return codeOf(err)
}

func (a *App) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "recoveryd",
		Short: "The recovery plane for NATS JetStream",
		Long: `recoveryd takes work that failed, tries it again when it is due, holds it back while what it
needs is down, and keeps what could not be saved.

Report a failure:   nats pub recovery.failed.orders.new '{"id":42}' -H 'Recovery-Error: refused'
See what happens:   nats sub 'recovery.outcomes.>'
Start with:         recoveryd dev
Something is wrong: recoveryd doctor

Exit codes: 0 ok, 1 failed, 2 usage or config, 3 partial, 4 cannot connect, 5 refused by policy`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		DisableAutoGenTag: true,
		Args:              cobra.NoArgs,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, err) })
	a.link.flags(root.PersistentFlags())
	root.AddCommand(a.run(), a.dev(), a.demo(), a.status(), a.top(), a.outcomes(), a.waitingLs(), a.waitingShow(), a.waitingCancel(), a.waitingNow(), a.dlq(), a.replay(),
		a.breaker(), a.watchCommand(), a.streams(), a.doctor(), a.policy(), a.permissions(), a.schema(), a.config(), a.versionCommand())
	strict(root)
	return root
}

// strict makes wrong arguments usage errors that say how it is done.
func strict(c *cobra.Command) {
	check := c.Args
	if check == nil {
		check = cobra.ArbitraryArgs
	}
	c.Args = func(c *cobra.Command, args []string) error {
		switch err := check(c, args); {
		case err == nil:
			return nil
		case c.HasSubCommands() && len(args) > 0:
			return unknown(c, args[0])
		case len(args) > 0:
			return usage(c, fmt.Errorf("wrong arguments: %s", strings.Join(args, " ")))
		default:
			return usage(c, errors.New("an argument is missing"))
		}
	}
	for _, sub := range c.Commands() {
		strict(sub)
	}
}

func usage(c *cobra.Command, err error) error {
	return &exit{code: exitUsage, err: fmt.Errorf("%w: see %s --help", err, c.CommandPath())}
}

// unknown says which command was probably meant.
func unknown(c *cobra.Command, name string) error {
	var names []string
	for _, sub := range c.Commands() {
		names = append(names, sub.Name())
	}
	err := fmt.Errorf("unknown command %q", name)
	if near, ok := nearest.Of(name, names); ok {
		return &exit{code: exitUsage, err: fmt.Errorf("%w: did you mean %s %s?", err, c.CommandPath(), near)}
	}
	return usage(c, err)
}

// group is a command that only has others below it.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	var names []string
	for _, sub := range below {
		names = append(names, sub.Name())
	}
	c := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		return usage(c, fmt.Errorf("say what to do: %s", strings.Join(names, ", ")))
	}}
	c.AddCommand(below...)
	return c
}

// getenv reads the environment that the app was given.
func (a *App) getenv(name string) string {
	value := ""
	for _, pair := range a.Environ {
		if rest, ok := strings.CutPrefix(pair, name+"="); ok {
			value = rest
		}
	}
	return value
}

// terminal says whether a person looks at w.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// colour says whether w may be coloured.
func (a *App) colour(w io.Writer) bool {
	return terminal(w) && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
}
