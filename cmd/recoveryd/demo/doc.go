// Package demo tells the whole story of recoveryd in half a minute, and checks that it
// came true.
//
// A run stands on a stage of its own: a daemon in this process whose subjects and streams
// are named at random, so that it disturbs no other daemon at the same server, and a
// stream of work with a worker that fails on purpose. The scenes are played one after
// the other. What recoveryd published about them is held against what each scene
// expects, and against what its streams hold in the end. The stage is removed
// afterwards.
//
//   - scene: what the worker does wrong and what must come of it, as values.
//   - stage: daemon, streams and worker, and how they are removed.
//   - tally: outcomes and breaker events, counted.
//   - check: expected against seen.
package demo
