package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// offer serves the control API of an engine until stop is called.
func (d *Daemon) offer(e *handlers.Engine) (stop func(), err error) {
	peers := map[string]bus.Endpoint{"status.get": d.ownStatus}
	for name, answer := range e.PeerAPI() {
		peers[name] = answer
	}
	alone, err := d.bus.ServePeer(d.Instance, peers)
	if err != nil {
		return nil, err
	}
	endpoints := map[string]bus.Endpoint{"status.get": d.status}
	for name, answer := range e.API() {
		endpoints[name] = answer
	}
	withdraw, err := d.bus.Serve(d.Version, endpoints)
	if err != nil {
		alone()
		return nil, err
	}
	return func() { withdraw(); alone() }, nil
}

// status answers status.get of clients: with the streams.
func (d *Daemon) status(ctx context.Context, request []byte) (any, error) {
	d.renew(ctx)
	states, err := d.stores.get()
	if err != nil {
		return nil, &schemas.APIError{Code: 503, Message: "streams: " + err.Error()}
	}
	reply, err := d.replica(request)
	if err != nil {
		return nil, err
	}
	for _, st := range states {
		reply.Streams = append(reply.Streams, schemas.StreamStatus{
			Name: st.Name, Messages: st.Messages, Bytes: st.Bytes, MaxBytes: st.MaxBytes, Replicas: st.Replicas,
		})
	}
	return reply, nil
}

// ownStatus answers who asks this replica in particular, without asking the server for
// anything: it may be asked every second.
func (d *Daemon) ownStatus(_ context.Context, request []byte) (any, error) { return d.replica(request) }

// replica is the state of this replica.
func (d *Daemon) replica(request []byte) (*schemas.StatusReply, error) {
	if len(request) > 0 {
		if err := schemas.DecodeStrict(request, &schemas.StatusRequest{}); err != nil {
			return nil, &schemas.APIError{Code: 400, Message: "request: " + err.Error()}
		}
	}
	p := d.Policies()
	reply := &schemas.StatusReply{
		Instance: d.Instance, Version: d.Version, Started: d.started.UTC().Format(time.RFC3339Nano), Prefix: d.Config.Prefix,
		PolicyHash: p.Hash(), Policies: []string{}, Shards: []schemas.ShardStatus{}, Streams: []schemas.StreamStatus{}, Faults: []string{},
		Instances: []schemas.InstanceStatus{}, Counts: d.tally.counts(), Targets: p.MustStore(),
	}
	if e := d.engine.Load(); e != nil {
		reply.ClockMS = float64(e.ClockDifference()) / float64(time.Millisecond)
		reply.Instances = e.Instances()
		reply.At = time.Now().Add(e.ClockDifference()).UTC().Format(time.RFC3339Nano)
	}
	for _, policy := range p.All() {
		reply.Policies = append(reply.Policies, policy.Name)
	}
	for _, st := range d.stats() {
		reply.Shards = append(reply.Shards, d.shardStatus(st))
	}
	for _, c := range d.checks() {
		if !c.OK {
			reply.Faults = append(reply.Faults, fmt.Sprintf("%s: %s", c.Name, c.Detail))
		}
	}
	return reply, nil
}

func (d *Daemon) shardStatus(st handlers.Stats) schemas.ShardStatus {
	s := schemas.ShardStatus{
		Shard: st.Shard, Instance: d.Instance, Near: st.Near, Far: st.Far, Held: st.Held, Parked: st.DeadWait,
		InFlight: st.InFlight, Bytes: st.NearBytes,
	}
	if !st.OldestDue.IsZero() {
		s.OldestDue = st.OldestDue.UTC().Format(time.RFC3339Nano)
	}
	for _, states := range st.Breakers {
		for state, n := range states {
			if state != strategies.Closed {
				s.Open += n
			}
		}
	}
	return s
}
