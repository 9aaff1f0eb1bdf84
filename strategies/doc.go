// Package strategies decides what happens to failed work: whether and when it is tried again ([Retry]), what kind of
// failure it was ([Classifier]), where it goes instead ([NextFallback]), and whether its handler can take anything at
// all ([BreakerSet]). [Execute] puts the same strategies around a function call.
//
// Everything but Execute is pure: values in, a value out. Time is a parameter, and what looks random is a hash of the
// id, so every replica that reads the same records reaches the same decisions, and a replay reaches them again.
// Nothing here reads a clock, writes a log or talks to a server.
//
// # Breakers that hold
//
// An ordinary breaker refuses calls. This one belongs to a plane that can wait: while the handler behind a key is
// down, messages that are due join the held lane of the key, at no cost of attempts, and leave it along a ramp once
// probes have shown that the handler is back.
//
//	            enough failures of enough messages,
//	            or a hint to stay away
//	  ┌────────┐ ──────────────────────────────▶ ┌──────┐ ◀───────────────────────┐
//	  │ closed │                                 │ open │ ◀──────────┐            │
//	  └────────┘                                 └──────┘            │ probes     │ failures:
//	      ▲  │ a lane without a breaker              │ open_until    │ failed, or │ level + 1
//	      │  │                                       ▼               │ no verdict │
//	      │  │                                 ┌───────────┐ ────────┘            │
//	      │  │                                 │ half_open │                      │
//	      │  │                                 └───────────┘                      │
//	      │  │                                       │ probes succeeded,          │
//	      │  │                                       ▼ or nothing to probe        │
//	      │  └───────────────────────────────▶ ┌────────────┐ ────────────────────┘
//	      └─────────────────────────────────── │ recovering │
//	                  the lane is empty        └────────────┘
//
//	An operator moves any state to forced_open, disabled, half_open or closed. The first two may have a time limit;
//	after it the lane drains by the ramp.
//
// Each change raises the generation, which is stamped on every release. An outcome that carries an older one is late:
// the message goes its way, the breaker does not look at it. That is what keeps a failure from before the outage from
// deciding a probe, and a failure from within it from counting again after recovery.
//
// While recovering, the limit on releases in flight doubles with every successful round. A handler that is merely at
// its capacity then fails at most half of a wave, which halves the limit once; only a wave that fails by more than half
// is another outage and may trip.
//
// The driver is a loop over records: it asks with InDue; appends what it must hold to the lane of [Output].Key; sends
// InTick when the lane changed and when [BreakerSet.Due] names the key; releases up to [Output].Want messages of the
// lane and reports each with InReleased before the next InTick; reports outcomes with InFailure and InSuccess.
//
// # What happens on failure
//
//   - A record that arrives twice changes nothing. In run mode a key knows the deliveries of its run, at most
//     failure_threshold of them, and whatever is older than those changes nothing in any case; in rate mode it knows
//     the latest 64 outcomes.
//   - Records of one state may arrive in any order: the run is "the latest failures of a set". Only a success that
//     arrives before the first known failure of its key is forgotten, because healthy keys take no memory.
//   - A probe or release whose outcome is lost stops counting when its lease ends, so half_open and recovering end.
//   - State lost by a crash is rebuilt from [Snapshot]s. Where even that is lost, the generation still rises, because
//     it is never below the stream time in milliseconds, and a lane found without a breaker drains by the ramp.
//   - When MaxKeys have records, those of further keys share one breaker, named [OverflowKey]; [BreakerSet.Resolve]
//     says which key governs which. Only closed and idle keys are ever forgotten.
package strategies
