package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// build is what a binary is made of.
type build struct {
	Version   string `json:"version"`
	GoVersion string `json:"go_version"`
	Platform  string `json:"platform"`
}

func (a *App) versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := build{Version: a.Version, GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if asJSON {
				return printJSON(a.Stdout, b)
			}
			fmt.Fprintf(a.Stdout, "recoveryd %s, %s, %s\n", b.Version, b.GoVersion, b.Platform)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
