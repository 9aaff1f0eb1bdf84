package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"strings"
	"syscall"

	"github.com/recoveryd/recoveryd/bus/embedded"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/cli"
)

// This binary is also the server, and with a profile the daemon, that are measured.
const (
	roleVariable    = "BENCH_ROLE"
	profileVariable = "BENCH_PROFILE" // path of the profiles, without their ending
	roleServer      = "server"
	roleDaemon      = "daemon"
)

// runRole is the life of a child. The arguments of a server are its folder and, in a cluster,
// its name, where the others meet it, and where it meets them.
func runRole(role string, args []string) int {
	code := 0
	err := profiled(os.Getenv(profileVariable), func() error {
		if role == roleServer {
			return serve(args)
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

// profiled writes a profile of the CPU and one of what was allocated, unless path is empty.
func profiled(path string, run func() error) error {
	if path == "" {
		return run()
	}
	cpu, err := os.Create(path + ".cpu.pprof")
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return errors.Join(fmt.Errorf("profile: %w", err), cpu.Close())
	}
	err = run()
	pprof.StopCPUProfile()
	return errors.Join(err, cpu.Close(), writeAllocations(path+".mem.pprof"))
}

func writeAllocations(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	runtime.GC() // what is in use is exact after a collection
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}
