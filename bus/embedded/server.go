// Package embedded runs a NATS server inside the process: for tests, demonstrations and
// single-machine installations. It is the only package that imports the server.
package embedded

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Logger receives the server's log. *server.Logger's are accepted.
type Logger interface {
	Noticef(format string, v ...any)
	Warnf(format string, v ...any)
	Fatalf(format string, v ...any)
	Errorf(format string, v ...any)
	Debugf(format string, v ...any)
	Tracef(format string, v ...any)
}

// Options of a server. All may be empty.
type Options struct {
	Dir      string // where streams are stored; empty = a temporary one, removed at Stop
	Addr     string // host:port; default 127.0.0.1:0, which chooses a free port
	MaxStore int64  // bytes of all streams together; 0 = three quarters of the free disk
	Logger   Logger // nil = no log
	Name     string // unique within a cluster; default recoveryd
	Cluster  *Cluster
}

// Cluster is how servers that share streams find each other.
type Cluster struct {
	Name  string
	Addr  string   // host:port where this server listens for the others
	Peers []string // host:port of all of them; this one may be among them
}

// Validate names every field that cannot be used.
func (o Options) Validate() error {
	var faults []error
	if _, _, err := o.address(); err != nil {
		faults = append(faults, err)
	}
	if o.MaxStore < 0 {
		faults = append(faults, errors.New("MaxStore is negative"))
	}
	if o.Cluster != nil {
		faults = append(faults, o.Cluster.validate(o.Name))
	}
	return errors.Join(faults...)
}

func (c *Cluster) validate(name string) error {
	var faults []error
	if name == "" {
		faults = append(faults, errors.New("Name is missing: servers of a cluster need different ones"))
	}
	if c.Name == "" {
		faults = append(faults, errors.New("Cluster.Name is missing"))
	}
	for _, addr := range append([]string{c.Addr}, c.Peers...) {
		if _, port, err := hostPort(addr); err != nil || port == 0 {
			faults = append(faults, fmt.Errorf("Cluster: %q is not host:port", addr))
		}
	}
	return errors.Join(faults...)
}

// join adds what makes the server one of a cluster. Clients are not told of the others:
// they know those that they were given.
func (c *Cluster) join(o *server.Options) {
	host, port, _ := hostPort(c.Addr) // validated
	o.Cluster = server.ClusterOpts{Name: c.Name, Host: host, Port: port, NoAdvertise: true}
	for _, peer := range c.Peers {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: peer})
	}
}

func (o Options) address() (host string, port int, err error) {
	if o.Addr == "" {
		return "127.0.0.1", server.RANDOM_PORT, nil
	}
	if host, port, err = hostPort(o.Addr); err != nil {
		return "", 0, fmt.Errorf("Addr %q %w", o.Addr, err)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

func hostPort(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("is not host:port: %w", err)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, errors.New("has no port from 0 to 65535")
	}
	return host, port, nil
}

// Server is a running server with JetStream on disk.
type Server struct {
	inner     *server.Server
	dir       string
	temporary bool
	stop      sync.Once
}

// startWithin is how long a server may take to accept connections. Recovering large
// streams from disk comes before.
const startWithin = 2 * time.Minute

// Start runs a server and returns when it accepts connections.
func Start(o Options) (*Server, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("embedded server: %w", err)
	}
	s := &Server{dir: o.Dir, temporary: o.Dir == ""}
	if s.temporary {
		dir, err := os.MkdirTemp("", "recoveryd-nats-")
		if err != nil {
			return nil, fmt.Errorf("embedded server: directory for streams: %w", err)
		}
		s.dir = dir
	}
	if err := s.run(o); err != nil {
		s.clean()
		return nil, fmt.Errorf("embedded server on %s with streams in %s: %w", o.Addr, s.dir, err)
	}
	return s, nil
}

func (s *Server) run(o Options) error {
	host, port, _ := o.address() // validated
	options := &server.Options{
		ServerName:        cmp.Or(o.Name, "recoveryd"),
		Host:              host,
		Port:              port,
		JetStream:         true,
		StoreDir:          s.dir,
		JetStreamMaxStore: o.MaxStore,
		NoSigs:            true,
	}
	if o.Cluster != nil {
		o.Cluster.join(options)
	}
	inner, err := server.NewServer(options)
	if err != nil {
		return err
	}
	s.inner = inner
	fatal := make(chan string, 1)
	inner.SetLoggerV2(&listener{Logger: o.Logger, fatal: fatal}, false, false, false)
	inner.Start()
	if err := s.ready(fatal); err != nil {
		s.shutdown()
		return err
	}
	return nil
}

// ready waits until clients are accepted. The server tells only its log why they are not.
func (s *Server) ready(fatal <-chan string) error {
	for end := time.Now().Add(startWithin); time.Now().Before(end); {
		select {
		case text := <-fatal:
			return errors.New(text)
		default:
		}
		if s.inner.ReadyForConnections(50 * time.Millisecond) {
			return nil
		}
	}
	return fmt.Errorf("not ready within %v, see its log", startWithin)
}

// URL is where clients connect.
func (s *Server) URL() string { return s.inner.ClientURL() }

// Dir is where the streams are.
func (s *Server) Dir() string { return s.dir }

// Stop shuts the server down, waits for it, and removes a temporary directory.
func (s *Server) Stop() {
	s.stop.Do(func() {
		s.shutdown()
		s.clean()
	})
}

func (s *Server) shutdown() {
	s.inner.Shutdown()
	s.inner.WaitForShutdown()
}

func (s *Server) clean() {
	if s.temporary {
		_ = os.RemoveAll(s.dir) // a leftover below the temporary directory harms nobody
	}
}
