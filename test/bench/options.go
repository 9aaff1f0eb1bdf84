package main

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"time"
)

// options are the flags. Sizes are bytes of a body.
type options struct {
	scenarios []string
	runs      int
	quick     bool
	json      bool
	dir       string
	binary    string
	profile   string

	raw      int
	size     int
	subjects int
	delay    time.Duration
	warm     time.Duration
	span     time.Duration
	window   float64
	only     float64
	outcomes string

	burst      int
	far        int
	farSize    int
	farLead    time.Duration
	farSpread  time.Duration
	outage     int
	outageKeys int
	outageOpen time.Duration
	dead       int
	takeover   int
	idle       time.Duration
}

// itself as the daemon's binary means this one, which runs the same code.
const itself = "self"

func parse(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&o.runs, "runs", 3, "runs of each scenario, of which the median is shown")
	f.BoolVar(&o.quick, "quick", false, "one short run of everything; flags given besides it count")
	f.BoolVar(&o.json, "json", false, "print JSON instead of a table")
	f.StringVar(&o.dir, "dir", "", "where the server stores its streams; default a temporary folder")
	f.StringVar(&o.binary, "recoveryd", "", "the daemon's binary, or "+itself+" for the same code in this one; default it is built")
	f.StringVar(&o.profile, "profile", "", "folder for CPU and memory profiles of daemon and server, a numbered pair for each measurement; implies -recoveryd "+itself)
	f.IntVar(&o.raw, "raw", 1_000_000, "messages of raw publishing, at most 1 GiB: for about as long as what it is compared with")
	f.IntVar(&o.size, "size", 1024, "bytes of a body")
	f.IntVar(&o.subjects, "subjects", 200, "subjects that fail")
	f.DurationVar(&o.delay, "delay", time.Second, "steady: delay of a redelivery")
	f.DurationVar(&o.warm, "warm", 5*time.Second, "steady: before the measurement")
	f.DurationVar(&o.span, "span", 15*time.Second, "steady: length of the measurement")
	f.Float64Var(&o.window, "window", 1.4, "steady: failures under way at the fastest rate, as multiple of those of the ideal rate")
	f.Float64Var(&o.only, "only", 0, "steady: only this many failures per second, or only the fastest rate if negative; 0 = all its loads")
	f.StringVar(&o.outcomes, "outcomes", "attempts", "which outcomes the policy publishes, except in outage: terminal, attempts or all")
	f.IntVar(&o.burst, "burst", 100_000, "burst: failures")
	f.IntVar(&o.far, "far", 1_000_000, "far: failures")
	f.IntVar(&o.farSize, "far-size", 256, "far and takeover: bytes of a body")
	f.DurationVar(&o.farLead, "far-lead", 0, "far and takeover: from the first failure to the first due time; 0 = a minute, or longer if there are many")
	f.DurationVar(&o.farSpread, "far-spread", time.Minute, "far and takeover: from the first due time to the last")
	f.IntVar(&o.outage, "outage", 100_000, "outage: failures that are held")
	f.IntVar(&o.outageKeys, "outage-keys", 1, "outage: breakers that hold them")
	f.DurationVar(&o.outageOpen, "outage-open", 0, "outage: how long the breakers stay open; 0 = as long as holding takes")
	f.IntVar(&o.dead, "dead", 100_000, "dead: failures")
	f.IntVar(&o.takeover, "takeover", 1_000_000, "takeover: failures")
	f.DurationVar(&o.idle, "idle", 20*time.Second, "idle: length of the measurement")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	o.scenarios = f.Args()
	if o.quick {
		o.shorten(f)
	}
	o.complete()
	return o, o.validate()
}

// shorten sets what was not given to values for one run of a few minutes.
func (o *options) shorten(f *flag.FlagSet) {
	given := map[string]bool{}
	f.Visit(func(g *flag.Flag) { given[g.Name] = true })
	for name, value := range map[string]string{
		"runs": "1", "raw": "50000", "warm": "2s", "span": "4s", "burst": "10000", "far": "50000", "far-lead": "12s", "far-spread": "4s",
		"outage": "10000", "dead": "10000", "takeover": "50000", "idle": "5s",
	} {
		if !given[name] {
			_ = f.Set(name, value) // the values above can be read
		}
	}
}

// Rates that are certainly reached, to choose how long something may take.
const (
	sureReports = 8_000 // reports written to the ledger, per second
	sureHolds   = 5_000 // messages of one breaker held, per second
)

func (o *options) complete() {
	if len(o.scenarios) == 0 {
		for _, s := range scenarios {
			o.scenarios = append(o.scenarios, s.name)
		}
	}
	if o.profile != "" {
		o.binary = itself
	}
	if o.farLead == 0 {
		o.farLead = max(time.Minute, per(max(o.far, o.takeover), sureReports))
	}
	if o.outageOpen == 0 {
		o.outageOpen = 8*time.Second + per(o.outage, sureHolds)
	}
}

func per(n, rate int) time.Duration { return time.Duration(n) * time.Second / time.Duration(rate) }

func (o *options) validate() error {
	var faults []error
	for _, name := range o.scenarios {
		if !slices.ContainsFunc(scenarios, func(s scenario) bool { return s.name == name }) {
			faults = append(faults, fmt.Errorf("scenario %q: unknown", name))
		}
	}
	for name, n := range map[string]int{
		"runs": o.runs, "raw": o.raw, "size": o.size, "subjects": o.subjects, "burst": o.burst, "far": o.far, "far-size": o.farSize,
		"outage": o.outage, "outage-keys": o.outageKeys, "dead": o.dead, "takeover": o.takeover,
		"delay": int(o.delay), "warm": int(o.warm), "span": int(o.span), "far-spread": int(o.farSpread), "idle": int(o.idle), "window": int(100 * o.window),
	} {
		if n < 1 {
			faults = append(faults, fmt.Errorf("-%s: must be more than 0", name))
		}
	}
	if o.size > 512<<10 || o.farSize > 512<<10 {
		faults = append(faults, errors.New("-size and -far-size: at most 512 KiB"))
	}
	return errors.Join(faults...)
}
