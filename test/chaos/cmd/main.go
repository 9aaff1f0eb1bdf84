// Command cmd runs the chaos test as often and as long as one likes:
//
//	go run ./test/chaos/cmd -runs 20 -duration 1m
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/recoveryd/recoveryd/test/chaos"
)

func main() {
	if chaos.Child() {
		return
	}
	runs := flag.Int("runs", 1, "how many runs, each with the next seed")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()%1e9), "seed of the first run")
	duration := flag.Duration("duration", time.Minute, "of load and faults in each run")
	rate := flag.Int("rate", 100, "failures a second")
	only := flag.String("only", "", "the one kind of fault that is done, e.g. \"kill server\"")
	measure := flag.String("measure", "", "measure instead: takeover, rolling or pace")
	servers := flag.Int("servers", 3, "of a measurement")
	count := flag.Int("n", 100_000, "failures of a measurement")
	keep := flag.String("keep", "", "directory that keeps the streams and logs of runs that failed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *measure != "" {
		if err := measured(ctx, *measure, *servers, *count, *rate); err != nil {
			say("%v", err)
			os.Exit(1)
		}
		return
	}
	failed := 0
	var table []chaos.Report
	for n := range *runs {
		r, err := run(ctx, *keep, chaos.Options{Seed: *seed + uint64(n), Lasts: *duration, Rate: *rate, Only: *only, Log: say})
		if err != nil {
			say("run with seed %d: %v", r.Seed, err)
			failed++
			continue
		}
		if !r.OK() {
			failed++
		}
		for _, e := range r.Examples {
			say("  %s", e)
		}
		say("%s\n%v", chaos.Heading, r)
		table = append(table, r)
	}
	fmt.Println(chaos.Heading)
	for _, r := range table {
		fmt.Println(r)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

// measured carries out one measurement.
func measured(ctx context.Context, what string, servers, count, rate int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "recoveryd-chaos-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	switch what {
	case "takeover":
		return chaos.Takeover(ctx, dir, servers, count, say)
	case "rolling":
		return chaos.Rolling(ctx, dir, servers, rate, say)
	case "pace":
		return chaos.Pace(ctx, dir, servers, count, say)
	}
	return fmt.Errorf("there is no measurement %q: takeover, rolling, pace", what)
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05.000 ")+format+"\n", args...)
}

func run(ctx context.Context, keep string, o chaos.Options) (r chaos.Report, err error) {
	o.Dir, err = os.MkdirTemp("", "recoveryd-chaos-")
	if err != nil {
		return r, err
	}
	r, err = chaos.Run(ctx, o)
	if keep != "" && (err != nil || !r.OK()) {
		return r, errors.Join(err, os.Rename(o.Dir, filepath.Join(keep, fmt.Sprintf("seed-%d", o.Seed))))
	}
	_ = os.RemoveAll(o.Dir) // what is left below the temporary directory harms nobody
	return r, err
}
