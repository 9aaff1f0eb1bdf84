package chaos

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// kind of a fault.
type kind string

const (
	killDaemon    kind = "kill daemon"
	killServer    kind = "kill server"
	freezeDaemon  kind = "freeze daemon"
	freezeServer  kind = "freeze server"
	restartDaemon kind = "restart daemon"
	restartServer kind = "restart server"
	cutNetwork    kind = "cut network of daemon"
	stallNetwork  kind = "stall network of daemon"
	stepDown      kind = "leader steps down"
	dropConsumer  kind = "delete consumer"
)

// fault is something that is broken for a while.
type fault struct {
	at     time.Duration // since the beginning
	kind   kind
	victim int // among those of its sort, modulo their number
	lasts  time.Duration
}

func (f fault) String() string {
	return fmt.Sprintf("%6.2fs %s %d for %s", f.at.Seconds(), f.kind, f.victim, f.lasts.Round(time.Millisecond))
}

// repertoire is how often each kind comes, and how long it may last.
var repertoire = []struct {
	kind     kind
	weight   int
	from, to time.Duration
}{
	{killDaemon, 5, 0, 8 * time.Second},
	{killServer, 4, 500 * time.Millisecond, 4 * time.Second},
	{freezeDaemon, 3, time.Second, 14 * time.Second},
	{freezeServer, 2, 500 * time.Millisecond, 5 * time.Second},
	{restartDaemon, 3, 0, time.Second},
	{restartServer, 2, 0, 2 * time.Second},
	{cutNetwork, 3, 200 * time.Millisecond, 6 * time.Second},
	{stallNetwork, 2, 500 * time.Millisecond, 12 * time.Second},
	{stepDown, 4, 0, 0},
	{dropConsumer, 2, 0, 0},
}

func (k kind) ofServer() bool { return k == killServer || k == freezeServer || k == restartServer }

func (k kind) ofDaemon() bool {
	switch k {
	case killDaemon, freezeDaemon, restartDaemon, cutNetwork, stallNetwork:
		return true
	}
	return false
}

// recovery is what a server gets after a fault before the next one breaks: two of three
// must be there to store anything, and one that came back has to catch up.
const recovery = 4 * time.Second

// schedule decides the faults of a run. At most one server and, most of the time, at most
// two daemons are broken at once; no process is broken twice at the same time.
func schedule(random *rand.Rand, lasts time.Duration, servers, daemons int) []fault {
	var all []fault
	var serverUntil time.Duration
	daemonUntil := make([]time.Duration, daemons)
	for at := time.Second; at < lasts; at += between(random, 700*time.Millisecond, 3500*time.Millisecond) {
		f := pick(random)
		f.at = at
		switch {
		case f.kind.ofServer():
			if servers < 3 && f.kind != killServer && f.kind != restartServer || at < serverUntil {
				continue
			}
			f.victim = random.IntN(servers)
			serverUntil = at + f.lasts + recovery
		case f.kind.ofDaemon():
			f.victim = random.IntN(daemons)
			if at < daemonUntil[f.victim] {
				continue
			}
			daemonUntil[f.victim] = at + f.lasts + time.Second
		default:
			f.victim = random.IntN(1000)
		}
		all = append(all, f)
	}
	return all
}

func pick(random *rand.Rand) fault {
	total := 0
	for _, r := range repertoire {
		total += r.weight
	}
	n := random.IntN(total)
	for _, r := range repertoire {
		if n -= r.weight; n < 0 {
			return fault{kind: r.kind, lasts: between(random, r.from, r.to)}
		}
	}
	panic("unreachable")
}

func between(random *rand.Rand, from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + time.Duration(random.Int64N(int64(to-from)))
}
