package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// headroom is what recoveryd may add to a body: its headers and the subject.
const headroom = 16 << 10

// Config says which streams a Bus works with and how they should be. The zero value of
// every field but Subjects and StreamPrefix has a default.
type Config struct {
	Subjects     schemas.Subjects
	StreamPrefix string // first part of all names of streams and buckets
	Domain       string // JetStream domain, "" for that of the server
	Partitions   int    // shards of the intake, 1 to 256; 0 = 8
	Replicas     int    // 0 = 3 if the cluster has them, else 1

	FailedMaxBytes   int64         // 0 = unlimited, as the next two
	OutcomesMaxBytes int64         //
	DeadMaxBytes     int64         //
	DeadMaxAge       time.Duration // 0 = kept for ever

	PublishTimeout time.Duration // until a publish counts as unanswered; 0 = 5 s
	MaxInFlight    int           // publishes and requests without an answer; 0 = 16,384

	// Bulk is a second connection, over which stored messages are read and followed. The
	// server answers one request of a connection after the other: what is published would
	// wait behind a read of a thousand messages. nil = the only connection; it stays the
	// caller's, too.
	Bulk *nats.Conn

	// OnEvent is told what feeds live through: "retry" (with the reason, it goes on by
	// itself). It may be called from several goroutines and must not block.
	OnEvent func(kind string, err error)
}

func (c Config) withDefaults() Config {
	if c.Partitions == 0 {
		c.Partitions = 8
	}
	if c.PublishTimeout == 0 {
		c.PublishTimeout = 5 * time.Second
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 16384
	}
	if c.OnEvent == nil {
		c.OnEvent = func(string, error) {}
	}
	return c
}

var streamPrefix = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Validate names every field that cannot be used.
func (c Config) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	prefix := c.Subjects.Prefix
	if err := schemas.CheckLiteral(prefix); err != nil {
		check(false, "Subjects.Prefix: %w", err)
	}
	check(len(prefix) <= 64, "Subjects.Prefix has %d bytes, at most 64 leave room for subjects", len(prefix))
	check(!strings.HasPrefix(prefix, "$") && !strings.HasPrefix(prefix, "_"), "Subjects.Prefix %q is reserved by the server", prefix)
	check(streamPrefix.MatchString(c.StreamPrefix), "StreamPrefix %q must be 1 to 64 letters, digits, _ or -", c.StreamPrefix)
	check(!strings.ContainsAny(c.Domain, ".*> \t"), "Domain %q must be one token", c.Domain)
	check(c.Partitions >= 0 && c.Partitions <= 256, "Partitions is %d, not 1 to 256 or 0 for 8", c.Partitions)
	check(c.Replicas >= 0 && c.Replicas <= 5, "Replicas is %d, not 1 to 5 or 0 for automatic", c.Replicas)
	check(c.FailedMaxBytes >= 0, "FailedMaxBytes is negative")
	check(c.OutcomesMaxBytes >= 0, "OutcomesMaxBytes is negative")
	check(c.DeadMaxBytes >= 0, "DeadMaxBytes is negative")
	check(c.DeadMaxAge >= 0, "DeadMaxAge is negative")
	check(c.PublishTimeout >= 0, "PublishTimeout is negative")
	check(c.MaxInFlight >= 0 && c.MaxInFlight <= 1<<20, "MaxInFlight is %d, not 1 to 1,048,576 or 0 for 16,384", c.MaxInFlight)
	return errors.Join(faults...)
}

// Bus works with the streams of one recoveryd over one connection. It is safe for
// concurrent use.
type Bus struct {
	nc    *nats.Conn
	bulk  *nats.Conn // may be nc
	js    jetstream.JetStream
	cfg   Config
	api   string // prefix of the JetStream API
	out   *publisher
	link  *link         // of nc
	reads *link         // of bulk
	gate  chan struct{} // bounds concurrent API requests

	close sync.Once

	mu         sync.Mutex
	partitions int
	created    time.Time
	replicated bool   // more than one replica: direct gets may be stale
	advisories string // the stream that records advisories
	level      int    // API level of the server
	domain     string // of JetStream, as the server names it
	buckets    map[string]jetstream.KeyValue
}

// maxRequests is how many API requests one daemon has under way: the server queues
// 10,000 of all its clients and then drops them all.
const maxRequests = 32

// New makes a Bus on an open connection, which stays the caller's. It talks to no
// server; call Ensure or Adopt before anything that needs streams, and Close at the end.
func New(nc *nats.Conn, c Config) (*Bus, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("configuration of the bus: %w", err)
	}
	c = c.withDefaults()
	b := &Bus{nc: nc, bulk: cmp.Or(c.Bulk, nc), cfg: c, api: "$JS.API.", partitions: c.Partitions,
		gate: make(chan struct{}, maxRequests), buckets: map[string]jetstream.KeyValue{}}
	var err error
	if c.Domain == "" {
		b.js, err = jetstream.New(nc)
	} else {
		b.api = "$JS." + c.Domain + ".API."
		b.js, err = jetstream.NewWithDomain(nc, c.Domain)
	}
	if err != nil {
		return nil, fmt.Errorf("JetStream client: %w", err)
	}
	if b.out, err = newPublisher(nc, c.MaxInFlight, c.PublishTimeout); err != nil {
		return nil, err
	}
	b.link = newLink(nc)
	b.reads = newLink(b.bulk)
	return b, nil
}

// Close fails what is in flight with schemas.ErrClosed and waits for the goroutines of
// the bus. Stop feeds first. The connection stays open.
func (b *Bus) Close() {
	b.close.Do(func() {
		b.out.close()
		b.link.close()
		b.reads.close()
	})
}

// Partitions is the number of shards, as the stream of failures has it.
func (b *Bus) Partitions() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.partitions
}

// Created is when the stream of failures was created: ids derived from its sequences are
// unique only together with it.
func (b *Bus) Created() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.created
}

// AdvisoryStream is the stream that records advisories: recoveryd's own, or another one
// that already owned their subjects.
func (b *Bus) AdvisoryStream() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.advisories
}

// APILevel is the JetStream API level of the server, known after Ensure.
func (b *Bus) APILevel() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.level
}

// MaxBody is the largest body in bytes that can be redelivered with recoveryd's headers.
func (b *Bus) MaxBody() int { return int(b.nc.MaxPayload()) - headroom }

// Connected says whether there is a server right now.
func (b *Bus) Connected() bool { return b.nc.IsConnected() }

// ServerInfo names the connected server; all empty while there is none.
func (b *Bus) ServerInfo() (name, version, cluster string) {
	return b.nc.ConnectedServerName(), b.nc.ConnectedServerVersion(), b.nc.ConnectedClusterName()
}

// ServerTime samples the server's clock: what it read, and what the local clock read when
// the answer was here. The server's time is then certainly past, so that an estimate made
// of the two never runs ahead of the server.
func (b *Bus) ServerTime(ctx context.Context) (server, local time.Time, err error) {
	var info struct {
		Time time.Time `json:"ts"`
	}
	if err := b.request(ctx, "STREAM.INFO."+b.stream(failed), nil, &info); err != nil {
		return time.Time{}, time.Time{}, fmt.Errorf("clock of the server: %w", err)
	}
	return info.Time, time.Now(), nil
}

// PublishCore sends a message that no stream needs to confirm. It returns when the
// message is buffered, not when it is sent.
func (b *Bus) PublishCore(m schemas.Message) error {
	err := checkSubject(m.Subject)
	if err == nil {
		err = clientError(b.nc.PublishMsg(&nats.Msg{Subject: m.Subject, Header: nats.Header(m.Header), Data: m.Body}))
	}
	if err != nil {
		return about(m.Subject, err)
	}
	return nil
}

// bounded is ctx for a request: it ends with the connection and, if it has no deadline,
// after the time of two publishes.
func (b *Bus) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return b.link.bind(ctx, 2*b.cfg.PublishTimeout)
}
