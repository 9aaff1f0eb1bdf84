package cli

import (
	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/config"
)

func (a *App) config() *cobra.Command {
	var asJSON, reference bool
	c := &cobra.Command{
		Use:   "config",
		Short: "Show the settings in force and where they come from, or what can be set",
		Long:  "Show the settings that recoveryd run would use in this environment. Secrets are masked.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if reference {
				return a.reference(asJSON)
			}
			settings, err := a.settings()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.Stdout, settings.Settings())
			}
			rows := [][]string{{"VARIABLE", "VALUE", "SOURCE"}}
			for _, s := range settings.Settings() {
				rows = append(rows, []string{s.Name, s.Value, s.Source})
			}
			return table(a.Stdout, rows...)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&reference, "reference", false, "list what can be set, with units, ranges and defaults")
	return c
}

func (a *App) reference(asJSON bool) error {
	if asJSON {
		return printJSON(a.Stdout, config.Variables())
	}
	rows := [][]string{{"VARIABLE", "DEFAULT", "ALLOWED", "MEANING"}}
	for _, v := range config.Variables() {
		rows = append(rows, []string{v.Name, v.Default, v.Allowed, v.Doc})
	}
	return table(a.Stdout, rows...)
}
