package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/bus/embedded"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/config"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/daemon"
)

// roleVariable makes a program run as one of the processes that are broken.
const roleVariable = "RECOVERYD_CHAOS_ROLE"

// Child runs the program as a child if it was started as one, and then returns true.
func Child() bool {
	role := os.Getenv(roleVariable)
	if role == "" {
		return false
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
		os.Exit(3)
	}()
	err := map[string]func(context.Context, []string) error{"server": runServer, "daemon": runDaemon}[role](ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// runServer takes name, directory, address of clients, address of the cluster, peers.
func runServer(ctx context.Context, args []string) error {
	o := embedded.Options{Name: args[0], Dir: args[1], Addr: args[2]}
	if args[3] != "" {
		o.Cluster = &embedded.Cluster{Name: "chaos", Addr: args[3], Peers: strings.Split(args[4], ",")}
	}
	s, err := embedded.Start(o)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	<-ctx.Done()
	s.Stop()
	return nil
}

// runDaemon takes a name, the servers, and a file with policies.
func runDaemon(ctx context.Context, args []string) error {
	settings, err := config.Load(config.Source{Name: "chaos", Values: map[string]string{"HTTP_ADDR": "off", "POLICY_FILE": args[2]}})
	if err != nil {
		return err
	}
	log := zerolog.New(os.Stderr).Level(zerolog.InfoLevel).With().Timestamp().Logger()
	zerolog.TimeFieldFormat = time.RFC3339Nano
	d, err := daemon.Start(ctx, daemon.Options{
		Config: settings, Connection: bus.Options{Servers: args[1]}, Version: "0.0.0", Instance: args[0], Log: log,
	})
	if err != nil {
		return err
	}
	<-d.Ready()
	fmt.Println("ready")
	ended := make(chan error, 1)
	go func() { ended <- d.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return d.Stop(stop)
}

// process is a child that can be killed, frozen and started again.
type process struct {
	name, role string
	args       []string
	log        string // file that its standard error is appended to

	mu    sync.Mutex
	cmd   *exec.Cmd
	stdin io.Closer
	ready chan struct{} // closed when it said that it is
	over  chan struct{} // closed when it has ended
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(exe, p.args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+p.role)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err == nil {
		p.stdin, err = cmd.StdinPipe()
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	ready, over := make(chan struct{}), make(chan struct{})
	p.cmd, p.ready, p.over = cmd, ready, over
	go func() {
		defer close(over)
		if line, err := bufio.NewReader(out).ReadString('\n'); err == nil && line == "ready\n" {
			close(ready)
		}
		_ = cmd.Wait() // how it ended is in its log
	}()
	return nil
}

// waitReady waits until the process said that it is ready.
func (p *process) waitReady(ctx context.Context) error {
	p.mu.Lock()
	ready, over := p.ready, p.over
	p.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-over:
		return fmt.Errorf("%s ended: see %s", p.name, p.log)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", p.name, context.Cause(ctx))
	}
}

func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.over:
		return false
	default:
		return true
	}
}

func (p *process) signal(s os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s) // it may have ended already
	}
}

// kill ends the process with SIGKILL and waits for it.
func (p *process) kill() {
	p.signal(os.Kill)
	p.wait()
}

// terminate asks the process to end, and returns how long it took.
func (p *process) terminate() time.Duration {
	begin := time.Now()
	p.signal(syscall.SIGTERM)
	p.wait()
	return time.Since(begin)
}

func (p *process) wait() {
	p.mu.Lock()
	over := p.over
	p.mu.Unlock()
	if over != nil {
		<-over
	}
}

// pid is 0 while the process does not run.
func (p *process) pid() int {
	if !p.alive() {
		return 0
	}
	return p.cmd.Process.Pid
}

var errFreeze = errors.New("this system cannot freeze processes")
