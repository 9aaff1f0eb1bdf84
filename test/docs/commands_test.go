package docs

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/cli"
)

func commands(p *page) {
	tree := cli.Tree()
	p.line("## Commands")
	p.line("")
	p.line("Data goes to stdout, everything else to stderr. Every command takes the flags of the connection:")
	p.line("")
	flags(p, tree.PersistentFlags())
	each(tree, func(c *cobra.Command) {
		p.line("### `%s`", strings.TrimSuffix(c.UseLine(), " [flags]"))
		p.line("")
		text := c.Long
		if text == "" {
			text = sentence(c.Short)
		}
		p.line("%s", text)
		p.line("")
		if c.Example != "" {
			p.line("```text\n%s\n```", unindent(c.Example))
			p.line("")
		}
		flags(p, c.LocalNonPersistentFlags())
	})
	p.line("## Exit codes")
	p.line("")
	_, codes, _ := strings.Cut(tree.Long, "Exit codes: ")
	rows := [][]string{{"code", "meaning"}}
	for _, pair := range strings.Split(codes, ", ") {
		n, meaning, _ := strings.Cut(pair, " ")
		rows = append(rows, []string{n, meaning})
	}
	p.table(rows...)
}

// each calls visit for all commands that can be run, but for those that cobra adds.
func each(c *cobra.Command, visit func(*cobra.Command)) {
	for _, sub := range c.Commands() {
		if sub.Name() == "help" || sub.Hidden {
			continue
		}
		if !sub.HasSubCommands() {
			visit(sub)
		}
		each(sub, visit)
	}
}

func flags(p *page, set *pflag.FlagSet) {
	rows := [][]string{{"flag", "default", "meaning"}}
	set.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		standard := f.DefValue
		if standard == "false" || standard == "[]" {
			standard = ""
		}
		rows = append(rows, []string{code(name), code(standard), sentence(f.Usage)})
	})
	if len(rows) > 1 {
		p.table(rows...)
	}
}

func unindent(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}
