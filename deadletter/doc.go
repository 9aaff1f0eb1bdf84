// Package deadletter remembers what could not be saved: why a message failed,
// in a form that groups equal failures ([Cause]), and what was tried for it, in
// a form that fits a header ([History]).
//
// Everything here is a pure function of its arguments and bounded in size, since
// both error texts and histories arrive from outside.
package deadletter
