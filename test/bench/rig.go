package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/bus/embedded"
	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/test/bench/internal/load"
	"github.com/recoveryd/recoveryd/test/bench/internal/proc"
	"github.com/recoveryd/recoveryd/test/bench/internal/report"
)

var subjects = schemas.Subjects{Prefix: schemas.DefaultPrefix}

// Streams that are looked at.
const (
	target        = "BENCH"
	failedStream  = "RECOVERY_FAILED"
	ledgerStream  = "RECOVERY_LEDGER_" // and a number
	outcomeStream = "RECOVERY_OUTCOMES"
	deadStream    = "RECOVERY_DEAD"
	shards        = 8 // the daemon's default
	ledgers       = 2 // streams that they share
)

// rig is a fresh server or cluster, the daemon on it, and a connection beside it.
type rig struct {
	b       *run
	name    string
	dir     string
	url     string // of all servers
	servers []*proc.Child
	daemon  *proc.Child // nil until startDaemon
	timer   *proc.Child // nil unless something is measured
	nc      *nats.Conn
	js      jetstream.JetStream
	bus     *bus.Bus
	publish *load.Publisher
}

// newServers starts one server, or a cluster, for bodies of a size.
func (b *run) newServers(n int, name string, size int) (r *rig, err error) {
	dir, err := os.MkdirTemp(b.dir, name+"-")
	if err != nil {
		return nil, err
	}
	r = &rig{b: b, name: name, dir: dir}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	peers, err := embedded.FreeAddrs(n)
	if err != nil {
		return nil, err
	}
	var urls []string
	for i := range n {
		name := fmt.Sprintf("server%d", i)
		args := []string{filepath.Join(dir, name)}
		if n > 1 {
			args = append(args, name, peers[i], strings.Join(peers, ","))
		}
		server, err := proc.Start(proc.Command{Name: name, Path: exe, Args: args, Log: filepath.Join(dir, name+".log"), Env: r.env(roleServer)})
		if err != nil {
			return nil, err
		}
		r.servers = append(r.servers, server)
		url, err := server.Line()
		if err != nil {
			return nil, err
		}
		urls = append(urls, url)
	}
	r.url = strings.Join(urls, ",")
	if err := r.connect(size); err != nil {
		return nil, err
	}
	return r, r.elected()
}

// elected waits until the servers agree on who leads them.
func (r *rig) elected() error {
	return r.b.until("JetStream is not there", 50*time.Millisecond, func() (uint64, bool, error) {
		_, err := r.js.AccountInfo(r.b.ctx)
		return 0, err == nil, r.b.ctx.Err()
	})
}

func (r *rig) env(role string) []string {
	env := []string{roleVariable + "=" + role}
	if r.b.profile != "" {
		env = append(env, fmt.Sprintf("%s=%s", profileVariable, filepath.Join(r.b.profile, fmt.Sprintf("%s-%d-%s", r.name, r.b.number, role))))
	}
	return env
}

func (r *rig) connect(size int) (err error) {
	if r.nc, err = bus.Connect(bus.Options{Servers: r.url, Name: "bench"}); err != nil {
		return err
	}
	if r.js, err = jetstream.New(r.nc); err != nil {
		return err
	}
	// A publish that the machine is too busy for must not count as failed.
	r.bus, err = bus.New(r.nc, bus.Config{Subjects: subjects, StreamPrefix: "RECOVERY", PublishTimeout: time.Minute})
	if err != nil {
		return err
	}
	r.publish = load.NewPublisher(r.bus, size)
	return nil
}

// newRig starts a server with the target stream, and the daemon with a policy.
func (b *run) newRig(name string, size int, policy string) (*rig, error) {
	return b.newRigOn(1, name, size, policy)
}

// newRigOn has n servers, and as many replicas of every stream.
func (b *run) newRigOn(n int, name string, size int, policy string) (*rig, error) {
	r, err := b.newServers(n, name, size)
	if err != nil {
		return nil, err
	}
	err = r.createTarget()
	if err == nil {
		err = os.WriteFile(r.policyFile(), []byte(policy), 0o600)
	}
	if err == nil {
		err = r.startDaemon()
	}
	if err == nil {
		err = r.ready()
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// createTarget makes the stream that redeliveries go to.
func (r *rig) createTarget() error {
	_, err := r.js.CreateStream(r.b.ctx, jetstream.StreamConfig{Name: target, Subjects: []string{"bench.>"}, Replicas: len(r.servers)})
	return err
}

func (r *rig) policyFile() string { return filepath.Join(r.dir, "policy.yaml") }

func (r *rig) startDaemon() (err error) {
	env := []string{"NATS_URL=" + r.url, "RECOVERYD_POLICY_FILE=" + r.policyFile(), "RECOVERYD_HTTP_ADDR=off", "RECOVERYD_LOG_FORMAT=json"}
	if r.b.binary == itself {
		env = append(env, r.env(roleDaemon)...)
	}
	r.daemon, err = proc.Start(proc.Command{Name: "daemon", Path: r.b.daemonPath, Args: []string{"run"}, Env: env, Log: filepath.Join(r.dir, "daemon.log")})
	return err
}

// startWithin is how long the daemon may take to serve all shards.
const startWithin = 30 * time.Second

// ready waits until each shard of the failures has its consumer, and the reports that
// belong to none have theirs.
func (r *rig) ready() error {
	for end := time.Now().Add(startWithin); time.Now().Before(end); {
		state, err := r.state(failedStream)
		if err == nil && state.Consumers == shards+1 {
			return nil
		}
		// A cluster that is still electing its leaders may not answer in time.
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) && (!errors.Is(err, context.DeadlineExceeded) || r.b.ctx.Err() != nil) {
			return err
		}
		select {
		case <-r.daemon.Exited():
			return r.daemon.Failed(errors.New("ended"))
		default:
		}
		if err := r.b.sleep(20 * time.Millisecond); err != nil {
			return err
		}
	}
	return r.daemon.Failed(fmt.Errorf("does not serve %d shards after %s", shards, startWithin))
}

func (r *rig) close() {
	r.stopTimer()
	if r.daemon != nil {
		r.daemon.Stop(15 * time.Second)
	}
	if r.bus != nil {
		r.bus.Close()
	}
	if r.nc != nil {
		r.nc.Close()
	}
	for _, server := range r.servers {
		server.Stop(15 * time.Second)
	}
	_ = os.RemoveAll(r.dir) // the folder above is removed at the end
}

// usage is what the daemon, and all servers together, have used so far. The peaks begin anew.
type usage struct{ daemon, server proc.Usage }

func (r *rig) usage() (u usage, err error) {
	for _, server := range r.servers {
		one, err := server.Usage()
		if err != nil {
			return u, err
		}
		u.server.CPU, u.server.RSS, u.server.Peak = u.server.CPU+one.CPU, u.server.RSS+one.RSS, u.server.Peak+one.Peak
	}
	if r.daemon != nil {
		u.daemon, err = r.daemon.Usage()
	}
	return u, err
}

// begin starts a measurement.
func (r *rig) begin() (usage, error) {
	for _, child := range r.children() {
		if err := proc.ResetPeak(child.Pid()); err != nil {
			return usage{}, fmt.Errorf("peak of memory: %w", err)
		}
	}
	if err := r.profile(beginProfile); err != nil {
		return usage{}, err
	}
	if err := r.startTimer(); err != nil {
		return usage{}, err
	}
	return r.usage()
}

// children are the servers, and the daemon if it runs.
func (r *rig) children() []*proc.Child {
	if r.daemon == nil {
		return r.servers
	}
	return append(slices.Clone(r.servers), r.daemon)
}

// profile has the children begin or end a profile, if they are to.
func (r *rig) profile(s syscall.Signal) error {
	if r.b.profile == "" {
		return nil
	}
	for _, child := range r.children() {
		if err := syscall.Kill(child.Pid(), s); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
	}
	return nil
}

// end fills in what was used since begin, for each of n operations.
func (r *rig) end(row *report.Row, before usage, n int) error {
	now, err := r.usage()
	if err != nil {
		return err
	}
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(max(1, n)) }
	row.DaemonCPU, row.ServerCPU = each(now.daemon.CPU-before.daemon.CPU), each(now.server.CPU-before.server.CPU)
	row.DaemonRSS, row.ServerRSS = mebibytes(now.daemon.Peak), mebibytes(now.server.Peak)
	return errors.Join(r.readTimer(row), r.profile(endProfile))
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

func (r *rig) state(stream string) (jetstream.StreamState, error) {
	if stream == ledgerStream {
		return r.ledger()
	}
	s, err := r.js.Stream(r.b.ctx, stream)
	if err != nil {
		return jetstream.StreamState{}, fmt.Errorf("look at stream %s: %w", stream, err)
	}
	return s.CachedInfo().State, nil
}

// ledger is what all streams of the ledger hold; LastSeq is how much was ever stored.
func (r *rig) ledger() (all jetstream.StreamState, err error) {
	for i := range ledgers {
		s, err := r.state(ledgerStream + count(i))
		if err != nil {
			return all, err
		}
		all.Msgs, all.Bytes, all.LastSeq = all.Msgs+s.Msgs, all.Bytes+s.Bytes, all.LastSeq+s.LastSeq
	}
	return all, nil
}
