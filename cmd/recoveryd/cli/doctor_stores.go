package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/config"
	"github.com/recoveryd/recoveryd/schemas"
)

// none says whether there is not a single stream or bucket of recoveryd.
func (f *facts) none() bool {
	for _, x := range f.stores {
		if !x.Missing {
			return false
		}
	}
	return true
}

// streams judges whether all streams and buckets are there, recoveryd's own, and as this
// version makes them.
func (f *facts) streams() []finding {
	c := check{name: "streams"}
	if errors.Is(f.adoptErr, schemas.ErrNotFound) && f.none() {
		c.fail("there is none of recoveryd at "+f.url, fmt.Sprintf("Start a daemon there with recoveryd run, which makes them, or name another server, %sSTREAM_PREFIX or %[1]sJS_DOMAIN.", config.Prefix))
		return c.all
	}
	if f.adoptErr != nil && !errors.Is(f.adoptErr, schemas.ErrNotFound) {
		c.fail(f.adoptErr.Error(), "Look at it with nats stream info: without it no daemon can start.")
	}
	for _, x := range f.stores {
		f.asMade(&c, x)
	}
	return c.fine("%d streams and buckets, as this version makes them", len(f.stores))
}

func (f *facts) asMade(c *check, x bus.Examined) {
	switch {
	case x.Fault != nil: // told with the copies
	case x.Missing && strings.HasSuffix(x.Wanted, "_ADVISORIES") && x.Elsewhere != "":
		// Then that one is used.
	case x.Missing && x.Elsewhere != "":
		c.fail(fmt.Sprintf("%s is not there, and stream %s takes its subjects", x.Wanted, x.Elsewhere), "Remove those subjects from that stream, then restart a daemon: it makes its own.")
	case x.Missing:
		c.fail(x.Wanted+" is not there", "Start or restart a daemon: it makes the stream; what it held is lost, unless a backup is restored before (nats stream restore).")
	case x.Foreign:
		c.fail(x.Name+" was not made by recoveryd: it has no metadata owner=recoveryd", fmt.Sprintf("Remove or rename that stream, or run recoveryd with another %sSTREAM_PREFIX.", config.Prefix))
	case x.Fixed:
		c.fail(x.Name+" differs: "+strings.Join(x.Differences, "; "), "A daemon of this version refuses to start and the stream cannot be changed so: drain and remove it, or run another version.")
	case len(x.Differences) > 0:
		c.warn(x.Name+" differs: "+strings.Join(x.Differences, "; "), "Restart a daemon: it sets them as they should be; find out who changed them.")
	}
}

// copies judges the replicas of the streams.
func (f *facts) copies() []finding {
	c := check{name: "copies"}
	least, few := 0, []string{}
	for _, x := range f.stores {
		if x.Missing || x.Fault != nil {
			continue
		}
		if least == 0 || x.Replicas < least {
			least = x.Replicas
		}
		if x.Replicas < wantedCopies {
			few = append(few, x.Name)
		}
	}
	f.eachState(func(of copyState, names []string) { of.tell(&c, strings.Join(names, ", ")) })
	if f.account.Servers >= wantedCopies && len(few) > 0 {
		c.warn(fmt.Sprintf("the cluster has %d servers, but fewer than %d copies have: %s", f.account.Servers, wantedCopies, strings.Join(few, ", ")),
			"Run recoveryd streams replicate 3, when the cluster has little to do: until then one lost server can lose work.")
	}
	return c.fine("%s of everything, up to date", counted(least, "copy", "copies"))
}

// copyState is what can be wrong with the copies of a stream.
type copyState struct {
	silent, denied string // why it could not be looked at
	leaderless     bool
	few            bool // too few copies are up to date to store anything
	behind         string
}

func stateOfCopies(x bus.Examined) copyState {
	switch {
	case errors.Is(x.Fault, schemas.ErrTimeout):
		return copyState{silent: "no answer in time"}
	case x.Fault != nil:
		_, why, _ := strings.Cut(x.Fault.Error(), x.Wanted+": ")
		return copyState{denied: cmp.Or(why, x.Fault.Error())}
	}
	return copyState{leaderless: x.Leaderless, few: len(x.Behind) > 0 && 2*x.Current <= x.Replicas, behind: strings.Join(x.Behind, ", ")}
}

// eachState puts streams together that have the same thing wrong: mostly it is one server.
func (f *facts) eachState(tell func(copyState, []string)) {
	names := map[copyState][]string{}
	var order []copyState
	for _, x := range f.stores {
		of := stateOfCopies(x)
		if names[of] == nil {
			order = append(order, of)
		}
		names[of] = append(names[of], x.Wanted)
	}
	for _, of := range order {
		tell(of, names[of])
	}
}

func (s copyState) tell(c *check, names string) {
	const back = "Bring back the servers that hold the copies (nats server report jetstream): until then nothing is stored there."
	switch {
	case s.silent != "":
		c.fail(names+": "+s.silent, "Most likely there is no leader. "+back)
	case s.denied != "":
		c.fail(names+": cannot be looked at: "+s.denied, "Check the permissions of this user, and the log of the server.")
	case s.leaderless:
		c.fail(names+": no leader", back)
	case s.few:
		c.fail(names+": too few copies are up to date: "+s.behind, back)
	case s.behind != "":
		c.warn(names+": "+s.behind, "Bring that server back, or wait until it has caught up: until then fewer lost servers are survived.")
	}
}

const wantedCopies = 3

// room judges how full the streams are that have a limit. That of outcomes drops the oldest.
func (f *facts) room() []finding {
	c := check{name: "room"}
	var told []string
	for _, x := range f.stores {
		name, ok := strings.CutSuffix(x.Name, "_FAILED")
		next := "Find out why failures are not worked off, or raise " + config.Prefix + "FAILED_MAX_BYTES and restart the daemons: when it is full, reports are refused."
		if !ok {
			if name, ok = strings.CutSuffix(x.Name, "_DEAD"); ok {
				next = "Replay, export or discard dead letters (recoveryd dlq groups), or raise " + config.Prefix + "DEAD_MAX_BYTES and restart the daemons: when it is full, new letters wait."
			}
		}
		if !ok || name == "" || x.Foreign {
			continue
		}
		c.fill(x.Name, x.Bytes, x.MaxBytes, next)
		limit := "no limit"
		if x.MaxBytes > 0 {
			limit = "of " + size(uint64(x.MaxBytes))
		}
		told = append(told, fmt.Sprintf("%s %s, %s", x.Name, size(x.Bytes), limit))
	}
	return c.fine("%s", strings.Join(told, "; "))
}
