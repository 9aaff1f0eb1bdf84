package cli

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/config"
	"github.com/recoveryd/recoveryd/schemas"
)

// daemons judges who is there and answers.
func (f *facts) daemons() []finding {
	c := check{name: "daemons"}
	waiting := f.reports()
	switch {
	case len(f.replicas) == 0 && len(f.answers) == 0 && f.apiErr != nil && !errors.Is(f.apiErr, bus.ErrNoResponders):
		c.fail("none answers: "+f.apiErr.Error(), "Look at the log of the daemons, and whether this user may send requests to <prefix>.api.v1.>.")
	case len(f.replicas) == 0 && len(f.answers) == 0:
		c.fail("none runs: nothing is recovered"+waiting, fmt.Sprintf("Start one with recoveryd run; if one should run, read its log, and check that its %sPREFIX and account are those of this command.", config.Prefix))
	case len(f.answers) == 0 && len(f.silent) > 0:
		c.fail(fmt.Sprintf("%s by the leases, but none answers here%s", counted(len(f.replicas), "is there", "are there"), waiting),
			"If one was just stopped, wait ten seconds and ask again; else look at its log, and whether this user may send requests to <prefix>.api.v1.>.")
	case len(f.silent) > 0:
		for _, name := range slices.Sorted(maps.Keys(f.silent)) {
			c.warn(name+" does not answer: "+f.silent[name].Error(), "If it was just stopped, wait ten seconds and ask again; else look at its log: its shards go to the others when its lease ends.")
		}
	}
	if f.leaseErr != nil && !errors.Is(f.leaseErr, schemas.ErrNotFound) {
		c.warn("the leases cannot be read: "+f.leaseErr.Error(), "Look at the copies above, and check the permissions of this user: until then only the replies tell which daemons are there.")
	}
	var names []string
	for _, r := range f.replicas {
		names = append(names, r.Instance)
	}
	return c.fine("%s: %s", counted(len(names), "answers", "answer"), strings.Join(names, ", "))
}

// reports is how many failures wait to be read.
func (f *facts) reports() string {
	for _, x := range f.stores {
		if strings.HasSuffix(x.Name, "_FAILED") && x.Messages > 0 {
			return fmt.Sprintf(", %s in %s", counted(int(x.Messages), "failure waits", "failures wait"), x.Name)
		}
	}
	return ""
}

// differ groups the live replicas by what they say.
func (f *facts) differ(of func(schemas.InstanceStatus) string) (values []string, text string) {
	who := map[string][]string{}
	for _, r := range f.replicas {
		who[of(r)] = append(who[of(r)], r.Instance)
	}
	values = slices.Sorted(maps.Keys(who))
	var parts []string
	for _, v := range values {
		parts = append(parts, v+" on "+strings.Join(who[v], ", "))
	}
	return values, strings.Join(parts, "; ")
}

func (f *facts) versions() []finding {
	c := check{name: "versions"}
	values, text := f.differ(func(r schemas.InstanceStatus) string { return r.Version })
	if len(values) == 0 {
		return nil
	}
	if len(values) > 1 {
		c.warn("they differ: "+text, "If no upgrade is under way, give all daemons the same version.")
	}
	return c.fine("%s", values[0])
}

func (f *facts) policies() []finding {
	c := check{name: "policies"}
	values, text := f.differ(func(r schemas.InstanceStatus) string { return r.PolicyHash })
	if len(values) == 0 {
		return nil
	}
	if len(values) > 1 {
		c.warn("they differ: "+text, "Give all daemons the same policy file: until then what happens to a failure depends on who owns its shard.")
	}
	return c.fine("%s", values[0])
}

// Times that are worth a word.
const (
	slowTrip      = time.Second // a quarter of that is usual from far away
	clockDiffers  = 250 * time.Millisecond
	late          = 5 * time.Second
	very          = time.Minute // late
	mostOfOneKind = 10          // findings of one check
)

func (f *facts) clocks() []finding {
	c := check{name: "clocks"}
	most := 0.0
	for _, r := range f.replicas {
		most = max(most, math.Abs(r.ClockMS))
		if math.Abs(r.ClockMS) > float64(clockDiffers.Milliseconds()) {
			c.warn(fmt.Sprintf("the server is %.0f ms ahead of %s", r.ClockMS, r.Instance), "Synchronise the clocks of both machines (NTP); it is corrected for as long as it stays as it is.")
		}
	}
	if len(f.replicas) == 0 {
		return nil
	}
	return c.fine("within %.0f ms of the server", math.Ceil(most))
}

// ownership judges whether every shard is served.
func (f *facts) ownership() []finding {
	c := check{name: "shards"}
	if len(f.replicas) == 0 || f.adoptErr != nil {
		return nil
	}
	served := map[int]bool{}
	for shard := range f.owners {
		served[shard] = true
	}
	if f.leaseErr != nil {
		for _, r := range f.replicas {
			for _, shard := range r.Shards {
				served[shard] = true
			}
		}
	}
	var lost []string
	for shard := range f.shards {
		if !served[shard] {
			lost = append(lost, strconv.Itoa(shard))
		}
	}
	if len(lost) > 0 {
		c.fail(fmt.Sprintf("%s served by nobody: %s", counted(len(lost), "shard is", "shards are"), strings.Join(lost, ", ")),
			"If a daemon was just started or stopped, wait ten seconds and ask again; else read the logs for why it is not taken, and restart a daemon.")
	}
	return c.fine("all %d are served", f.shards)
}

// judged are the daemon's own checks that are made here for all daemons together.
var judged = []string{"clock: ", "dead letter lane: "}

// faults repeats what the daemons complain about.
func (f *facts) faults() []finding {
	c := check{name: "faults"}
	if len(f.answers) == 0 {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(f.answers)) {
		for _, fault := range f.answers[name].Faults {
			if !slices.ContainsFunc(judged, func(p string) bool { return strings.HasPrefix(fault, p) }) {
				c.warn(name+": "+fault, "It is being tried again; the log of "+name+" and its /readyz?verbose say more.")
			}
		}
	}
	if more := len(c.all) - mostOfOneKind; more > 0 {
		c.all = c.all[:mostOfOneKind]
		c.warn(fmt.Sprintf("and %d more", more), "Mend these first and ask again, or see them all with recoveryd status.")
	}
	return c.fine("none told by %s", counted(len(f.answers), "daemon", "daemons"))
}
