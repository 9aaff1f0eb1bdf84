package cli

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/schemas"
)

func TestSelections(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	one, none := 1, 0
	for line, want := range map[string]schemas.DeadFilter{
		"":                                  {},
		"--subject orders.> --cause a,b":    {Subject: "orders.>", Causes: []string{"a", "b"}},
		"--since 2h --until 30m":            {Since: "2026-01-02T10:00:00Z", Until: "2026-01-02T11:30:00Z"},
		"--since 2026-01-01T00:00:00+01:00": {Since: "2025-12-31T23:00:00Z"},
		"--attempts 3":                      {MinAttempts: 3, MaxAttempts: 3},
		"--attempts 3-":                     {MinAttempts: 3},
		"--attempts -5":                     {MaxAttempts: 5},
		"--replays 0":                       {MaxReplays: &none},
		"--replays 0-1":                     {MaxReplays: &one},
		"--replays 2-":                      {MinReplays: 2},
		"--header a=b=c --header d":         {Headers: map[string]string{"a": "b=c", "d": ""}},
		"--id a,b --id c --code 1,2":        {IDs: []string{"a,b", "c"}, Codes: []string{"1,2"}},
		"--reason exhausted,expired":        {Reasons: []string{"exhausted", "expired"}},
		"--text refused --class timeout":    {Error: "refused", Classes: []string{"timeout"}},
	} {
		var s selection
		c := &cobra.Command{Use: "x"}
		s.flags(c.Flags(), false)
		if err := c.ParseFlags(strings.Fields(line)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.read(nil, now); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", line, got, err, want)
		}
	}
}

func TestSelectionsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"--attempts 3-2", "--attempts x", "--attempts -", "--attempts --1", "--replays 1-0", "--replays -1-", "--since 1", "--until tomorrow", "--header =x", "--header a=1 --header a=2",
	} {
		var s selection
		c := &cobra.Command{Use: "x"}
		s.flags(c.Flags(), false)
		if err := c.ParseFlags(strings.Fields(line)); err != nil {
			t.Fatal(err)
		}
		flag, _, _ := strings.Cut(line, " ")
		if _, err := s.read(nil, time.Now()); codeOf(err) != exitUsage || !strings.Contains(err.Error(), flag+": ") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestTheNextPageIsSelectedAlike(t *testing.T) {
	t.Parallel()
	a, _, _ := newSession(t).app()
	c, args, err := a.root().Find([]string{"dlq", "ls"})
	if err != nil {
		t.Fatal(err)
	}
	line := []string{"--subject", "orders.>", "--id", "it's", "--cause", "a,b", "--limit", "2", "--after", "7", "--json"}
	if err := c.ParseFlags(append(args, line...)); err != nil {
		t.Fatal(err)
	}
	if got, want := again(c, nil, "after", "9"), `recoveryd dlq ls --cause a --cause b --id 'it'\''s' --json --limit 2 --subject 'orders.>' --after 9`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestFaultsNameTheirFlags(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		`filter.causes[2]: "x" is no cause; rate: 0 is`: `--cause (filter.causes[2]): "x" is no cause; --rate: 0 is`,
		"stop_permille: 2000 is not":                    "--stop-on-failures (stop_permille): 2000 is not",
		"shard 3 is changing hands: try again":          "shard 3 is changing hands: try again",
		"key: is missing":                               "key: is missing",
	} {
		if got := flagged(message); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// Every field of the requests that the command line sends has the flag that sets it, and
// every flag that is named exists.
func TestEveryFieldOfARequestHasItsFlag(t *testing.T) {
	t.Parallel()
	a, _, _ := newSession(t).app()
	known := map[string]bool{"SEQUENCE": true}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		for _, name := range strings.Fields(c.LocalFlags().FlagUsages()) {
			known[name] = true
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(a.root())
	for field, flag := range flagOf {
		if !known[flag] {
			t.Errorf("%s is set by %s, which is no flag", field, flag)
		}
	}
	own := []string{"filter", "dry_run", "actor", "sample"}
	for typ, prefix := range map[reflect.Type]string{reflect.TypeFor[schemas.JobRequest](): "", reflect.TypeFor[schemas.DeadFilter](): "filter."} {
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if flagOf[prefix+name] == "" && !slices.Contains(append(own, "last_sequence"), name) {
				t.Errorf("%s%s has no flag", prefix, name)
			}
		}
	}
}
