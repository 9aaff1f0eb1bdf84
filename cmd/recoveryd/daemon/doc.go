// Package daemon is the life of one recoveryd process: it starts the parts in order, keeps
// them going while the server comes and goes, and stops them in the reverse order.
//
//	starting ──server there, streams ensured──▶ serving ──Stop──▶ draining ──▶ stopped
//	    ▲                                          │
//	    └────── the engine stopped, backoff ───────┘
//
// What can be wrong without a server (policy file, HTTP address, credentials) is found
// before Start returns. From then on only two things end the daemon by themselves: a
// connection that is closed for good, and streams that are not recoveryd's or cannot be
// made to fit. Everything else is told by log and /readyz and tried again.
//
// HTTP is served from the first moment to the last, so that the reason for waiting can be
// read where one looks for it.
package daemon
