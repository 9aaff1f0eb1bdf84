package bus

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// difference is a field of an existing stream that is not as wanted.
type difference struct {
	field         string
	found, wanted any
	fixed         bool // cannot be changed, or not without stranding messages
}

func (d difference) String() string {
	return fmt.Sprintf("%s is %v, wanted %v", d.field, d.found, d.wanted)
}

// differences compares what recoveryd depends on and nothing else: description,
// placement, replicas, compression, republishing and other metadata are the operator's.
func differences(have, want jetstream.StreamConfig) []difference {
	var out []difference
	compare := func(field string, found, wanted any, fixed bool) {
		if found != wanted {
			out = append(out, difference{field, found, wanted, fixed})
		}
	}
	compare("partitions", have.Metadata[partitionsKey], want.Metadata[partitionsKey], true)
	compare("subjects", subjects(have), subjects(want), true)
	compare("subject transform", transform(have), transform(want), true)
	compare("storage", have.Storage, want.Storage, true)
	compare("retention", have.Retention, want.Retention, true)
	compare("mirror", have.Mirror != nil, false, true)
	compare("sources", len(have.Sources), 0, true)
	compare("sealed", have.Sealed, false, true)
	compare("no_ack", have.NoAck, false, true)
	compare("persist_mode", have.PersistMode, want.PersistMode, true)
	compare("deny_delete", have.DenyDelete, want.DenyDelete, true)
	compare("deny_purge", have.DenyPurge, want.DenyPurge, true)
	compare("allow_rollup_hdrs", have.AllowRollup, want.AllowRollup, false)
	compare("allow_msg_ttl", have.AllowMsgTTL, want.AllowMsgTTL, have.AllowMsgTTL)
	compare("allow_direct", have.AllowDirect, want.AllowDirect, false)
	compare("discard", have.Discard, want.Discard, false)
	compare("max_age", have.MaxAge, want.MaxAge, false)
	compare("max_bytes", have.MaxBytes, want.MaxBytes, false)
	compare("max_msgs", have.MaxMsgs, want.MaxMsgs, false)
	compare("max_msgs_per_subject", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject, false)
	compare("max_msg_size", have.MaxMsgSize, want.MaxMsgSize, false)
	compare("duplicate_window", have.Duplicates, want.Duplicates, false)
	return out
}

// merge is have with everything that differences compares and may be changed as wanted.
func merge(have, want jetstream.StreamConfig) jetstream.StreamConfig {
	have.AllowRollup, have.AllowMsgTTL, have.AllowDirect = want.AllowRollup, want.AllowMsgTTL, want.AllowDirect
	have.Discard, have.MaxAge, have.MaxBytes = want.Discard, want.MaxAge, want.MaxBytes
	have.MaxMsgs, have.MaxMsgsPerSubject, have.MaxMsgSize = want.MaxMsgs, want.MaxMsgsPerSubject, want.MaxMsgSize
	have.Duplicates = want.Duplicates
	return have
}

func isFixed(d difference) bool { return d.fixed }

func subjects(c jetstream.StreamConfig) string {
	return strings.Join(slices.Sorted(slices.Values(c.Subjects)), ", ")
}

func transform(c jetstream.StreamConfig) string {
	if c.SubjectTransform == nil {
		return "none"
	}
	return c.SubjectTransform.Source + " to " + c.SubjectTransform.Destination
}
