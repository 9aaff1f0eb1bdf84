package cli

import (
	"fmt"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/config"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/daemon"
)

func (a *App) dev() *cobra.Command {
	var addr, dir string
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run daemon, console and a NATS server in one process, to try things out",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			folder, clean, err := folder(dir)
			if err != nil {
				return err
			}
			defer clean()
			settings, err := a.settings(config.Source{Name: "dev", Values: map[string]string{
				"EMBEDDED": "true", "EMBEDDED_ADDR": addr, "EMBEDDED_DIR": folder, "HTTP_ADDR": a.freeHTTP(),
			}})
			if err != nil {
				return err
			}
			return a.serve(c.Context(), settings, func(d *daemon.Daemon) { a.welcome(d, dir == "") })
		},
	}
	c.Flags().StringVar(&addr, "addr", "127.0.0.1:0", "where the NATS server listens, loopback only; port 0 = a free one")
	c.Flags().StringVar(&dir, "dir", "", "where the streams are kept; default a temporary folder, removed at the end")
	return c
}

// folder is where the streams are kept, and what removes it if it is temporary.
func folder(dir string) (path string, clean func(), err error) {
	if dir != "" {
		return dir, func() {}, nil
	}
	path, err = os.MkdirTemp("", "recoveryd-dev-")
	if err != nil {
		return "", nil, fmt.Errorf("folder for the streams: %w: name one with --dir", err)
	}
	return path, func() { _ = os.RemoveAll(path) }, nil // a leftover below the temporary folder harms nobody
}

// freeHTTP is the address asked for, else the usual one if nobody has it, else any.
func (a *App) freeHTTP() string {
	if asked := a.getenv(config.Prefix + "HTTP_ADDR"); asked != "" {
		return asked
	}
	const usual = "127.0.0.1:9222"
	l, err := net.Listen("tcp", usual)
	if err != nil {
		return "127.0.0.1:0"
	}
	l.Close()
	return usual
}

// welcome says what is there and what to try first.
func (a *App) welcome(d *daemon.Daemon, temporary bool) {
	url, policies := d.Server(), d.Policies()
	file := d.Config.PolicyFile
	if file == "" {
		file = "built in: 3 attempts, 1 s and 2 s apart, for every subject"
	}
	kept := "kept in " + d.Config.EmbeddedDir
	if temporary {
		kept = "temporary, gone when this ends"
	}
	fmt.Fprintf(a.Stdout, `NATS     %s
Console  %s
Policy   %s (%s)
Streams  %s

Try it in another terminal: a stream for the work, a failure, and what became of it.

  nats --server %[1]s stream add ORDERS --subjects 'orders.>' --defaults
  nats --server %[1]s pub recovery.failed.orders.new '{"id":42}' -H 'Recovery-Error: connection refused'
  nats --server %[1]s sub 'recovery.outcomes.>' --all

`, url, d.URL(), policies.Hash(), file, kept)
}
