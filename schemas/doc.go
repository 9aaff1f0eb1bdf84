// Package schemas is the vocabulary of recoveryd: the subjects, headers and events that
// its users depend on, how they are written and read, and their JSON Schemas.
//
// A worker reports a Failure. What is known of the failed work from then on is a Work;
// it travels in the headers of each delivery, sealed so that nobody else can change it,
// or as an Entry of the ledger while it waits far from its due time. Every step that is
// taken is an Outcome, every change of a breaker a BreakerEvent, and what could not be
// saved a DeadLetter.
//
// Decoding is strict where recoveryd wrote the value and lenient where a stranger did:
// an unreadable header of a report is noted in Failure.Faults and replaced by a value
// that cannot do harm, because the report itself must never be lost.
//
// The package imports only the standard library.
package schemas
