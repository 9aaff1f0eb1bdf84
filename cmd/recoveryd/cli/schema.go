package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/schemas"
)

func (a *App) schema() *cobra.Command {
	var asJSON bool
	ls := &cobra.Command{
		Use: "ls", Short: "List the JSON Schemas of everything that is read and published", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return printJSON(a.Stdout, schemas.Names())
			}
			for _, name := range schemas.Names() {
				fmt.Fprintln(a.Stdout, name)
			}
			return nil
		},
	}
	ls.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	show := &cobra.Command{
		Use: "show NAME", Short: "Print a JSON Schema", Args: cobra.ExactArgs(1), ValidArgs: schemas.Names(),
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := schemas.Schema(args[0])
			if err != nil {
				return &exit{code: exitUsage, err: err}
			}
			_, err = a.Stdout.Write(data)
			return err
		},
	}
	return group("schema", "JSON Schemas of headers, events, requests and policies", ls, show, a.schemaValidate())
}
