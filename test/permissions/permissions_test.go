package permissions

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/recoveryd/recoveryd/schemas"
)

// Everybody does everything that their roles are there for, nothing is denied, and nothing
// is allowed in vain.
func TestEveryRoleCanDoItsWork(t *testing.T) {
	t.Parallel()
	watched := []string{"QUEUE/worker"}
	t.Run("with the names that recoveryd has by itself", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, policyFile(t))
		s.watched = watched
		s.at(serve(t, configure(t, jetStream(t, ""), s.users()...)))
		s.tell()
		s.check("ACK.*.*.", "FC.*.*.")
	})
	own := []string{"RECOVERYD_PREFIX=shop.rescue", "RECOVERYD_STREAM_PREFIX=SHOP", "RECOVERYD_JS_DOMAIN=hub"}
	t.Run("with other names, inboxes of their own, and a domain that is the server's", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, policyFile(t), own...)
		s.watched = watched
		s.inbox = map[string]string{"daemon": "_INBOX_daemon", "operator": "_INBOX_operator", "app": "_INBOX_operator"}
		s.at(serve(t, configure(t, jetStream(t, "hub")+"feature_flags: {js_ack_fc_v2: true}", s.users()...)))
		s.tell()
		s.check("ACK.SHOP", "FC.KV")
	})
	t.Run("with a domain behind a leaf node", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, policyFile(t), own...)
		s.watched = watched
		hub := configure(t, jetStream(t, "hub"), user{"leaf", ""})
		hub.LeafNode.Host, hub.LeafNode.Port = "127.0.0.1", server.RANDOM_PORT
		at, err := serve(t, hub).Varz(nil)
		if err != nil {
			t.Fatal(err)
		}
		s.json = true
		leaf := configure(t, "", s.users()...)
		remote := &url.URL{Scheme: "nats-leaf", Host: fmt.Sprintf("127.0.0.1:%d", at.LeafNode.Port), User: url.UserPassword("leaf", secret)}
		leaf.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{remote}}}
		s.at(serve(t, leaf))
		s.tell()
		s.check("ACK.*.*.", "FC.*.*.", "API.")
	})
}

func jetStream(t *testing.T, domain string) string {
	conf := "jetstream: {store_dir: \"" + t.TempDir() + "\""
	if domain != "" {
		conf += ", domain: " + domain
	}
	return conf + "}\n"
}

// check finds what was denied, and what is allowed and was never needed. Some of that is
// for servers that are not these: it begins with one of other, behind $JS.
func (s *scene) check(other ...string) {
	s.t.Helper()
	for _, v := range s.server.violations(s.t) {
		s.t.Errorf("%s", v)
	}
	for role := range roles {
		allowed := decoded(s.t, printed(s.t, s.environ, append(s.args(role), "--json")...))
		published, subscribed := s.server.asked(s.t, role)
		for _, part := range []struct {
			what           string
			allowed, asked []string
		}{{"publish", allowed.Publish.Allow, published}, {"subscribe", allowed.Subscribe.Allow, subscribed}} {
			for _, pattern := range part.allowed {
				if !s.used(pattern, part.asked) && !elsewhere(role, pattern, other) {
					s.t.Errorf("%s may %s %s, which it never does", role, part.what, pattern)
				}
			}
		}
	}
}

// replicated are permissions to ask a leader where streams have replicas, which may lag.
var replicated = map[string]string{"daemon": ".STREAM.MSG.GET.*_LEDGER_?", "operator": ".STREAM.MSG.GET.*_DEAD"}

// elsewhere says whether a permission is for other servers.
func elsewhere(role, pattern string, other []string) bool {
	if fits, _ := path.Match("*"+replicated[role], pattern); fits {
		return true
	}
	return slices.ContainsFunc(other, func(o string) bool { return strings.HasPrefix(pattern, "$JS."+o) })
}

func (s *scene) used(pattern string, asked []string) bool {
	before := "$JS." + s.config.JSDomain + ".API."
	return slices.ContainsFunc(asked, func(subject string) bool {
		if schemas.Covers(pattern, subject) {
			return true
		}
		// A server of the domain takes this part away before it looks at permissions.
		rest, ok := strings.CutPrefix(subject, before)
		return ok && (schemas.Covers(pattern, rest) || schemas.Covers(pattern, "$JS.API."+rest))
	})
}
