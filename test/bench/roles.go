package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"strings"
	"syscall"

	"github.com/recoveryd/recoveryd/bus/embedded"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/cli"
)

// This binary is also the server, and with a profile the daemon, that are measured.
const (
	roleVariable    = "BENCH_ROLE"
	profileVariable = "BENCH_PROFILE" // path of the profiles, without number and ending
	roleServer      = "server"
	roleDaemon      = "daemon"
	roleTimer       = "timer"
	roleBare        = "bare"
)

// runRole is the life of a child. The arguments of a server are its folder and, in a cluster,
// its name, where the others meet it, and where it meets them.
func runRole(role string, args []string) int {
	if role == roleTimer {
		timeUntilTold()
		return 0
	}
	code := 0
	err := profiled(os.Getenv(profileVariable), func() error {
		switch role {
		case roleServer:
			return serve(args)
		case roleBare:
			return runBare(args)
		}
		code = cli.Main() // the arguments are those of the daemon
		return nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func serve(args []string) error {
	o := embedded.Options{Dir: args[0]}
	if len(args) > 1 {
		o.Name, o.Cluster = args[1], &embedded.Cluster{Name: "bench", Addr: args[2], Peers: strings.Split(args[3], ",")}
	}
	s, err := embedded.Start(o)
	if err != nil {
		return err
	}
	fmt.Println(s.URL())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	<-ctx.Done()
	s.Stop()
	return nil
}

// profiled runs with a profiler beside it, unless path is empty. Each measurement is profiled
// by itself: beginProfile starts one, endProfile writes it, as path with its number.
func profiled(path string, run func() error) error {
	if path == "" {
		return run()
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, beginProfile, endProfile)
	written := make(chan error)
	go func() { written <- profile(path, signals) }()
	err := run()
	signal.Stop(signals)
	close(signals)
	return errors.Join(err, <-written)
}

const (
	beginProfile = syscall.SIGUSR1
	endProfile   = syscall.SIGUSR2
)

// profile goes on until there are no more signals.
func profile(path string, signals <-chan os.Signal) error {
	var cpu *os.File // of the profile that is being taken
	end := func() error {
		pprof.StopCPUProfile()
		err := errors.Join(cpu.Close(), writeMemory(strings.TrimSuffix(cpu.Name(), ".cpu.pprof")+".mem.pprof"))
		cpu = nil
		return err
	}
	n := 0
	for s := range signals {
		var err error
		switch {
		case s == beginProfile && cpu == nil:
			n++
			if cpu, err = os.Create(fmt.Sprintf("%s.%d.cpu.pprof", path, n)); err == nil {
				err = pprof.StartCPUProfile(cpu)
			}
		case s == endProfile && cpu != nil:
			err = end()
		}
		if err != nil {
			return fmt.Errorf("profile: %w", err)
		}
	}
	if cpu == nil {
		return nil
	}
	return end()
}

// writeMemory writes what was allocated since the start, and what of it is in use.
func writeMemory(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}
