package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/config"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/policyfile"
	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

func (a *App) policy() *cobra.Command {
	var file string
	c := group("policy", "Check, explain and test policies", a.policyLint(&file), a.policyExplain(&file), a.policyShow(&file), a.policyTest(&file))
	c.PersistentFlags().StringVarP(&file, "file", "f", "", "policy file (RECOVERYD_POLICY_FILE; else the built-in policy)")
	return c
}

// policyPath is the file that is meant, "" for the built-in policy.
func (a *App) policyPath(file string) string {
	if file != "" {
		return file
	}
	return a.getenv(config.Prefix + "POLICY_FILE")
}

func (a *App) subjects() schemas.Subjects {
	if prefix := a.getenv(config.Prefix + "PREFIX"); prefix != "" {
		return schemas.Subjects{Prefix: prefix}
	}
	return schemas.Subjects{Prefix: schemas.DefaultPrefix}
}

// policies compiles the file that is meant.
func (a *App) policies(file string) (*handlers.Policies, error) {
	path := a.policyPath(file)
	if path == "" {
		return handlers.DefaultPolicies(), nil
	}
	p, err := policyfile.Load(path, a.subjects())
	if err != nil {
		return nil, policyFault(err)
	}
	return p, nil
}

// policyFault shows each fault with its line.
func policyFault(err error) error {
	faults := policyfile.Faults(err)
	if len(faults) == 0 {
		return &exit{code: exitUsage, err: err}
	}
	return &exit{code: exitUsage, err: fmt.Errorf("the policy file has faults\n%s", strings.TrimRight(excerpts(faults), "\n"))}
}

func excerpts(faults []*policyfile.Fault) string {
	var b strings.Builder
	for _, f := range faults {
		b.WriteString(f.Error() + "\n" + f.Excerpt())
	}
	return b.String()
}

// lintReply is what lint found.
type lintReply struct {
	OK       bool                `json:"ok"`
	File     string              `json:"file,omitempty"`
	Hash     string              `json:"hash,omitempty"`
	Policies int                 `json:"policies"`
	Faults   []*policyfile.Fault `json:"faults"`
	Warnings []string            `json:"warnings"`
}

func (a *App) policyLint(file *string) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "lint [FILE]", Short: "Check a policy file, telling every fault with its line", Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := a.policyPath(*file)
			if len(args) == 1 {
				path = args[0]
			}
			if path == "" {
				return &exit{code: exitUsage, err: errors.New("name the policy file: recoveryd policy lint FILE")}
			}
			p, err := policyfile.Load(path, a.subjects())
			faults := policyfile.Faults(err)
			if err != nil && len(faults) == 0 {
				return &exit{code: exitUsage, err: err}
			}
			return a.lint(path, p, faults, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *App) lint(path string, p *handlers.Policies, faults []*policyfile.Fault, asJSON bool) error {
	r := lintReply{OK: p != nil, File: path, Faults: faults, Warnings: []string{}}
	if p == nil {
		r.Warnings = []string{}
	} else {
		r.Hash, r.Policies, r.Faults = p.Hash(), len(p.All()), []*policyfile.Fault{}
		r.Warnings = append(r.Warnings, policyfile.Warnings(p)...)
	}
	switch {
	case asJSON:
		if err := printJSON(a.Stdout, r); err != nil {
			return err
		}
	case r.OK:
		for _, w := range r.Warnings {
			fmt.Fprintf(a.Stdout, "warning: %s\n", w)
		}
		fmt.Fprintf(a.Stdout, "%s: ok, %s, hash %s\n", path, counted(r.Policies, "policy", "policies"), r.Hash)
	default:
		fmt.Fprint(a.Stdout, excerpts(faults))
		fmt.Fprintf(a.Stdout, "%s: %s\n", path, counted(len(faults), "fault", "faults"))
	}
	if !r.OK {
		return quiet(exitUsage)
	}
	return nil
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func (a *App) policyShow(file *string) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "show", Short: "Print the policies with all defaults filled in", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			p, err := a.policies(*file)
			if err != nil {
				return err
			}
			doc := effective(p)
			if asJSON {
				return printJSON(a.Stdout, doc)
			}
			data, err := yaml.MarshalWithOptions(doc, yaml.UseJSONMarshaler(), yaml.IndentSequence(true))
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Stdout, "# hash %s\n%s", p.Hash(), data)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
