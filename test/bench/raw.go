package main

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/test/bench/internal/load"
	"github.com/recoveryd/recoveryd/test/bench/internal/report"
)

// rawBytes bounds what raw publishing stores.
const rawBytes = 1 << 30

// raw measures publishing to a plain stream of a fresh server, and reading it.
func (b *run) raw(size int) (publish, consume report.Row, err error) { return b.rawOn(1, size) }

// rawOn measures it on n servers, with as many replicas.
func (b *run) rawOn(n, size int) (publish, consume report.Row, err error) {
	r, err := b.newServers(n, "raw", size)
	if err != nil {
		return publish, consume, err
	}
	defer r.close()
	if _, err := r.js.CreateStream(b.ctx, jetstream.StreamConfig{Name: "RAW", Subjects: []string{"raw.>"}, Replicas: n}); err != nil {
		return publish, consume, err
	}
	messages := max(1000, min(b.options.raw, rawBytes/size/n))
	if _, _, err := b.rawPublish(r, messages/10); err != nil { // files, connection and heap are warm then
		return publish, consume, err
	}
	publish = report.Row{Scenario: "raw publish " + sizeName(size), Unit: "/s"}
	before, err := r.begin()
	if err != nil {
		return publish, consume, err
	}
	took, sent, err := b.rawPublish(r, messages)
	if err != nil {
		return publish, consume, err
	}
	publish.Result = float64(sent) / took.Seconds()
	if err := r.end(&publish, before, sent); err != nil {
		return publish, consume, err
	}
	consume, err = b.rawConsume(r, size)
	return publish, consume, err
}

func (b *run) rawPublish(r *rig, n int) (took time.Duration, sent int, err error) {
	names := make([]string, b.subjects)
	for i := range names {
		names[i] = fmt.Sprintf("raw.%d", i)
	}
	start := time.Now()
	sent, err = r.publish.Send(b.ctx, load.Pace{}, func(i int, body []byte) (schemas.Message, bool) {
		return schemas.Message{Subject: names[i%len(names)], Body: body}, i < n
	})
	return time.Since(start), sent, err
}

func (b *run) rawConsume(r *rig, size int) (report.Row, error) {
	row := report.Row{Scenario: "raw consume " + sizeName(size), Unit: "/s"}
	state, err := r.state("RAW")
	if err != nil {
		return row, err
	}
	before, err := r.begin()
	if err != nil {
		return row, err
	}
	start, n := time.Now(), 0
	err = r.each("RAW", 1, state.LastSeq, func(jetstream.Msg, *jetstream.MsgMetadata) error { n++; return nil })
	if err != nil {
		return row, err
	}
	row.Result = float64(n) / time.Since(start).Seconds()
	return row, r.end(&row, before, n)
}

func (b *run) rawScenario() error {
	publish, consume, err := b.raw(b.size)
	if err != nil {
		return err
	}
	consume.Ratio, consume.Of = consume.Result/publish.Result, "raw"
	b.add(publish)
	b.add(consume)
	return nil
}

// ideal is the rate of recoveries, three durable writes each, that raw publishing allows.
func (b *run) ideal(size int) (perSecond float64, err error) {
	publish, _, err := b.raw(size)
	return publish.Result / 3, err
}
