package cli

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

// Times of the looks. A stream without a leader does not answer at all; a daemon may take
// its time to count the dead letters of the last hour.
const (
	lookWithin  = 4 * time.Second
	countWithin = 20 * time.Second
)

// Bounds of what one look asks for.
const (
	mostBreakers = 1000
	mostTargets  = 200
)

// gather looks at everything and changes nothing.
func (c *client) gather(ctx context.Context) *facts {
	f := &facts{
		url: c.url, now: time.Now(), owners: map[int]string{}, answers: map[string]*schemas.StatusReply{},
		targets: map[string][]string{}, windows: map[string]time.Duration{},
	}
	within(ctx, lookWithin, func(ctx context.Context) { f.account, f.accountErr = c.Account(ctx) })
	if f.accountErr != nil {
		return f
	}
	within(ctx, lookWithin, func(ctx context.Context) { f.adoptErr = c.Adopt(ctx) })
	f.shards = c.Partitions()
	together(
		func() { within(ctx, lookWithin, func(ctx context.Context) { f.stores = c.Examine(ctx) }) },
		func() { within(ctx, lookWithin, func(ctx context.Context) { c.tellTime(ctx, f) }) },
		func() { within(ctx, 2*lookWithin, func(ctx context.Context) { c.findDaemons(ctx, f) }) },
	)
	together(
		func() { within(ctx, lookWithin, func(ctx context.Context) { c.findBreakers(ctx, f) }) },
		func() { within(ctx, countWithin, func(ctx context.Context) { c.countLetters(ctx, f) }) },
		func() { within(ctx, countWithin, func(ctx context.Context) { c.findTargets(ctx, f) }) },
		func() { within(ctx, 2*lookWithin, func(ctx context.Context) { c.findWatches(ctx, f) }) },
	)
	return f
}

func within(ctx context.Context, d time.Duration, look func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	look(ctx)
}

func together(looks ...func()) {
	var wg sync.WaitGroup
	for _, look := range looks {
		wg.Go(look)
	}
	wg.Wait()
}

func (c *client) tellTime(ctx context.Context, f *facts) {
	if server, _, err := c.ServerTime(ctx); err == nil {
		f.now = server
	}
}

// findDaemons learns of the daemons from their leases, which tell of those too that do not
// answer here, and asks each one.
func (c *client) findDaemons(ctx context.Context, f *facts) {
	leases := map[string][]byte{}
	var any schemas.StatusReply
	var leaseErr, apiErr error
	together(
		func() { leaseErr = c.LeaseList(ctx, func(key string, value []byte) { leases[key] = value }) },
		func() { apiErr = c.Call(ctx, "status", "get", schemas.StatusRequest{}, &any) },
	)
	f.leaseErr, f.apiErr = leaseErr, apiErr
	f.replicas, f.owners = handlers.Roster(leases)
	if apiErr == nil {
		f.answers[any.Instance] = &any
		if len(f.replicas) == 0 {
			f.replicas = any.Instances
		}
	}
	f.silent = c.askEach(ctx, f.replicas, f.answers)
}

// findBreakers asks the daemons, which know what is held, else the store of their state.
func (c *client) findBreakers(ctx context.Context, f *facts) {
	var reply schemas.BreakerListReply
	if len(f.answers) > 0 {
		f.breakersErr = c.Call(ctx, "breaker", "ls", schemas.BreakerListRequest{Limit: mostBreakers}, &reply)
		f.breakers = reply.Breakers
	} else {
		f.breakersErr = c.StateList(ctx, "breaker.>", func(_ string, data []byte, _ uint64) {
			if b, err := handlers.StoredBreaker(data); err == nil && len(f.breakers) < mostBreakers {
				f.breakers = append(f.breakers, b)
			}
		})
	}
	f.breakers = slices.DeleteFunc(f.breakers, func(b schemas.BreakerStatus) bool { return b.State == "closed" })
}

func (c *client) countLetters(ctx context.Context, f *facts) {
	state, err := c.DeadState(ctx)
	f.letters, f.lettersErr = state.Messages, err
	if err != nil || state.Messages == 0 || len(f.answers) == 0 {
		return
	}
	var reply schemas.DeadGroupsReply
	q := schemas.DeadGroupsRequest{Filter: schemas.DeadFilter{Since: "1h"}, Limit: 1}
	if f.lettersErr = c.Call(ctx, "dlq", "groups", q, &reply); f.lettersErr == nil {
		f.lastHour = &reply
	}
}

// findTargets looks for the streams behind what the daemons' policies deliver to.
func (c *client) findTargets(ctx context.Context, f *facts) {
	for _, subject := range targetsOf(f.answers) {
		names, err := c.Storing(ctx, subject)
		if err != nil {
			f.targetsErr = cmp.Or(f.targetsErr, err)
			continue
		}
		f.targets[subject] = names
		for _, name := range names {
			if _, known := f.windows[name]; known || len(f.windows) >= mostTargets {
				continue
			}
			window, err := c.Window(ctx, name)
			if err != nil {
				f.targetsErr = cmp.Or(f.targetsErr, err)
				continue
			}
			f.windows[name] = window
		}
	}
}

// targetsOf are those that any of the daemons names, at most mostTargets.
func targetsOf(answers map[string]*schemas.StatusReply) []string {
	var all []string
	for _, reply := range answers {
		all = append(all, reply.Targets...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), mostTargets)]
}
