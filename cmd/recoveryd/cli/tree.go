package cli

import (
	"io"

	"github.com/spf13/cobra"
)

// Tree is the tree of all commands and flags, for documentation: nothing of it can be run.
func Tree() *cobra.Command {
	a := &App{Stdout: io.Discard, Stderr: io.Discard}
	return a.root()
}
