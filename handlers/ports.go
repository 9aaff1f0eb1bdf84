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
	Flush(ctx context.Context) error

	Intake(ctx context.Context, shard int, since time.Time, on func(schemas.Report)) (stop func(), err error)
	Successes(ctx context.Context, on func(schemas.Report)) (stop func(), err error)

	FollowAcks(ctx context.Context, stream, consumer string, on func(sequence uint64)) (stop func(), err error)

	LaneCounts(ctx context.Context, shard int) (counts map[string]uint64, last uint64, err error)
	FollowLedger(ctx context.Context, shard int, from uint64, on func(subject string, sequence uint64, size int)) (stop func(), err error)
	ReadLane(ctx context.Context, subject string, from uint64, maxMessages, maxBytes int) ([]schemas.Stored, error)
	PurgeLane(ctx context.Context, subject string, before uint64) (purged uint64, err error)
	DeleteEntry(ctx context.Context, sequence uint64) error

	StateList(ctx context.Context, filter string, each func(key string, data []byte, revision uint64)) error
	StateGet(ctx context.Context, key string) (data []byte, revision uint64, err error)
	StatePut(ctx context.Context, key string, data []byte, revision uint64) (uint64, error)
	StateDelete(ctx context.Context, key string, revision uint64) error

	FollowRefused(ctx context.Context, on func(sequence uint64, size int)) (stop func(), err error)
	PurgeDead(ctx context.Context, filter string, before uint64) (uint64, error)
	ServerTime(ctx context.Context) (server, local time.Time, err error)
}

// Lease says which shards this replica owns.
type Lease struct {
	Shard int
	Since time.Time // when it was taken; later owners have later times
}

// Leases hands shards to this replica and takes them back.
type Leases interface {
	// Run calls own for every shard that becomes this replica's. The context it passes
	// ends when the shard must be given back; own returns when nothing of the shard runs
	// any more. Run returns when ctx has ended and every own has returned.
	Run(ctx context.Context, own func(ctx context.Context, lease Lease)) error
	// Holds says whether the shard may still be acted for at this moment.
	Holds(shard int) bool
}
