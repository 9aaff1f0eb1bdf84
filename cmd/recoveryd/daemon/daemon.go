package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/bus/embedded"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/config"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/policyfile"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/tracing"
	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

// Options is what a daemon needs.
type Options struct {
	Config     *config.Config
	Connection bus.Options // who and where; name, retry and events are the daemon's
	Version    string
	Instance   string // names this replica to the others
	Traces     tracing.Settings
	Log        zerolog.Logger
}

// Validate names every field that is missing.
func (o Options) Validate() error {
	var faults []error
	if o.Config == nil {
		faults = append(faults, errors.New("Config is missing"))
	}
	if o.Version == "" {
		faults = append(faults, errors.New("Version is missing"))
	}
	if o.Instance == "" {
		faults = append(faults, errors.New("Instance is missing"))
	}
	return errors.Join(faults...)
}

// Daemon is a running daemon.
type Daemon struct {
	Options
	log      zerolog.Logger
	subjects schemas.Subjects
	registry *prometheus.Registry
	metrics  *handlers.Metrics
	gauges   *handlers.Gauges
	events   *handlers.Log
	recent   *recent
	watcher  *policyfile.Watcher // nil without a file
	listener net.Listener        // nil without HTTP
	server   *embedded.Server    // nil if the server is elsewhere
	nc       connection
	bus      *bus.Bus
	stores   stores
	tally    tally
	traces   *tracing.Tracing // nil without
	stack    teardown
	started  time.Time

	policies  atomic.Pointer[handlers.Policies]
	engine    atomic.Pointer[handlers.Engine] // nil until the streams are ensured
	reloadErr atomic.Pointer[error]           // nil while the file is the policy in use
	waiting   atomic.Pointer[error]           // why the engine does not run
	ready     chan struct{}
	readyOnce sync.Once

	ctx      context.Context // ends when the daemon shall stop
	cancel   context.CancelCauseFunc
	deadline chan context.Context // of the teardown, from Stop
	finished chan struct{}
	err      error // set before finished is closed
}

// Start brings a daemon up. It returns when everything that needs no server is in place;
// Ready tells when work is being recovered. ctx bounds only Start itself.
func Start(ctx context.Context, o Options) (*Daemon, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	d := prepare(ctx, o)
	for _, part := range []struct {
		name Part
		up   func() error
	}{{PartMetrics, d.measure}, {PartTraces, d.trace}, {PartPolicy, d.loadPolicies}, {PartServer, d.embed}, {PartHTTP, d.listen}, {PartConnection, d.connect}} {
		if err := part.up(); err != nil {
			d.cancel(err)
			return nil, errors.Join(&StartError{Part: part.name, Err: err}, d.tearDown(ctx))
		}
	}
	go d.live()
	return d, nil
}

// prepare makes a daemon of which nothing runs yet.
func prepare(ctx context.Context, o Options) *Daemon {
	d := &Daemon{
		Options: o, log: o.Log, subjects: schemas.Subjects{Prefix: o.Config.Prefix}, registry: prometheus.NewRegistry(),
		events: handlers.NewLog(o.Log, time.Now), recent: newRecent(), started: time.Now(), ready: make(chan struct{}),
		deadline: make(chan context.Context, 1), finished: make(chan struct{}),
	}
	d.ctx, d.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	return d
}

// Part names what could not be started.
type Part string

// Parts in the order in which they start.
const (
	PartMetrics    Part = "metrics"
	PartTraces     Part = "traces"
	PartPolicy     Part = "policies"
	PartServer     Part = "embedded server"
	PartHTTP       Part = "HTTP"
	PartConnection Part = "connection"
)

// StartError says which part could not be started; what had been started was stopped.
type StartError struct {
	Part Part
	Err  error
}

func (e *StartError) Error() string { return e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }

// Ready is closed when the engine runs for the first time.
func (d *Daemon) Ready() <-chan struct{} { return d.ready }

// URL is where the console is, or "" if HTTP is off.
func (d *Daemon) URL() string {
	if d.listener == nil {
		return ""
	}
	return "http://" + d.listener.Addr().String() + "/"
}

// Server is where clients connect, as far as it is known.
func (d *Daemon) Server() string {
	if d.server != nil {
		return d.server.URL()
	}
	return d.nc.ConnectedUrlRedacted()
}

// Policies are those in use.
func (d *Daemon) Policies() *handlers.Policies { return d.policies.Load() }

// Wait returns when the daemon has stopped: nil after Stop, else what ended it. It is a
// schemas.ErrClosed if the connection was closed for good.
func (d *Daemon) Wait() error {
	<-d.finished
	return d.err
}

// Stop lets what is in flight settle, and stops everything by the deadline of ctx, or
// within the shutdown timeout if it has none. The error names what did not stop in time.
func (d *Daemon) Stop(ctx context.Context) error {
	select {
	case d.deadline <- ctx:
	default: // being stopped already
	}
	d.cancel(errStopped)
	select {
	case <-d.finished:
		return d.err
	case <-ctx.Done():
		return fmt.Errorf("stop: %w", context.Cause(ctx))
	}
}

var errStopped = errors.New("stopped")

// live is the daemon's own goroutine.
func (d *Daemon) live() {
	defer close(d.finished)
	d.log.Info().Str("version", d.Version).Str("instance", d.Instance).Str("prefix", d.Config.Prefix).
		Str("policy", d.Policies().Hash()).Str("http", d.URL()).Msg("started")
	d.keepHouse(d.ctx)
	served := make(chan struct{})
	go func() { defer close(served); d.serve(d.ctx) }()
	d.stack.add("engine", waitFor(served))
	<-d.ctx.Done()
	cause := context.Cause(d.ctx)
	ctx := context.Background()
	select {
	case ctx = <-d.deadline:
	default:
	}
	d.err = d.tearDown(ctx)
	if !errors.Is(cause, errStopped) {
		d.err = errors.Join(cause, d.err)
	}
	d.log.Info().AnErr("cause", d.err).Msg("stopped")
}

func (d *Daemon) tearDown(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(d.Config.ShutdownTimeout),
		fmt.Errorf("not done within %s, raise %sSHUTDOWN_TIMEOUT if this happens again", d.Config.ShutdownTimeout, config.Prefix))
	defer cancel()
	return d.stack.run(ctx, d.log)
}

func (d *Daemon) measure() error {
	var err error
	if d.metrics, err = handlers.NewMetrics(d.registry); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	d.gauges, err = handlers.NewGauges(handlers.GaugesConfig{
		Registerer: d.registry, Version: d.Version, Stats: d.stats, Connected: d.connected, Jobs: d.jobStates,
		Clock: d.clockDifference, Replicas: d.replicas,
	})
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return errors.Join(d.registry.Register(collectors.NewGoCollector()),
		d.registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})))
}

func (d *Daemon) stats() []handlers.Stats {
	if e := d.engine.Load(); e != nil {
		return e.Stats()
	}
	return nil
}

func (d *Daemon) clockDifference() time.Duration {
	if e := d.engine.Load(); e != nil {
		return e.ClockDifference()
	}
	return 0
}

func (d *Daemon) replicas() int {
	if e := d.engine.Load(); e != nil {
		return len(e.Instances())
	}
	return 0
}

func (d *Daemon) jobStates() map[string]int {
	if e := d.engine.Load(); e != nil {
		return e.JobStates()
	}
	return nil
}

func (d *Daemon) connected() bool { return d.nc != nil && d.nc.IsConnected() }

func (d *Daemon) embed() error {
	if !d.Config.Embedded {
		return nil
	}
	server, err := embedded.Start(embedded.Options{Dir: d.Config.EmbeddedDir, Addr: d.Config.EmbeddedAddr})
	if err != nil {
		return err
	}
	d.server = server
	d.Connection = bus.Options{Servers: server.URL()}
	d.stack.add("embedded server", func(context.Context) error { server.Stop(); return nil })
	return nil
}
