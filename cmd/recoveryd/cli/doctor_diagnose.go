package cli

import (
	"errors"
	"fmt"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

// diagnose judges what was gathered. What cannot be judged before something else is mended
// is left out.
func diagnose(f *facts) []finding {
	all := append(f.connection(), f.jetStream()...)
	if f.accountErr != nil {
		return all
	}
	all = append(all, f.streams()...)
	if errors.Is(f.adoptErr, schemas.ErrNotFound) && f.none() {
		return append(all, f.daemons()...)
	}
	for _, check := range []func() []finding{
		f.copies, f.room, f.daemons, f.versions, f.policies, f.clocks, f.ownership, f.faults, f.overdue, f.parked, f.openBreakers, f.deadLetters, f.deliverable, f.watched,
	} {
		all = append(all, check()...)
	}
	return all
}

// check collects what is wrong; if nothing is, fine says so.
type check struct {
	name string
	all  []finding
}

func (c *check) warn(found, next string) {
	c.all = append(c.all, finding{stateWarn, c.name, found, next})
}
func (c *check) fail(found, next string) {
	c.all = append(c.all, finding{stateFail, c.name, found, next})
}

func (c *check) fine(format string, args ...any) []finding {
	if len(c.all) == 0 {
		return []finding{{State: stateOK, Check: c.name, Found: fmt.Sprintf(format, args...)}}
	}
	return c.all
}

// Shares of a limit from which on it is nearly and as good as reached.
const (
	nearlyFull = 0.8
	asGoodFull = 0.95
)

// fill judges how much of a limit is used; without a limit nothing can be full.
func (c *check) fill(what string, used uint64, limit int64, next string) {
	if limit <= 0 {
		return
	}
	share := float64(used) / float64(limit)
	found := fmt.Sprintf("%s is %.0f %% full: %s of %s", what, 100*share, size(used), size(uint64(limit)))
	switch {
	case share >= asGoodFull:
		c.fail(found, next)
	case share >= nearlyFull:
		c.warn(found, next)
	}
}

func (f *facts) connection() []finding {
	c := check{name: "connection"}
	a := f.account
	if a.Old != nil {
		c.fail(a.Old.Error(), "Upgrade the server: a daemon refuses to start on this one.")
	}
	where := fmt.Sprintf("%s at %s, version %s", a.Server, f.url, a.Version)
	if a.Cluster != "" {
		where += ", cluster " + a.Cluster
	}
	if a.RoundTrip > slowTrip {
		c.warn(fmt.Sprintf("%s: a round trip takes %s", where, brief(a.RoundTrip)), "Look at the network between here and the server, and at its load; from the daemons it should be far less.")
	}
	if a.RoundTrip == 0 {
		return c.fine("%s", where)
	}
	return c.fine("%s, round trip %s", where, brief(a.RoundTrip))
}

func (f *facts) jetStream() []finding {
	c := check{name: "jetstream"}
	switch {
	case f.account.Off:
		c.fail(f.accountErr.Error(), "Turn JetStream on for this account, or connect as a user of another one: nothing else can be looked at before.")
		return c.all
	case f.accountErr != nil:
		c.fail("JetStream does not answer: "+f.accountErr.Error(), "Most likely too few servers of the cluster are up: bring them back; else check that this user may ask $JS.API.INFO. Nothing else can be looked at before.")
		return c.all
	}
	var used uint64
	for _, r := range f.account.Stores {
		used += r.Used
		c.fill("the account's storage"+tier(r), r.Used, r.Limit, "Raise the limit of the account, or remove what is not needed: when it is full no failure can be reported.")
	}
	return c.fine("on for this account, which stores %s", size(used))
}

func tier(r bus.Room) string {
	if r.Tier == "" {
		return ""
	}
	return " in tier " + r.Tier
}
