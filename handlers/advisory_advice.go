package handlers

import (
	"fmt"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// What became of an advisory, or of a message that the sweep found.
const (
	adviceReported     = "reported"
	adviceRepeated     = "repeated"     // reported or settled before
	adviceUnwatched    = "unwatched"    // of a consumer that nobody watches
	adviceDeleted      = "deleted"      // the server's word on a message that limits or people removed
	adviceRefused      = "refused"      // it does not fit what the server says of the consumer now
	adviceMalformed    = "malformed"    //
	adviceGone         = "gone"         // the message is not there any more
	adviceUnreportable = "unreportable" // the message stays where it is
	adviceFailed       = "failed"       // and is tried again
)

var adviceResults = [...]string{
	adviceReported, adviceRepeated, adviceUnwatched, adviceDeleted, adviceRefused, adviceMalformed, adviceGone, adviceUnreportable, adviceFailed,
}

// advice is what shall become of an advisory: a result and why. Of judges none means that it
// is to be reported, of others that it is to be looked at again.
type advice struct {
	result string
	why    error
}

func refuse(format string, args ...any) advice {
	return advice{adviceRefused, fmt.Errorf(format, args...)}
}

// judgeAdvisory holds an advisory against what the server says of its consumer, nil if it is
// not there. Neither is enough: the advisory may be forged, or of a namesake that was deleted.
func judgeAdvisory(a *advisory, c *schemas.ConsumerState) advice {
	switch {
	case c == nil:
		return refuse("%s is not there", a.consumer)
	case c.Own:
		return refuse("stream %s is recoveryd's own", a.consumer.stream)
	case a.domain != "" && c.Domain != "" && a.domain != c.Domain:
		return refuse("%s is meant in JetStream domain %s, this is %s", a.consumer, a.domain, c.Domain)
	case unfit(c) != nil:
		return advice{adviceRefused, unfit(c)}
	case a.at.Add(advisoryAhead).Before(c.StreamCreated), a.at.Add(advisoryAhead).Before(c.Created):
		return refuse("%s was created after the advisory", a.consumer)
	case a.sequence > c.Delivered:
		return refuse("%s has not delivered the message yet", a.consumer)
	case a.kind == advisoryMaxDeliveries && a.deliveries < uint64(c.MaxDeliver):
		return refuse("%s gives up after %d deliveries, the advisory says %d", a.consumer, c.MaxDeliver, a.deliveries)
	case a.kind == advisoryMaxDeliveries && !mayHoldGivenUp(c):
		return advice{adviceRepeated, fmt.Errorf("%s gave up no message that is not settled", a.consumer)}
	}
	return advice{}
}

// mayHoldGivenUp says whether a consumer may hold messages that it gave up. The server keeps
// them among the redelivered until they are settled, but does not tell with a limit of 1.
func mayHoldGivenUp(c *schemas.ConsumerState) bool { return c.Redelivered > 0 || c.MaxDeliver == 1 }

// unfit says why the messages that a consumer gives up cannot be recovered.
func unfit(c *schemas.ConsumerState) error {
	name := consumerName{c.Stream, c.Consumer}
	switch {
	case c.MaxDeliver < 1:
		return fmt.Errorf("%s has no max_deliver and never gives a message up: nats consumer edit %s %s --max-deliver 5", name, c.Stream, c.Consumer)
	case c.AckPolicy == "none":
		return fmt.Errorf("%s has the acknowledgement policy none and never learns that a message failed: make it anew with --ack explicit", name)
	case c.AckPolicy != "explicit":
		// To settle one message would acknowledge all before it.
		return fmt.Errorf("%s has the acknowledgement policy %s, with which one message cannot be settled by itself: make it anew with --ack explicit", name, c.AckPolicy)
	}
	return nil
}

// judgeMessage says whether a message can be reported. One that cannot stays where it is.
func judgeMessage(m *schemas.Stored, at time.Time, own schemas.Subjects, policies *Policies) advice {
	if m.Time.After(at.Add(advisoryAhead)) {
		return refuse("the message was stored after the advisory")
	}
	if err := own.CheckTarget(m.Subject); err != nil {
		return advice{adviceUnreportable, fmt.Errorf("it could never be redelivered: %w: take it out by hand", err)}
	}
	// What was delivered by recoveryd itself has its policy from its seal.
	if m.Header.Get(schemas.HeaderSeal) == "" && policies.For(m.Subject) == nil {
		return advice{adviceUnreportable, fmt.Errorf("no policy serves %q: name it in one", m.Subject)}
	}
	return advice{}
}
