package bus_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

// What a daemon never uses is denied where its policies would allow it.
func TestWidePoliciesAreNarrowed(t *testing.T) {
	t.Parallel()
	everything := []string{
		"shop.rescue.intake.>", "shop.rescue.succeeded.>", "$SYS.>", "$JS.API.STREAM.DELETE.*", "$JS.API.STREAM.RESTORE.*", "$JS.API.STREAM.SNAPSHOT.*", "shop.rescue.failed.>",
	}
	for _, test := range []struct{ name, targets, asked, allowed, denied string }{
		{"no subject of recoveryd", "orders.> shops.*", "", "orders.> shops.*", ""},
		{"some of them", "shop.>", "", "shop.>", "shop.rescue.intake.> shop.rescue.succeeded.> shop.rescue.failed.>"},
		{"all", ">", "", ">", strings.Join(everything, " ")},
		{"all of two tokens", "*.>", "", "*.>", strings.Join(everything, " ")},
		{"all, by requests", ">", ">", "> shop.rescue.failed.>", strings.Join(everything[:6], " ")},
		{"never published to", "shop.rescue.> $JS.> _INBOX.> orders.new", "shop.rescue.>", "orders.new", ""},
	} {
		c := testConfig()
		c.Subjects, c.StreamPrefix = schemas.Subjects{Prefix: "shop.rescue"}, "SHOP"
		none := bus.Access{Config: c}.Daemon(bus.DaemonAccess{})
		p := bus.Access{Config: c}.Daemon(bus.DaemonAccess{Targets: strings.Fields(test.targets), Asked: strings.Fields(test.asked)})
		allowed := slices.DeleteFunc(bus.List(p.Publish.Allow), func(s string) bool { return slices.Contains(bus.List(none.Publish.Allow), s) })
		if want := strings.Fields(test.allowed); !slices.Equal(allowed, want) {
			t.Errorf("%s: allows %q, want %q", test.name, allowed, want)
		}
		if got, want := bus.List(p.Publish.Deny), strings.Fields(test.denied); !slices.Equal(got, want) {
			t.Errorf("%s: denies %q, want %q", test.name, got, want)
		}
	}
}
