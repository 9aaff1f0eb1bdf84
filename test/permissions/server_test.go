package permissions

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// secret is the password of every user.
const secret = "secret"

// user is one that a server knows; without permissions it may do everything.
type user struct{ name, permissions string }

// guarded is a server with users, which tells what each of them asked for and was denied.
type guarded struct {
	*server.Server
	log *serverLog
}

// configure reads a configuration file that holds the printed blocks as they are.
func configure(t *testing.T, more string, users ...user) *server.Options {
	t.Helper()
	var conf strings.Builder
	fmt.Fprintf(&conf, "listen: \"127.0.0.1:-1\"\n%s\nauthorization: {\n  users: [\n", more)
	for _, u := range users {
		fmt.Fprintf(&conf, "{ user: %q, password: %q\n%s}\n", u.name, secret, u.permissions)
	}
	conf.WriteString("  ]\n}\n")
	file := filepath.Join(t.TempDir(), "server.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	options, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatalf("the server does not take the configuration: %v\n%s", err, &conf)
	}
	options.NoSigs, options.MaxTracedMsgLen = true, 1 // the log is read for subjects
	return options
}

func serve(t *testing.T, options *server.Options) *guarded {
	t.Helper()
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	g := &guarded{Server: s, log: &serverLog{asked: map[string]map[string]bool{}}}
	s.SetLoggerV2(g.log, false, true, false)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not come up")
	}
	return g
}

// violation is something that a user was denied.
type violation struct{ user, what, subject string }

func (v violation) String() string { return v.user + " may not " + v.what + " " + v.subject }

// serverLog reads what clients ask for, and what they are denied, out of the log.
type serverLog struct {
	mu     sync.Mutex
	denied []violation                // with the number of the connection for the user
	asked  map[string]map[string]bool // by connection: "publish " or "subscribe " and a subject
}

var (
	denial = regexp.MustCompile(`cid:(\d+)\S* .*(Publish|Subscription) Violation - Subject "([^"]*)"`)
	asking = regexp.MustCompile(`cid:(\d+)\S* .*<<- \[(H?PUB|SUB) (\S+)`)
)

func (l *serverLog) Errorf(format string, v ...any) {
	found := denial.FindStringSubmatch(fmt.Sprintf(format, v...))
	if found == nil {
		return
	}
	what := map[string]string{"Publish": "publish", "Subscription": "subscribe"}[found[2]]
	l.mu.Lock()
	defer l.mu.Unlock()
	l.denied = append(l.denied, violation{found[1], what, found[3]})
}

func (l *serverLog) Tracef(format string, v ...any) {
	found := asking.FindStringSubmatch(fmt.Sprintf(format, v...))
	if found == nil {
		return
	}
	what := "publish "
	if found[2] == "SUB" {
		what = "subscribe "
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked[found[1]] == nil {
		l.asked[found[1]] = map[string]bool{}
	}
	l.asked[found[1]][what+strings.TrimSuffix(found[3], "]")] = true
}

func (l *serverLog) Noticef(string, ...any) {}
func (l *serverLog) Warnf(string, ...any)   {}
func (l *serverLog) Fatalf(string, ...any)  {}
func (l *serverLog) Debugf(string, ...any)  {}

// users are the names of those who were ever connected, by the numbers of their connections.
func (g *guarded) users(t *testing.T) map[string]string {
	t.Helper()
	all, err := g.Connz(&server.ConnzOptions{Username: true, State: server.ConnAll, Limit: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, c := range all.Conns {
		names[strconv.FormatUint(c.Cid, 10)] = c.AuthorizedUser
	}
	return names
}

// violations are what was denied so far.
func (g *guarded) violations(t *testing.T) []violation {
	t.Helper()
	users := g.users(t)
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	all := slices.Clone(g.log.denied)
	for i := range all {
		all[i].user = users[all[i].user]
	}
	return all
}

// asked is what a user published and subscribed to so far.
func (g *guarded) asked(t *testing.T, name string) (published, subscribed []string) {
	t.Helper()
	users := g.users(t)
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	for connection, asked := range g.log.asked {
		if users[connection] != name {
			continue
		}
		for what := range asked {
			if subject, ok := strings.CutPrefix(what, "publish "); ok {
				published = append(published, subject)
			} else {
				subscribed = append(subscribed, strings.TrimPrefix(what, "subscribe "))
			}
		}
	}
	return published, subscribed
}
