package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

// findWatches asks the daemons which consumers are watched, and how those are.
func (c *client) findWatches(ctx context.Context, f *facts) {
	if len(f.answers) == 0 {
		return
	}
	var reply schemas.WatchListReply
	err := c.Call(ctx, "watch", "ls", schemas.WatchListRequest{}, &reply)
	switch {
	case errors.Is(err, bus.ErrNoResponders): // daemons that are older know no watches
	case err != nil:
		f.watchesErr = err
	default:
		f.watches = &reply
	}
}

// watched says of consumers that are watched what keeps their messages from being recovered.
func (f *facts) watched() []finding {
	c := check{name: "watches"}
	if f.watchesErr != nil {
		c.warn("they cannot be listed: "+f.watchesErr.Error(), "Look at the daemons above, then ask again.")
		return c.all
	}
	if f.watches == nil {
		return nil
	}
	all := f.watches.Watches
	if f.watches.Mode == handlers.AdvisoriesOff && len(all) > 0 {
		c.warn(fmt.Sprintf("RECOVERYD_ADVISORIES is off: what %s up is not recovered", counted(len(all), "watched consumer gives", "watched consumers give")),
			"Set it to watch and restart the daemons, or remove the watches with recoveryd watch rm.")
		return c.all
	}
	for _, w := range all {
		name := w.Stream + "/" + w.Consumer
		switch {
		case w.Fault != "":
			c.warn(name+": nothing is recovered: "+w.Fault, fmt.Sprintf("Mend that, or end it with recoveryd watch rm %s %s.", quoted(w.Stream), quoted(w.Consumer)))
		case w.Exhausted != nil && *w.Exhausted > 0:
			c.warn(fmt.Sprintf("%s gave up %s not recovered", name, counted(*w.Exhausted, "message that is", "messages that are")),
				"On a work queue they are found within minutes; if they stay, the log of the daemons says why they cannot be reported.")
		}
	}
	if more := len(c.all) - mostOfOneKind; more > 0 {
		c.all = c.all[:mostOfOneKind]
		c.warn(fmt.Sprintf("and %d more", more), "See all with recoveryd watch ls.")
	}
	if len(all) == 0 {
		return c.fine("no consumer is watched")
	}
	return c.fine("%s, nothing keeps their messages from being recovered", counted(len(all), "consumer", "consumers"))
}
