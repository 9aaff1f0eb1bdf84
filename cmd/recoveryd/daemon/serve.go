package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

// Pauses between tries to serve. The same reason is logged again every minute.
const (
	shortestPause = 250 * time.Millisecond
	longestPause  = 2 * time.Second
	sayAgain      = time.Minute
)

// connection is what the daemon itself needs of the connection that bus opens.
type connection interface {
	IsConnected() bool
	LastError() error
	ConnectedUrlRedacted() string
	FlushWithContext(ctx context.Context) error
	Close()
}

// connect opens the connections, which go on by themselves until there is a server: one
// for all that is published, one for what is read in bulk.
func (d *Daemon) connect() error {
	o := d.Connection
	o.Name, o.Retry, o.OnEvent = "recoveryd/"+d.Version+" "+d.Instance, true, d.heard
	nc, err := bus.Connect(o)
	if err != nil {
		return err
	}
	d.nc = nc
	d.stack.add("connection", func(ctx context.Context) error { return closeConnection(ctx, nc) })
	o.Name, o.OnEvent = o.Name+" reads", d.heardReading
	bulk, err := bus.Connect(o)
	if err != nil {
		return err
	}
	d.stack.add("connection for reading", func(context.Context) error { bulk.Close(); return nil })
	c := d.Config
	d.bus, err = bus.New(nc, bus.Config{
		Subjects: d.subjects, StreamPrefix: c.StreamPrefix, Domain: c.JSDomain, Partitions: c.Partitions, Replicas: c.Replicas,
		FailedMaxBytes: int64(c.FailedMaxBytes), OutcomesMaxBytes: int64(c.OutcomesMaxBytes),
		DeadMaxBytes: int64(c.DeadMaxBytes), DeadMaxAge: time.Duration(c.DeadMaxAge), Bulk: bulk, OnEvent: d.feed,
	})
	if err != nil {
		return err
	}
	d.stack.add("bus", func(context.Context) error { d.bus.Close(); return nil })
	return nil
}

// closeConnection sends what is buffered before it closes.
func closeConnection(ctx context.Context, nc connection) error {
	var err error
	if nc.IsConnected() {
		err = nc.FlushWithContext(ctx)
	}
	nc.Close()
	return err
}

// heard is told what happens to the connection.
func (d *Daemon) heard(kind string, err error) {
	switch kind {
	case "closed":
		cause := schemas.ErrClosed
		if err != nil {
			cause = fmt.Errorf("%w: %w", schemas.ErrClosed, err)
		}
		d.cancel(cause) // without effect when the daemon stops anyway
	case "connected", "reconnected":
		d.log.Info().Msg(kind)
	case "disconnected":
		if d.ctx.Err() == nil { // else it is the daemon's own doing
			d.log.Warn().Err(err).Msg(kind)
		}
	default:
		d.log.Warn().Err(err).Msg("connection: " + kind)
	}
}

// heardReading is told what happens to the connection for reading: what the other one does
// not tell at the same time.
func (d *Daemon) heardReading(kind string, err error) {
	switch kind {
	case "connected":
	case "reconnected":
		d.log.Info().Msg("reading: " + kind)
	case "disconnected":
		if d.ctx.Err() == nil {
			d.log.Warn().Err(err).Msg("reading: " + kind)
		}
	default:
		d.heard(kind, err)
	}
}

// feed hears of the feeds of the bus, which go on by themselves.
func (d *Daemon) feed(kind string, err error) {
	e := handlers.Event{Kind: handlers.EventFault, At: time.Now(), Op: "feed: " + kind, Err: err}
	d.metrics.Observe(e)
	d.events.Observe(e)
}

// serve runs the engine until ctx ends, and again after a pause whenever it stops.
func (d *Daemon) serve(ctx context.Context) {
	pause, said, tries := shortestPause, time.Time{}, 0
	for ctx.Err() == nil {
		started := time.Now()
		err := d.serveOnce(ctx)
		d.engine.Store(nil)
		if ctx.Err() != nil {
			return
		}
		if fatal(err) {
			d.cancel(err)
			return
		}
		if time.Since(started) > time.Minute {
			pause, tries = shortestPause, 0
		}
		tries++
		last := d.waiting.Swap(&err)
		if last == nil || (*last).Error() != err.Error() || time.Since(said) >= sayAgain {
			d.log.Warn().Err(err).Int("tries", tries).Msg("not serving yet, trying again")
			said = time.Now()
		}
		wait(ctx, pause)
		pause = min(2*pause, longestPause)
	}
}

// fatal says whether no later try can succeed.
func fatal(err error) bool {
	return errors.Is(err, schemas.ErrForeign) || errors.Is(err, schemas.ErrMismatch) || errors.Is(err, schemas.ErrClosed)
}

var errEngineStopped = errors.New("the engine stopped")

func (d *Daemon) serveOnce(ctx context.Context) error {
	if !d.nc.IsConnected() {
		if err := d.nc.LastError(); err != nil {
			return fmt.Errorf("no connection to a NATS server: %w", err)
		}
		return errors.New("no connection to a NATS server")
	}
	if err := d.bus.Ensure(ctx); err != nil {
		return err
	}
	key, err := d.bus.SealKey(ctx)
	if err != nil {
		return fmt.Errorf("seal key: %w", err)
	}
	leases, err := handlers.NewReplicas(handlers.ReplicasConfig{
		Store: d.bus, Instance: d.Instance, Session: rand.Text(), Shards: d.bus.Partitions(),
		Observer: handlers.Observers{d.metrics, d.events},
	})
	if err != nil {
		return err
	}
	engine, err := handlers.New(handlers.Config{
		Bus: d.bus, Dead: d.bus, Advisories: d.bus, AdvisoryMode: d.Config.Advisories, Subjects: d.subjects, Policies: d.Policies(), SealKey: key, Created: d.bus.Created(), Shards: d.bus.Partitions(),
		Near: time.Duration(d.Config.Near), Memory: int64(d.Config.MemoryLimit), Instance: d.Instance, Version: d.Version, Leases: leases,
		Observer: d.observers(), Grace: time.Duration(d.Config.ShutdownTimeout) * 8 / 10,
	})
	if err != nil {
		return err
	}
	d.engine.Store(engine)
	engine.SetPolicies(d.Policies()) // a reload may have come between
	withdraw, err := d.offer(engine)
	if err != nil {
		return err
	}
	defer withdraw()
	d.serving(ctx)
	var guarding sync.WaitGroup
	defer guarding.Wait()
	ctx, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	guarding.Go(func() { d.guard(ctx, lost) })
	if err := engine.Run(ctx); err != nil {
		return err
	}
	if why := context.Cause(ctx); errors.Is(why, schemas.ErrNotFound) {
		return why
	}
	return errEngineStopped
}

// guardEvery is how often it is asked whether all streams and buckets are still there.
const guardEvery = 15 * time.Second

// guard ends the engine when a stream or bucket was deleted, so that it begins again with
// new ones.
func (d *Daemon) guard(ctx context.Context, lost context.CancelCauseFunc) {
	for ctx.Err() == nil {
		wait(ctx, guardEvery)
		if err := d.bus.Check(ctx); errors.Is(err, schemas.ErrNotFound) {
			lost(err)
			return
		}
	}
}

func (d *Daemon) serving(ctx context.Context) {
	d.waiting.Store(nil)
	d.look(ctx)
	name, version, _ := d.bus.ServerInfo()
	d.log.Info().Str("server", name).Str("version", version).Int("shards", d.bus.Partitions()).Msg("serving")
	d.readyOnce.Do(func() { close(d.ready) })
}

func wait(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
