package handlers

import (
	"context"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// Bus is what the engine needs of the message bus; package bus implements it on JetStream,
// the simulator in memory.
type Bus interface {
	// Publish stores a message and calls done once with the answer, from any goroutine.
	Publish(m schemas.Message, done func(schemas.Ack, error))
	// PublishCore sends a message that no stream needs to store.
	PublishCore(m schemas.Message) error
	// Request calls done once with the reply; nobody listening is ErrNoStream, no reply in
	// time ErrTimeout, and an error before anything was sent is ErrNotSent as well.
	Request(m schemas.Message, timeout time.Duration, done func(schemas.Message, error))
	// Owner is the stream that stores a subject, ErrNotFound if none does.
	Owner(ctx context.Context, subject string) (string, error)

	// Intake delivers all reports on filters that are in the stream and then each new one,
	// in order. It may have to begin anew, and calls anew before it does.
	Intake(ctx context.Context, filters []string, on func(schemas.Stored), anew func()) (stop func(), err error)
	PurgeIntake(ctx context.Context, filters []string, before uint64) error
	Successes(ctx context.Context, on func(schemas.Report)) (stop func(), err error)

	FollowAcks(ctx context.Context, stream, consumer string, on func(sequence uint64)) (stop func(), err error)

	LaneCounts(ctx context.Context, shard int) (counts map[string]uint64, last uint64, err error)
	// FollowLedger tells of every message in a shard's ledger from a sequence on, FollowSignals
	// only of those that other shards may write.
	FollowLedger(ctx context.Context, shard int, from uint64, on func(subject string, sequence uint64, entries int)) (stop func(), err error)
	FollowSignals(ctx context.Context, shard int, from uint64, on func(subject string, sequence uint64, entries int)) (stop func(), err error)
	ReadLane(ctx context.Context, subject string, from uint64, maxMessages, maxBytes int) ([]schemas.Stored, error)
	// ReadEntries returns those messages of a lane that are still there, in order, the rest
	// only up to about maxBytes.
	ReadEntries(ctx context.Context, subject string, sequences []uint64, maxBytes int) ([]schemas.Stored, error)
	// ReadEntry returns one message of a shard's ledger, ErrNotFound if it is not there any more.
	ReadEntry(ctx context.Context, shard int, sequence uint64) (schemas.Stored, error)
	PurgeLane(ctx context.Context, subject string, before uint64) (purged uint64, err error)
	DeleteEntry(ctx context.Context, shard int, sequence uint64) error

	StateList(ctx context.Context, filter string, each func(key string, data []byte, revision uint64)) error
	StateGet(ctx context.Context, key string) (data []byte, revision uint64, err error)
	StatePut(ctx context.Context, key string, data []byte, revision uint64) (uint64, error)
	StateDelete(ctx context.Context, key string, revision uint64) error
	// FollowState tells of every value and each change; the data of a deleted one is nil.
	FollowState(ctx context.Context, filter string, on func(key string, data []byte)) (stop func(), err error)

	// Ask sends a request of the control API to one replica; one that is gone is ErrNoStream.
	Ask(ctx context.Context, instance, name string, request []byte) (reply []byte, err error)

	FollowRefused(ctx context.Context, on func(sequence uint64, size int)) (stop func(), err error)
	PurgeDead(ctx context.Context, filter string, before uint64) (uint64, error)
	ServerTime(ctx context.Context) (server, local time.Time, err error)
}

// Lease says which shards this replica owns.
type Lease struct {
	Shard int
	Since time.Time // when it was taken; later owners have later times
}

// Leases hands shards and duties to this replica and takes them back.
type Leases interface {
	// Run calls own for every shard that becomes this replica's. The context it passes
	// ends when the shard must be given back; own returns when nothing of the shard runs
	// any more, by itself if it cannot be served. about is what the others are told of
	// this replica. Run returns when ctx has ended and every own has returned.
	Run(ctx context.Context, about func() schemas.InstanceStatus, own func(ctx context.Context, lease Lease)) error
	// Holds says whether the shard may still be acted for at this moment. Once it said no
	// it stays so until own was called again.
	Holds(shard int) bool
	// Alone runs work while no other replica does, whenever it is this one's turn, until
	// ctx ends. The name of a duty is one token.
	Alone(ctx context.Context, duty string, work func(ctx context.Context))
	// Owner is the instance that holds a shard as far as known, "" if none does.
	Owner(shard int) string
	// Instances is what the live replicas said of themselves last, sorted by name.
	Instances() []schemas.InstanceStatus
}

// AdvisoryStore reads advisories and what they point at, and settles that; package bus
// implements it on JetStream. What is not there is ErrNotFound.
type AdvisoryStore interface {
	// Advisories delivers every advisory until it is settled. state is told when reading
	// begins (nil) or cannot begin, which is tried again.
	Advisories(ctx context.Context, on func(schemas.Notice), state func(error)) (stop func(), err error)
	ConsumerState(ctx context.Context, stream, consumer string) (*schemas.ConsumerState, error)
	ReadMessage(ctx context.Context, stream string, sequence uint64) (schemas.Stored, error)
	// NextMessage is the first sequence from one on that fits the filters, 0 if there is none.
	NextMessage(ctx context.Context, stream string, filters []string, from uint64) (uint64, error)
	// ReportGivenUp returns when the report is stored; ErrTooLarge if it never can be.
	ReportGivenUp(ctx context.Context, g *schemas.GivenUp) error
	// AckFor acknowledges a message in the name of its consumer.
	AckFor(ctx context.Context, o schemas.Origin) error
}

// LeaseStore keeps leases of ten seconds; package bus implements it on a bucket.
type LeaseStore interface {
	// HoldLease takes a lease (revision 0) or keeps it; ErrConflict: somebody else has it.
	HoldLease(ctx context.Context, key string, value []byte, revision uint64) (next uint64, err error)
	FreeLease(ctx context.Context, key string, revision uint64) error
	Announce(ctx context.Context, key string, value []byte) error
	Withdraw(ctx context.Context, key string) error
	// FollowLeases tells of every lease held, taken, kept or freed (value nil).
	FollowLeases(ctx context.Context, on func(key string, value []byte)) (stop func(), err error)
	// StateGet reads a value of the state store, where the owners of shards leave a trace.
	StateGet(ctx context.Context, key string) (data []byte, revision uint64, err error)
}
