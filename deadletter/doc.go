// Package deadletter remembers what could not be saved: why a message failed, in a form
// that groups equal failures ([Cause]), and what was tried for it, in a form that fits a
// header ([History]).
//
// It also decides what is done about it later. A [Filter] selects letters, [Groups] count
// them, an [Edit] changes them, and a [Job] is something done to all that a filter selects:
//
//	          ┌──────────────── resume ◀──────────────┐
//	          ▼                                       │
//	created ▶ running ──all sent──▶ following ──▶ done│
//	          │  └──stop rule, canary──▶ stopped ─────┤
//	          └──operator──▶ paused ──────────────────┘   cancel, from anywhere ▶ cancelled
//
// A job decides by itself how many letters may go next ([Job.Advance]), from what became of
// those that went: a [Tracker] folds that from the outcomes.
//
// Everything here is a pure function of its arguments and bounded in size, since error
// texts, histories, filters and patches arrive from outside.
package deadletter
