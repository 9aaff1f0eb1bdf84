package permissions

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/cli"
)

// run executes a command line and returns what it printed.
func run(t *testing.T, environ []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, log bytes.Buffer
	a := &cli.App{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &log, Environ: environ, Version: "1.2.3",
		Signals: func() (<-chan os.Signal, func()) { return nil, func() {} },
	}
	code = a.Run(t.Context(), args)
	return out.String(), log.String(), code
}

// printed is what the command prints for a role.
func printed(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	stdout, stderr, code := run(t, environ, append([]string{"permissions"}, args...)...)
	if code != 0 {
		t.Fatalf("permissions %s: exit %d: %s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

// set is what is printed as JSON.
type set struct{ Publish, Subscribe rules }

type rules struct{ Allow, Deny []string }

func decoded(t *testing.T, text string) (s set) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// The block and the JSON mean the same to a server.
func TestBothFormsMeanTheSame(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"daemon"}, {"daemon", "--policy", policyFile(t)}, {"worker", "--subject", "orders.>"}, {"observer"}, {"operator"}} {
		environ := []string{"RECOVERYD_JS_DOMAIN=hub"}
		var found [2]server.Permissions
		for i, block := range []string{
			printed(t, environ, args...), "permissions: " + printed(t, environ, append(args, "--json")...),
		} {
			found[i] = *configure(t, "", user{"one", block}).Users[0].Permissions
		}
		if a, b := found[0], found[1]; !same(a.Publish, b.Publish) || !same(a.Subscribe, b.Subscribe) || len(a.Publish.Allow) == 0 || len(a.Subscribe.Allow) == 0 {
			t.Errorf("%s: the block means %+v %+v, the JSON %+v %+v", args, a.Publish, a.Subscribe, b.Publish, b.Subscribe)
		}
	}
}

func same(a, b *server.SubjectPermission) bool {
	return slices.Equal(a.Allow, b.Allow) && slices.Equal(a.Deny, b.Deny)
}
