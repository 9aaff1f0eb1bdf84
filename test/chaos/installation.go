package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/bus/embedded"
	"github.com/recoveryd/recoveryd/schemas"
)

var subjects = schemas.Subjects{Prefix: schemas.DefaultPrefix}

// installation is servers and daemons as processes, and a client beside them.
type installation struct {
	servers, daemons []*process
	addrs            []string   // where clients reach the servers
	proxies          [][]*proxy // by daemon and server
	nc               *nats.Conn
	js               jetstream.JetStream
}

// install starts everything in a directory and waits until it is ready. With one server
// there is no cluster.
func install(ctx context.Context, dir string, servers, daemons int, policies string) (i *installation, err error) {
	i = &installation{}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.uninstall())
		}
	}()
	file := filepath.Join(dir, "policies.yaml")
	if err := os.WriteFile(file, []byte(policies), 0o600); err != nil {
		return i, err
	}
	if err := i.startServers(ctx, dir, servers); err != nil {
		return i, err
	}
	if err := i.dial(ctx); err != nil {
		return i, err
	}
	for n := range daemons {
		d, err := i.newDaemon(dir, fmt.Sprintf("daemon-%d", n), file)
		if err != nil {
			return i, err
		}
		if err := d.start(); err != nil {
			return i, err
		}
	}
	for _, d := range i.daemons {
		if err := d.waitReady(ctx); err != nil {
			return i, err
		}
	}
	return i, nil
}

func (i *installation) startServers(ctx context.Context, dir string, n int) error {
	addrs, err := embedded.FreeAddrs(2 * n)
	if err != nil {
		return err
	}
	clients, cluster := addrs[:n], addrs[n:]
	i.addrs = clients
	for k := range n {
		name := fmt.Sprintf("server-%d", k)
		args := []string{name, filepath.Join(dir, name), clients[k], "", ""}
		if n > 1 {
			args[3], args[4] = cluster[k], strings.Join(cluster, ",")
		}
		p := &process{name: name, role: "server", args: args, log: filepath.Join(dir, name+".log")}
		i.servers = append(i.servers, p)
		err = errors.Join(err, p.start())
	}
	for _, p := range i.servers {
		if err == nil {
			err = p.waitReady(ctx)
		}
	}
	return err
}

// newDaemon makes a daemon that reaches each server through a proxy.
func (i *installation) newDaemon(dir, name, policies string) (*process, error) {
	var urls []string
	var proxies []*proxy
	for _, addr := range i.addrs {
		p, err := newProxy(addr)
		if err != nil {
			return nil, err
		}
		proxies = append(proxies, p)
		urls = append(urls, "nats://"+p.addr())
	}
	i.proxies = append(i.proxies, proxies)
	d := &process{name: name, role: "daemon", args: []string{name, strings.Join(urls, ","), policies}, log: filepath.Join(dir, name+".log")}
	i.daemons = append(i.daemons, d)
	return d, nil
}

// dial connects the client and waits until the servers store.
func (i *installation) dial(ctx context.Context) error {
	nc, err := nats.Connect("nats://"+strings.Join(i.addrs, ",nats://"), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond),
		nats.PingInterval(2*time.Second), nats.MaxPingsOutstanding(2), nats.Name("chaos"))
	if err != nil {
		return err
	}
	i.nc = nc
	if i.js, err = jetstream.New(nc); err != nil {
		return err
	}
	return retry(ctx, func(ctx context.Context) error {
		_, err := i.js.AccountInfo(ctx)
		return err
	})
}

// stream makes a stream of the application, replicated as far as there are servers.
func (i *installation) stream(ctx context.Context, name string, subjects ...string) error {
	return retry(ctx, func(ctx context.Context) error {
		_, err := i.js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: subjects, Replicas: len(i.servers), AllowDirect: true})
		return err
	})
}

func (i *installation) uninstall() error {
	if i.nc != nil {
		i.nc.Close()
	}
	for _, p := range append(i.daemons, i.servers...) {
		p.thaw()
		p.kill()
	}
	for _, all := range i.proxies {
		for _, p := range all {
			p.close()
		}
	}
	return nil
}

// retry repeats what fails while servers come and go, until ctx ends.
func retry(ctx context.Context, do func(ctx context.Context) error) error {
	for {
		call, cancel := context.WithTimeout(ctx, 3*time.Second)
		err := do(call)
		cancel()
		if err == nil {
			return nil
		}
		if !pause(ctx, 100*time.Millisecond) {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
