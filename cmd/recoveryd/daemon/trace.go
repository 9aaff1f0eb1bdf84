package daemon

import (
	"time"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/tracing"
	"github.com/recoveryd/recoveryd/handlers"
)

// trace begins to send traces, if they are wanted.
func (d *Daemon) trace() error {
	if !d.Traces.On {
		return nil
	}
	failed := tracing.FailureLog(time.Now, func(spans int, err error) {
		d.log.Warn().Int("spans", spans).Err(err).Msg("spans cannot be sent and are lost: look at the collector, and at OTEL_EXPORTER_OTLP_ENDPOINT")
	})
	traces, err := tracing.Start(d.ctx, d.Traces, d.Version, d.Instance, failed)
	if err != nil {
		return err
	}
	d.traces = traces
	d.stack.add("traces", traces.Stop)
	return nil
}

// observers are told everything that the engine does.
func (d *Daemon) observers() handlers.Observers {
	all := handlers.Observers{d.metrics, d.events, d.recent, &d.tally}
	if d.traces != nil {
		all = append(all, d.traces)
	}
	return all
}
