package permissions

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/config"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/daemon"
	"github.com/recoveryd/recoveryd/schemas"
)

// patience is far longer than anything takes: a busy machine must not fail a test.
const patience = 2 * time.Minute

// policies name their subjects, and deliver in every mode.
const policies = `
version: 1
policies:
  - name: orders
    subjects: ["orders.>"]
    retry: {max_attempts: 2, initial_delay: 300ms, jitter: none}
    breaker: {disabled: true}
    fallback: ["manual.orders"]
    outcomes: all
    dead_letter: {replay_to: ["mended.*"]}
  - name: mended
    subjects: ["mended.*"]
  - name: down
    subjects: ["down.>"]
    retry: {max_attempts: 5, initial_delay: 100ms, jitter: none}
    breaker: {key: "down", failure_threshold: 2, reset_timeout: 1s, half_open_timeout: 500ms}
    success_evidence: report
  - name: mail
    subjects: ["mail.*"]
    retry: {max_attempts: 5, initial_delay: 100ms, jitter: none}
    deliver: {mode: request, to: "send.{2}", timeout: 5s}
  - name: bell
    subjects: ["bell.*"]
    retry: {initial_delay: 100ms, jitter: none}
    deliver: {mode: core}
  - name: queued
    subjects: ["queue.*"]
    retry: {max_attempts: 2, initial_delay: 100ms, jitter: none}
    breaker: {disabled: true}
  - name: stock
    subjects: ["stock.*"]
    success_evidence: ack
    ack: {stream: STOCK, consumer: book}
`

func policyFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(policies), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// scene is an installation with a user for each role, and the application as another.
type scene struct {
	t       *testing.T
	server  *guarded
	url     string
	environ []string
	config  *config.Config
	inbox   map[string]string // prefixes that are not the standard one
	json    bool              // which form the server is given
	watched []string          // STREAM/CONSUMER
	app     *nats.Conn
	js      jetstream.JetStream
	log     journal
}

// journal is a log that can be read while it is written.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// newScene is of daemons with a policy file, "" for the built-in policy.
func newScene(t *testing.T, policyFile string, environ ...string) *scene {
	t.Helper()
	s := &scene{t: t, inbox: map[string]string{}, environ: append([]string{
		"RECOVERYD_POLICY_FILE=" + policyFile, "RECOVERYD_NEAR=100ms", "RECOVERYD_PARTITIONS=2", "RECOVERYD_HTTP_ADDR=off",
	}, environ...)}
	s.config = s.settings()
	return s
}

func (s *scene) settings(more ...string) *config.Config {
	s.t.Helper()
	c, err := config.Load(config.Environment(append(slices.Clone(s.environ), more...)))
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

var roles = map[string][]string{
	"daemon": {"daemon"}, "worker": {"worker", "--subject", "orders.>", "--subject", "down.>"},
	"observer": {"observer"}, "operator": {"operator"},
}

// args are the arguments of the command for a role.
func (s *scene) args(role string) []string {
	args := slices.Clone(roles[role])
	if inbox := s.inbox[role]; inbox != "" {
		args = append(args, "--inbox", inbox)
	}
	if inbox := s.inbox["operator"]; role == "daemon" && inbox != "" {
		args = append(args, "--operator-inbox", inbox)
	}
	for _, name := range s.watched {
		if role == "daemon" {
			args = append(args, "--watch", name)
		}
	}
	return args
}

// users are those that the server knows, with what is printed for them.
func (s *scene) users() []user {
	s.t.Helper()
	all := []user{{"app", ""}}
	for role := range roles {
		block := printed(s.t, s.environ, s.args(role)...)
		if s.json {
			block = "permissions: " + printed(s.t, s.environ, append(s.args(role), "--json")...)
		}
		all = append(all, user{role, block})
	}
	return all
}

// at connects the application to a server.
func (s *scene) at(g *guarded) {
	s.t.Helper()
	s.server, s.url = g, g.ClientURL()
	s.app = s.connect("app")
	var err error
	if s.config.JSDomain == "" {
		s.js, err = jetstream.New(s.app)
	} else {
		s.js, err = jetstream.NewWithDomain(s.app, s.config.JSDomain)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) options(name string) bus.Options {
	return bus.Options{Servers: s.url, User: name, Password: secret, Name: "test " + name, InboxPrefix: s.inbox[name]}
}

func (s *scene) connect(name string) *nats.Conn {
	s.t.Helper()
	nc, err := bus.Connect(s.options(name))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

// daemon starts one and waits until it serves.
func (s *scene) daemon(instance string, more ...string) (stop func()) {
	s.t.Helper()
	d, err := daemon.Start(s.t.Context(), daemon.Options{
		Config: s.settings(more...), Connection: s.options("daemon"), Version: "test", Instance: instance,
		Log: zerolog.New(&s.log).With().Str("by", instance).Logger(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := d.Stop(ctx); err != nil {
			s.t.Errorf("daemon %s: %v", instance, err)
		}
	})
	s.t.Cleanup(stop)
	s.eventually("daemon "+instance+" is not ready", func() bool {
		select {
		case <-d.Ready():
			return true
		default:
			return false
		}
	})
	return stop
}

// bus is one of the daemon's user, for what a short story does not come to.
func (s *scene) bus() *bus.Bus {
	s.t.Helper()
	b, err := bus.New(s.connect("daemon"), bus.Config{
		Subjects: s.subjects(), StreamPrefix: s.config.StreamPrefix, Domain: s.config.JSDomain, Partitions: s.config.Partitions,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(b.Close)
	return b
}

func (s *scene) subjects() schemas.Subjects { return schemas.Subjects{Prefix: s.config.Prefix} }

// stream makes one of the application.
func (s *scene) stream(name string, subjects ...string) jetstream.Stream {
	s.t.Helper()
	made, err := s.js.CreateStream(s.t.Context(), jetstream.StreamConfig{Name: name, Subjects: subjects})
	if err != nil {
		s.t.Fatal(err)
	}
	return made
}

// consume has what comes to a stream reported as failed, or as done once all is well.
func (s *scene) consume(stream jetstream.Stream, filters []string, r *bus.Reporter, well *atomic.Bool) {
	s.t.Helper()
	c, err := stream.CreateConsumer(s.t.Context(), jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, FilterSubjects: filters})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	consuming, err := c.Consume(func(m jetstream.Msg) {
		var err error
		if well.Load() {
			err = r.Succeeded(ctx, m)
		} else {
			_, err = r.Failed(ctx, m, errors.New("connection refused"))
		}
		if err != nil && ctx.Err() == nil {
			s.t.Errorf("report of %s: %v", m.Subject(), err)
		}
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { cancel(); consuming.Stop(); <-consuming.Closed() })
}

// report publishes a failure as the application does, which may report everything.
func (s *scene) report(subject, id string) {
	s.t.Helper()
	m := &nats.Msg{Subject: s.subjects().Failed(subject), Header: nats.Header{schemas.HeaderID: {id}, schemas.HeaderError: {"connection refused"}}, Data: []byte("{}")}
	if _, err := s.js.PublishMsg(s.t.Context(), m); err != nil {
		s.t.Fatal(err)
	}
}

// eventually looks a few times a second at what no event tells. Who is denied something may
// wait for ever: that ends the test at once.
func (s *scene) eventually(what string, so func() bool) {
	s.t.Helper()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	late := time.After(patience)
	for !so() {
		if denied := s.server.violations(s.t); len(denied) > 0 {
			s.t.Fatalf("%s: %v", what, denied)
		}
		select {
		case <-look.C:
		case <-late:
			s.t.Fatalf("%s: not within %s\n%s", what, patience, s.log.String())
		}
	}
}
