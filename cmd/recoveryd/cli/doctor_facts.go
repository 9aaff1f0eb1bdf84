package cli

import (
	"time"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

// facts is all that could be learnt from the client's side. What could not has its error.
type facts struct {
	url string
	now time.Time // by the server's clock, else by this machine's

	account    bus.Account
	accountErr error // JetStream cannot be used: nothing below was looked at

	shards   int
	adoptErr error // the stream of failures is not there, or not recoveryd's
	stores   []bus.Examined

	replicas []schemas.InstanceStatus // what the live ones say of themselves
	owners   map[int]string           // of the shards, by the leases
	leaseErr error

	answers map[string]*schemas.StatusReply // by instance
	silent  map[string]error                // live ones that did not answer
	apiErr  error                           // why none answered

	breakers    []schemas.BreakerStatus // not closed
	breakersErr error

	letters    uint64 // dead ones in the store
	lastHour   *schemas.DeadGroupsReply
	lettersErr error

	targets    map[string][]string      // streams that store what policies deliver to
	windows    map[string]time.Duration // of those streams
	targetsErr error

	watches    *schemas.WatchListReply // nil without a daemon that knows of them
	watchesErr error
}
