package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/recoveryd/recoveryd/bus"
)

// permissionSet is the value of permissions in a server's configuration.
type permissionSet struct {
	Publish   permissionRules `json:"publish"`
	Subscribe permissionRules `json:"subscribe"`
}

type permissionRules struct {
	Allow []string `json:"allow"`
	Deny  []string `json:"deny"`
}

func listed(p bus.Permissions) permissionSet {
	rules := func(r bus.Rules) permissionRules {
		return permissionRules{Allow: bus.List(r.Allow), Deny: bus.List(r.Deny)}
	}
	return permissionSet{rules(p.Publish), rules(p.Subscribe)}
}

// writePermissions writes the block as a server reads it.
func writePermissions(w io.Writer, p bus.Permissions) error {
	var b strings.Builder
	b.WriteString("permissions: {\n")
	for _, part := range []struct {
		name  string
		rules bus.Rules
	}{{"publish", p.Publish}, {"subscribe", p.Subscribe}} {
		fmt.Fprintf(&b, "  %s: {\n", part.name)
		writeGrants(&b, "allow", part.rules.Allow)
		writeGrants(&b, "deny", part.rules.Deny)
		b.WriteString("  }\n")
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func writeGrants(b *strings.Builder, name string, grants []bus.Grant) {
	if len(grants) == 0 {
		return
	}
	fmt.Fprintf(b, "    %s: [\n", name)
	for _, g := range grants {
		fmt.Fprintf(b, "      # %s\n", g.Why)
		for _, subject := range g.Subjects {
			fmt.Fprintf(b, "      %q\n", subject)
		}
	}
	b.WriteString("    ]\n")
}
