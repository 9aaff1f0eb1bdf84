// Package chaos runs a whole installation as processes of its own, a cluster of three
// servers and three daemons, breaks it by a seeded schedule while work fails, and accounts
// for every id at the end.
//
//   - process: children of this program, which can be killed, frozen and started again.
//   - proxy: the network between a daemon and the servers, which can be cut or stalled.
//   - installation: the processes together, and a client beside them.
//   - schedule: which fault comes when, decided by the seed alone; fault: how each is done.
//   - load, account: reporters and workers, and what they know must have happened.
//   - run: one run, and what it found.
//   - measure: how long take-over and rolling restarts take, and the pace of several daemons.
//
// Main of a program that uses it must begin with Child.
package chaos
