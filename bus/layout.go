package bus

import (
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Last parts of the names of streams and buckets.
const (
	failed     = "FAILED"
	succeeded  = "SUCCEEDED"
	ledger     = "LEDGER"
	outcomes   = "OUTCOMES"
	dead       = "DEAD"
	advisories = "ADVISORIES"
	state      = "STATE"
	leases     = "LEASES"
)

// Metadata of our streams.
const (
	ownerKey      = "owner"
	owner         = "recoveryd"
	partitionsKey = "recoveryd.partitions"
)

// leaseTTL is how long a lease lives without being kept.
const leaseTTL = 10 * time.Second

// minWindow is the shortest dedupe window the server allows: on streams whose messages
// must never be taken for duplicates of one another.
const minWindow = 100 * time.Millisecond

func (b *Bus) stream(name string) string { return b.cfg.StreamPrefix + "_" + name }
func (b *Bus) bucket(name string) string { return b.stream(name) }

// layout is every stream and bucket as it should be, that of failures first. Replicas of 0
// leaves the choice to the cluster.
func (b *Bus) layout() []jetstream.StreamConfig {
	prefix := b.cfg.Subjects.Prefix
	return append([]jetstream.StreamConfig{
		b.failedStream(b.cfg.Partitions),
		b.plain(succeeded, func(c *jetstream.StreamConfig) {
			c.Description = "reports that redelivered work succeeded"
			c.Subjects = []string{prefix + ".succeeded.>"}
			c.Retention, c.Discard = jetstream.WorkQueuePolicy, jetstream.DiscardOld
			c.MaxAge, c.MaxMsgSize = time.Hour, 64<<10
		}),
		b.plain(outcomes, func(c *jetstream.StreamConfig) {
			c.Description = "what happened to failed work"
			c.Subjects = []string{prefix + ".outcomes.>", prefix + ".breakers.>"}
			c.Discard = jetstream.DiscardOld
			c.MaxAge, c.MaxBytes = 7*24*time.Hour, limit(b.cfg.OutcomesMaxBytes)
			c.Duplicates = 2 * time.Minute
		}),
		b.plain(dead, func(c *jetstream.StreamConfig) {
			c.Description = "work that could not be saved"
			c.Subjects = []string{prefix + ".dead.>"}
			c.MaxAge, c.MaxBytes = b.cfg.DeadMaxAge, limit(b.cfg.DeadMaxBytes)
			c.Duplicates = 2 * time.Minute
		}),
		b.keyValues(state, func(c *jetstream.StreamConfig) {
			c.Description = "checkpoints, breakers, jobs, watches and the seal key"
			c.AllowMsgTTL = true // markers of deleted keys go by themselves
		}),
		b.keyValues(leases, func(c *jetstream.StreamConfig) {
			c.Description = "who owns which shard"
			c.MaxAge, c.Duplicates = leaseTTL, leaseTTL
		}),
	}, b.ledgers()...)
}

// maxLedgers bounds the streams of the ledger: more shards share them. For each stream that
// is written to the server keeps a block of 8 MiB in memory.
const maxLedgers = 2

// ledgers are the streams of the ledger. They are more than one as the server writes and
// purges each by itself, and purging a lane it walks over all that stands between.
func (b *Bus) ledgers() []jetstream.StreamConfig {
	shards := b.Partitions()
	all := make([]jetstream.StreamConfig, min(shards, maxLedgers))
	for i := range all {
		all[i] = b.plain(ledgerName(i), func(c *jetstream.StreamConfig) {
			c.Description = "work that waits or is held back"
			for shard := i; shard < shards; shard += maxLedgers {
				c.Subjects = append(c.Subjects, b.cfg.Subjects.Ledger(shard))
			}
		})
	}
	return all
}

func ledgerName(i int) string { return fmt.Sprintf("%s_%d", ledger, i) }

// ledgerOf is the stream that holds a shard's part of the ledger.
func (b *Bus) ledgerOf(shard int) string { return b.stream(ledgerName(shard % maxLedgers)) }

// failedStream stores each failure under its shard. It is no work queue, which needs an
// acknowledgement for each message: owners read it in order, note what is settled, and
// purge that together. Its dedupe window is the shortest, as two reports may carry the same
// id of the application and both count.
func (b *Bus) failedStream(partitions int) jetstream.StreamConfig {
	prefix, n := b.cfg.Subjects.Prefix, strconv.Itoa(partitions)
	return b.plain(failed, func(c *jetstream.StreamConfig) {
		c.Description = "reports of failed work"
		c.Subjects = []string{prefix + ".failed.>"}
		c.SubjectTransform = &jetstream.SubjectTransformConfig{
			Source:      prefix + ".failed.>",
			Destination: prefix + ".intake.{{partition(" + n + ")}}.>",
		}
		c.MaxBytes, c.MaxMsgSize = limit(b.cfg.FailedMaxBytes), int32(b.MaxBody())
		c.Metadata[partitionsKey] = n
	})
}

// advisoriesStream records what the server says of exhausted and terminated messages.
func (b *Bus) advisoriesStream() jetstream.StreamConfig {
	return b.plain(advisories, func(c *jetstream.StreamConfig) {
		c.Description = "messages that consumers gave up"
		c.Subjects = []string{
			"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.*.*",
			"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.*.*",
		}
		c.Discard = jetstream.DiscardOld
		c.MaxAge, c.Duplicates = 14*24*time.Hour, 2*time.Minute
	})
}

// plain is an unlimited stream on disk that refuses rather than drops.
func (b *Bus) plain(name string, change func(*jetstream.StreamConfig)) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:              b.stream(name),
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardNew,
		Storage:           jetstream.FileStorage,
		Replicas:          b.cfg.Replicas,
		MaxConsumers:      -1,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgsPerSubject: -1,
		MaxMsgSize:        -1,
		Duplicates:        minWindow,
		AllowDirect:       true,
		Metadata:          map[string]string{ownerKey: owner},
	}
	change(&c)
	return c
}

// keyValues is a bucket as every NATS client makes it, with a history of one.
func (b *Bus) keyValues(name string, change func(*jetstream.StreamConfig)) jetstream.StreamConfig {
	return b.plain(name, func(c *jetstream.StreamConfig) {
		c.Name = "KV_" + b.bucket(name)
		c.Subjects = []string{"$KV." + b.bucket(name) + ".>"}
		c.MaxMsgsPerSubject = 1
		c.Duplicates = 2 * time.Minute
		c.DenyDelete, c.AllowRollup = true, true
		change(c)
	})
}

func limit(bytes int64) int64 {
	if bytes == 0 {
		return -1
	}
	return bytes
}
