package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/demo"
)

func TestDemoAsJSON(t *testing.T) {
	t.Parallel()
	s := newSession(t, "NATS_URL=nats://127.0.0.1:1") // not used: only a flag leads elsewhere
	a, stdout, stderr := s.app()
	if code := a.Run(t.Context(), []string{"demo", "--beat", "200ms", "--json"}); code != exitOK {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	var r demo.Result
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil || !r.OK || len(r.Scenes) != 4 {
		t.Errorf("%v: %s", err, stdout)
	}
	if got := strings.Count(stderr.String(), "came to their end"); got != 4 {
		t.Errorf("%d scenes were told:\n%s", got, stderr)
	}
}

func TestDemoFailsWithAWrongCount(t *testing.T) {
	t.Parallel()
	a, stdout, _ := newSession(t).app()
	poison := demo.Story()[1]
	poison.Want.Dead = 0
	err := a.runDemo(t.Context(), demo.Options{Embedded: true, Version: "test", Beat: 50 * time.Millisecond, Scenes: []demo.Scene{poison}}, false)
	if codeOf(err) != exitFailed || !strings.Contains(stdout.String(), "1, not 0") || !strings.Contains(stdout.String(), "no  dead letters say why") {
		t.Errorf("%v\n%s", err, stdout)
	}
}

func TestDemoThatCannotBegin(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]int{
		"demo --beat soon":                    exitUsage,
		"demo --beat 1ms":                     exitUsage,
		"demo --server nats://127.0.0.1:1":    exitConnect,
		"demo --server x --user a --nkey b":   exitUsage,
		"demo --server nats://127.0.0.1:1 it": exitUsage,
	} {
		a, stdout, stderr := newSession(t).app()
		if code := a.Run(t.Context(), strings.Fields(line)); code != want || stdout.Len() > 0 || stderr.Len() == 0 {
			t.Errorf("%s: exit %d, want %d\n%s%s", line, code, want, stdout, stderr)
		}
	}
}
