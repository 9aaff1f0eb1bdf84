package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/test/bench/internal/report"
)

// replay sends all dead letters back as fast as it goes: each is a redelivery, an outcome,
// and its removal from the store.
func (b *run) replay(r *rig, letters int, ideal float64) error {
	row := report.Row{Scenario: "replay", Unit: "/s", Of: "raw/3"}
	before, err := r.begin()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := r.createReplay(); err != nil {
		return err
	}
	if err := r.emptied(deadStream); err != nil {
		return err
	}
	row.Result = float64(letters) / time.Since(start).Seconds()
	row.Ratio = row.Result / ideal
	if err := r.end(&row, before, letters); err != nil {
		return err
	}
	replayed, err := r.state(target)
	if err != nil {
		return err
	}
	if replayed.Msgs != uint64(letters) {
		b.fault(row.Scenario, "the target holds %d messages of %d letters", replayed.Msgs, letters)
	}
	b.add(row)
	return nil
}

func (r *rig) createReplay() error {
	body, err := json.Marshal(schemas.JobRequest{Reason: "measured"})
	if err != nil {
		return err
	}
	reply, err := r.nc.RequestMsg(&nats.Msg{Subject: subjects.API("replay", "create"), Data: body}, 30*time.Second)
	if err != nil {
		return fmt.Errorf("create a replay job: %w", err)
	}
	if text := reply.Header.Get("Nats-Service-Error"); text != "" {
		return fmt.Errorf("create a replay job: %s", text)
	}
	return nil
}
