package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// overdue judges how late the work is that should have been released.
func (f *facts) overdue() []finding {
	c := check{name: "overdue work"}
	if len(f.replicas) == 0 {
		return nil
	}
	for _, r := range f.replicas {
		lag, where := time.Duration(r.LagMS)*time.Millisecond, "the oldest of "+r.Instance
		if reply := f.answers[r.Instance]; reply != nil {
			lag = 0
			now, told := momentOf(reply.At)
			if !told {
				now = f.now
			}
			for _, s := range reply.Shards {
				due, ok := momentOf(s.OldestDue)
				if d := now.Sub(due); ok && d > lag {
					lag, where = d, fmt.Sprintf("the oldest of shard %d at %s", s.Shard, r.Instance)
				}
			}
		}
		found := fmt.Sprintf("%s is due for %s", where, brief(lag))
		switch next := "Look at it with recoveryd ls --state near, and at the faults above: the target may not store, or the daemon or the server is overloaded."; {
		case lag >= very:
			c.fail(found, next)
		case lag >= late:
			c.warn(found, next)
		}
	}
	return c.fine("none: everything due is released")
}

// parked judges whether dead letters wait for a place.
func (f *facts) parked() []finding {
	c := check{name: "parked letters"}
	if len(f.answers) == 0 {
		return nil
	}
	n := int64(0)
	for _, reply := range f.answers {
		for _, s := range reply.Shards {
			n += s.Parked
		}
	}
	if n > 0 {
		c.warn(dead(n)+" cannot be stored and wait in the ledger", "Make room: replay, export or discard dead letters (recoveryd dlq groups); nothing is lost meanwhile.")
	}
	return c.fine("none: every dead letter is stored")
}

// openBreakers tells of those that hold work back, or count nothing.
func (f *facts) openBreakers() []finding {
	c := check{name: "breakers"}
	if f.breakersErr != nil {
		c.warn("they cannot be listed: "+f.breakersErr.Error(), "Look at the copies and daemons above, then ask again.")
		return c.all
	}
	for i, b := range f.breakers {
		if i == mostOfOneKind {
			c.warn(fmt.Sprintf("and %d more are not closed", len(f.breakers)-i), "See all with recoveryd breaker ls.")
			break
		}
		c.warn(breakerFinding(b))
	}
	return c.fine("all are closed")
}

func breakerFinding(b schemas.BreakerStatus) (found, next string) {
	found = fmt.Sprintf("%s of policy %s is %s", b.Key, b.Policy, b.State)
	if b.ChangedAt != "" {
		found += " since " + day(b.ChangedAt)
	}
	for _, more := range []string{holds(b.Held), named("because", b.Reason), named("by", b.Actor), named("next change", day(b.NextAt))} {
		if more != "" {
			found += ", " + more
		}
	}
	forced := b.State == "forced_open" || b.State == "disabled"
	switch {
	case forced && b.NextAt == "":
		return found + ", without an end", "Somebody set it by hand: if that is over, run recoveryd breaker reset " + quoted(b.Key) + "."
	case forced:
		return found, "Somebody set it by hand and it ends by itself: to end it now, run recoveryd breaker reset " + quoted(b.Key) + "."
	case b.State == "open":
		return found, "Mend what that work needs; it then recovers by itself. What failed: recoveryd breaker show " + quoted(b.Key) + "."
	}
	return found, "It is trying whether the outage is over: watch it with recoveryd breaker show " + quoted(b.Key) + "."
}

func holds(n int) string {
	if n == 0 {
		return ""
	}
	return "holds " + counted(n, "message", "messages")
}

// deadLetters tells how many came lately; that there are some is nothing wrong here.
func (f *facts) deadLetters() []finding {
	c := check{name: "dead letters"}
	if f.lettersErr != nil {
		c.warn("they cannot be counted: "+f.lettersErr.Error(), "Look at the copies and daemons above, then ask again.")
		return c.all
	}
	text := fmt.Sprintf("%d in the store", f.letters)
	g := f.lastHour
	switch {
	case g == nil:
		return c.fine("%s", text)
	case g.Partial:
		return c.fine("%s, too many to count those of the last hour in time", text)
	}
	text += fmt.Sprintf(", %d of them from the last hour", g.TotalLetters)
	if len(g.Groups) > 0 {
		first := g.Groups[0]
		text += fmt.Sprintf("; most of those, %d, have the cause %s, %s: %s", first.Count, first.Cause, first.Reason, shorten(first.Error, 100))
	}
	return c.fine("%s", text)
}

// shortWindow is the least time for which a target should recognise a repeat: a repair after
// a lost acknowledgement may take that long.
const shortWindow = 2 * time.Minute

// deliverable judges whether streams store what the policies deliver.
func (f *facts) deliverable() []finding {
	c := check{name: "targets"}
	if len(f.answers) == 0 {
		return nil
	}
	if f.targetsErr != nil {
		c.warn("some cannot be looked at: "+f.targetsErr.Error(), "Check that this user may ask $JS.API.STREAM.NAMES and $JS.API.STREAM.INFO.")
	}
	for _, subject := range slices.Sorted(maps.Keys(f.targets)) {
		if len(f.targets[subject]) == 0 {
			c.warn("no stream stores "+subject, "Redeliveries to it will be undeliverable: make a stream for it, or set deliver.mode of its policy to core or request.")
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(f.windows), cmp.Compare) {
		if w := f.windows[name]; w < shortWindow {
			c.warn(fmt.Sprintf("stream %s recognises a repeat only for %s", name, w), "Set its duplicate window to 2m or more (nats stream edit "+name+" --dupe-window 2m): a repeat after a crash is delivered twice otherwise.")
		}
	}
	if len(f.targets) == 0 {
		return c.fine("no policy names a subject that a stream must store")
	}
	return c.fine("%s stored", counted(len(f.targets), "named subject is", "named subjects are all"))
}

// brief writes a duration for a person.
func brief(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Truncate(time.Second).String()
	case d >= time.Second:
		return d.Truncate(100 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}
