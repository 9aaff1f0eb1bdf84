package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Options of a run.
type Options struct {
	Seed    uint64
	Lasts   time.Duration // of load and faults; settling comes after
	Settle  time.Duration // at most, for everything to find its place; 0 = 3 min
	Servers int           // 0 = 3
	Daemons int           // 0 = 3
	Rate    int           // failures a second; 0 = 100
	Far     time.Duration // longest delay asked for; 0 = 20 s
	Only    string        // the one kind of fault that is done; "" = all
	Dir     string        // where streams and logs are; it stays when the run failed
	Log     func(format string, args ...any)
}

func (o Options) withDefaults() Options {
	if o.Settle == 0 {
		o.Settle = 3 * time.Minute
	}
	if o.Servers == 0 {
		o.Servers = 3
	}
	if o.Daemons == 0 {
		o.Daemons = 3
	}
	if o.Rate == 0 {
		o.Rate = 100
	}
	if o.Far == 0 {
		o.Far = 20 * time.Second
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	return o
}

// Run breaks an installation by the schedule of a seed while work fails, and accounts for
// all of it. The error says that the run itself could not be carried out.
func Run(ctx context.Context, o Options) (r Report, err error) {
	o = o.withDefaults()
	r = Report{Seed: o.Seed, Faults: map[string]int{}, Placed: map[string]int{}}
	begin := time.Now()
	starting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	i, err := install(starting, o.Dir, o.Servers, o.Daemons, policies)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, i.uninstall()) }()
	for name, subject := range map[string]string{"JOBS": "jobs.>", "SPARE": "spare.>"} {
		if err := i.stream(starting, name, subject); err != nil {
			return r, err
		}
	}
	l := &load{
		installation: i, account: newAccount(), seed: o.Seed, begin: time.Now(), far: max(o.Far, 7*time.Second), slots: make(chan struct{}, 512),
	}
	alive, stop := context.WithCancel(ctx)
	defer stop()
	for stream, on := range map[string]handler{"JOBS": l.job, "SPARE": l.arrives(placeSpare), "RECOVERY_DEAD": l.arrives(placeDead)} {
		stopWork, err := l.work(alive, stream, on)
		if err != nil {
			return r, err
		}
		defer stopWork()
	}
	o.Log("seed %d: %d servers, %d daemons, %d failures a second for %s", o.Seed, o.Servers, o.Daemons, o.Rate, o.Lasts)
	l.strike(ctx, alive, o, &r)
	if err := l.settle(ctx, o, &r); err != nil {
		return r, err
	}
	r.Lasted = time.Since(begin)
	r.alarms(o.Dir)
	return r, nil
}

// strike reports failures and carries out the schedule at the same time.
func (l *load) strike(ctx, alive context.Context, o Options, r *Report) {
	random := rand.New(rand.NewPCG(o.Seed, 1))
	faults := schedule(rand.New(rand.NewPCG(o.Seed, 2)), o.Lasts, o.Servers, o.Daemons)
	if o.Only != "" {
		faults = slices.DeleteFunc(faults, func(f fault) bool { return string(f.kind) != o.Only })
	}
	for _, f := range faults {
		r.Faults[string(f.kind)]++
	}
	during, over := context.WithTimeout(ctx, o.Lasts)
	defer over()
	broken := make(chan struct{})
	go func() {
		defer close(broken)
		(&breaker{installation: l.installation, log: o.Log}).run(ctx, faults)
	}()
	l.report(during, alive, random, o.Rate)
	<-broken
	for _, p := range append(l.daemons, l.servers...) { // one may have ended by itself
		if !p.alive() {
			o.Log("%s had ended, see %s", p.name, p.log)
			r.Alarms++
			if err := p.start(); err != nil {
				o.Log("%v", err)
			}
		}
	}
}

// settle waits until everything is in its place, then audits.
func (l *load) settle(ctx context.Context, o Options, r *Report) error {
	l.end()
	begin := time.Now()
	timer := time.NewTimer(o.Settle)
	defer timer.Stop()
	select {
	case <-l.done:
		o.Log("everything is in its place after %s", time.Since(begin).Round(time.Millisecond))
	case <-timer.C:
		o.Log("not everything is in its place after %s", o.Settle)
	case <-ctx.Done():
		return ctx.Err()
	}
	// What comes although everything is in its place comes now.
	pause(ctx, 3*time.Second)
	reading, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return l.audit(reading, l.installation, maxAttempts, r)
}

// alarms counts what daemons said must not happen, and shows some of it.
func (r *Report) alarms(dir string) {
	logs, _ := filepath.Glob(filepath.Join(dir, "daemon-*.log"))
	for _, name := range logs {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(text) {
			if bytes.Contains(line, []byte("this must not happen")) || bytes.HasPrefix(line, []byte("panic:")) {
				r.Alarms++
				r.example("%s: %s", filepath.Base(name), bytes.TrimSpace(line))
			}
		}
	}
}

// String is one line for a table.
func (r Report) String() string {
	kills := func(names ...kind) (n int) {
		for _, name := range names {
			n += r.Faults[string(name)]
		}
		return n
	}
	total := 0
	for _, n := range r.Faults {
		total += n
	}
	return fmt.Sprintf("| %d | %.0f s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %.1f s | %.1f s |",
		r.Seed, r.Lasted.Seconds(), total, kills(killDaemon), kills(killServer), r.Works, r.Deliveries, r.Lost, r.Waiting, r.Astray, r.Early, r.Excess,
		r.TargetDuplicates, r.TerminalTwice, r.Alarms, r.P99.Seconds(), r.Latest.Seconds())
}

// Heading is the head of a table of reports.
const Heading = `| seed | lasted | faults | daemons killed | servers killed | ids | deliveries | lost | still waiting | astray | early | over the maximum | duplicates at the target | two terminal outcomes | alarms | p99 late | latest |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|`
