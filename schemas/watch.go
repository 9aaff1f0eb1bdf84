package schemas

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Watch says that the messages which a consumer gives up are recovered; stored as JSON.
type Watch struct {
	Stream   string `json:"stream"`
	Consumer string `json:"consumer"`
	Added    string `json:"added"`
	Actor    string `json:"actor,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// WatchKey is where a watch is in the bucket of states.
func WatchKey(stream, consumer string) string {
	return "watch." + EscapeKey(stream) + "." + EscapeKey(consumer)
}

// maxServerName is how long the server lets names of streams and consumers be.
const maxServerName = 255

// CheckName says why a name can be of no stream or consumer. One that passes is a token of a
// subject.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > maxServerName:
		return fmt.Errorf("the name has %d bytes, at most %d are allowed", len(name), maxServerName)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c == 0x7f || strings.IndexByte(`.*>/\`, c) >= 0 {
			return fmt.Errorf("%q is no name: it holds %q", name, string(c))
		}
	}
	return nil
}

// Notice is an advisory as its stream delivers it. One of Settle and Later must be called, or
// it comes again by itself after a while.
type Notice struct {
	Stored
	Deliveries uint64                    // of the notice, this one included
	Settle     func()                    // takes it off
	Later      func(after time.Duration) // has it delivered again
}

// ConsumerState is a consumer and its stream as the server has them.
type ConsumerState struct {
	Stream, Consumer       string
	StreamCreated, Created time.Time
	Domain                 string // of JetStream, "" if it has none
	Own                    bool   // the stream is recoveryd's
	Retention              string // limits, interest or workqueue
	Consumers              int    // of the stream

	AckPolicy   string // explicit, all or none
	MaxDeliver  int    // -1 = unlimited
	Filters     []string
	Delivered   uint64 // highest sequence that was delivered
	Waiting     uint64 // messages not delivered yet
	AckPending  int    // delivered and not acknowledged
	Redelivered int    // delivered several times, and neither acknowledged nor settled; those given up stay among them
}

// Retentions of streams, as the server names them.
const (
	RetentionLimits    = "limits"
	RetentionInterest  = "interest"
	RetentionWorkQueue = "workqueue"
)

// GivenUp is a message that a consumer gave up, to be reported for it.
type GivenUp struct {
	Message
	Origin
	At        time.Time // when it was given up
	Error     string
	Permanent bool // the worker said that no retry helps
}

// WatchListRequest asks for all watches.
type WatchListRequest struct{}

// WatchListReply lists the watches, by stream and consumer.
type WatchListReply struct {
	Mode    string        `json:"mode"` // which consumers are served: off = none, watch = those listed, all = also every other one with max_deliver
	Watches []WatchStatus `json:"watches"`
}

// WatchRequest names a consumer that is to be watched, or not any more.
type WatchRequest struct {
	Stream   string `json:"stream"`
	Consumer string `json:"consumer"`
	Reason   string `json:"reason,omitempty"`
	Actor    string `json:"actor,omitempty"`
	DryRun   bool   `json:"dry_run,omitempty"`
}

// WatchStatus is a watch, and how its consumer is now.
type WatchStatus struct {
	Stream     string   `json:"stream"`
	Consumer   string   `json:"consumer"`
	AddedAt    string   `json:"added_at,omitempty"` // when it was added; absent if it is not watched
	Actor      string   `json:"actor,omitempty"`
	Reason     string   `json:"reason,omitempty"`
	Exists     bool     `json:"exists"`              // stream and consumer are there
	Retention  string   `json:"retention,omitempty"` // of the stream: limits, interest or workqueue
	MaxDeliver int      `json:"max_deliver"`         // deliveries after which the consumer gives a message up; -1 = never
	Waiting    uint64   `json:"waiting"`             // messages that the consumer has not delivered yet
	AckPending int      `json:"ack_pending"`         // delivered and not acknowledged
	Exhausted  *int     `json:"exhausted,omitempty"` // given up and not recovered; absent while messages are being delivered and with a max_deliver of 1, when the server does not tell
	Fault      string   `json:"fault,omitempty"`     // why nothing can be recovered
	Warnings   []string `json:"warnings"`            // what will not work as expected
}
