// Package policyfile turns a YAML file into compiled policies and follows its changes.
//
// Reading never stops at the first fault: syntax apart, everything that is wrong with a
// file is told at once, each fault with its line and column, be it found here (unknown
// field, wrong type, duplicate) or by the compiler of policies (a value out of range).
//
// The reader walks the syntax tree itself, guided by the Go types of the document, because
// a decoder of values stops at its first fault and forgets where it read what.
package policyfile
