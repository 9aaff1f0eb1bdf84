// Command bench measures recoveryd on the machine it runs on:
//
//	go run ./test/bench [flags] [scenarios]
//
// It starts a NATS server and the daemon as processes of their own, in a temporary folder,
// offers failures, and prints one table. Without names all scenarios run:
//
//   - raw: asynchronous publishing to a plain stream on disk, and reading it.
//   - steady: failures with a fixed delay as fast as they are recovered, then, on another
//     server, at 200/s and at a tenth and half of that rate.
//   - bare: the fastest rate of a loop that stands in for the daemon and only does what a
//     recovery asks of the bus: what the daemon's own work costs, by comparison.
//   - sizes: the fastest rate with bodies of 64 B and 64 KiB.
//   - burst: failures that are all due within one second.
//   - far: failures that wait for a minute and more, in the ledger.
//   - outage: failures that an open breaker holds back, and their drainage.
//   - dead: failures that become dead letters at once, and their replay.
//   - takeover: the daemon is killed while work waits, and started again.
//   - cluster: the fastest rate on three servers, with three copies of every stream.
//   - idle: what the daemon costs when nothing fails.
//
// Before each measurement of a rate, raw publishing of bodies of the same size is measured
// on a server of its own, so that a ratio compares two numbers of the same minute. What a
// delivery was late by is taken from the times that the server wrote: the time of the
// redelivery in its stream less the time of the failure in its stream less the delay. The
// target is read only after a measurement, so that nothing but recoveryd, the server and
// the publishing of failures takes part in it; publisher and measured processes share the
// processors.
//
// Every redelivery is accounted for: work that is lost, delivered twice or early is a FAULT,
// and the command fails.
package main
