// Package bus moves messages between recoveryd and NATS JetStream. It is the only
// package that knows nats.go; everybody else sees the types of package schemas and
// functions.
//
// What it is made of, one file each:
//
//   - connect: options and environment into a connection that never gives up.
//   - bus, layout, topology: one Bus per connection; which streams and buckets there
//     are; how they are made, compared and refused.
//   - publish, ack: the hot path. Every publish is asynchronous, shares one reply
//     inbox, and ends in exactly one call of its callback.
//   - direct, ledger, streams: reading by sequence and purging by subject, without
//     consumers.
//   - feed, follow, intake: the three ways to be told of new messages, built on one
//     loop that pulls, notices when its consumer is gone, and makes it again.
//   - state, leases: compare-and-set values.
//   - advisories: what the server says of messages that consumers gave up; reading and
//     settling those in streams of the application.
//
// Nothing here decides anything about recovery. Nothing is retried silently: a publish
// or request fails with one of the errors of package schemas, and the caller, who knows
// whether a repeat is harmless, repeats it. Only feeds go on by themselves, because
// they know where they stopped; they report why through Config.OnEvent.
//
// A connection that is closed for good (not merely lost) ends everything: pending
// publishes fail with schemas.ErrClosed, feeds stop, and Options.OnEvent says "closed".
package bus
