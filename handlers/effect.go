package handlers

import (
	"cmp"
	"strings"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// effect is something that the shard wants done outside: decisions are values, computed
// once by the shard and then executed by its loop.
type effect struct {
	kind effectKind

	item     *item           // publish
	message  schemas.Message // publish, core, request
	timeout  time.Duration   // request
	event    Event           // observe
	data     []byte          // checkpoint
	part     int             // trim: of the intake
	filters  []string        // trim: its subjects
	lane     *lane           // read, purge
	from     uint64          // read, follow: first sequence
	all      bool            // follow: everything, not only signals
	messages int             // read: at most
	known    []uint64        // read: these sequences and no others, unless it is empty
	bytes    int             // read: at most, roughly
	before   uint64          // purge, trim: first sequence that stays
	least    int             // purge: entries it should remove, at least
	most     int             // purge: and at most
	sequence uint64          // remove
	subject  string          // owner
	breaker  breakerKey      // store, signal
	snapshot *strategies.Snapshot
	success  *schemas.Success // signal
	revision uint64
	command  *command // answer
}

type effectKind uint8

const (
	effPublish    effectKind = iota // store a message, then call shard.published
	effCore                         // send a message that no stream stores, then call shard.published
	effRequest                      // send a request, then call shard.replied
	effObserve                      // tell the observer
	effCheckpoint                   // store which reports are settled, then call shard.saved
	effTrim                         // remove settled reports, then call shard.trimmed
	effFollow                       // exchange the follower: shard.exchanged, and shard.attached when the new one is there
	effRead                         // read a lane, then call shard.loaded
	effPurge                        // purge a lane, then call shard.purged
	effRemove                       // delete one entry
	effOwner                        // ask which stream stores a subject, then call shard.owned
	effSignal                       // tell the breaker of another shard of a success
	effAnswer                       // tell an operator what became of a command
	effStore                        // store or delete a breaker's state, then call shard.stored
)

// breakerKey names a breaker of a shard.
type breakerKey struct{ policy, key string }

func (k breakerKey) String() string { return k.policy + "\x00" + k.key }

func (k breakerKey) compare(o breakerKey) int {
	return cmp.Or(strings.Compare(k.policy, o.policy), strings.Compare(k.key, o.key))
}
