// Package tracing tells OpenTelemetry what becomes of failed work: a span for each outcome,
// in the trace of the message that failed.
package tracing

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

// Tracing makes spans of events and sends them in batches. What does not fit into the
// library's queue (OTEL_BSP_MAX_QUEUE_SIZE) is dropped: recovery does not wait for it.
type Tracing struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// Start begins to send. failed is told why spans could not be sent, and how many, each time.
func Start(ctx context.Context, s Settings, version, instance string, failed func(spans int, err error)) (*Tracing, error) {
	var o []otlptracehttp.Option
	if s.Endpoint != "" {
		o = append(o, otlptracehttp.WithEndpointURL(s.Endpoint))
	}
	exporter, err := otlptracehttp.New(ctx, o...)
	if err != nil {
		return nil, fmt.Errorf("send traces: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "recoveryd"), attribute.String("service.version", version), attribute.String("service.instance.id", instance)),
		resource.WithFromEnv(), // OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES
	)
	if err != nil {
		return nil, fmt.Errorf("send traces: %w", err)
	}
	return begin(sdk.WithBatcher(reporting{exporter, failed}), sdk.WithResource(about)), nil
}

func begin(o ...sdk.TracerProviderOption) *Tracing {
	p := sdk.NewTracerProvider(o...)
	return &Tracing{provider: p, tracer: p.Tracer("github.com/recoveryd/recoveryd")}
}

// reporting tells of what could not be sent. The library would only write it to the standard
// error of the process.
type reporting struct {
	sdk.SpanExporter
	failed func(spans int, err error)
}

// ExportSpans implements sdk.SpanExporter.
func (r reporting) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if err := r.SpanExporter.ExportSpans(ctx, spans); err != nil {
		r.failed(len(spans), err)
	}
	return nil
}

// Stop sends what is left, as far as ctx allows.
func (t *Tracing) Stop(ctx context.Context) error {
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}

// Observe implements handlers.Observer.
func (t *Tracing) Observe(e handlers.Event) {
	if e.Kind != handlers.EventOutcome {
		return
	}
	o, began := e.Outcome, e.At
	if !e.FailedAt.IsZero() && e.FailedAt.Before(e.At) {
		began = e.FailedAt
	}
	_, span := t.tracer.Start(parent(e.Trace, o.ID), "recovery "+o.Kind, trace.WithTimestamp(began), trace.WithSpanKind(kindOf(o.Kind)), trace.WithAttributes(attributes(o)...))
	if o.Kind == schemas.KindDead || o.Kind == schemas.KindRejected {
		span.SetStatus(codes.Error, o.Error)
	}
	span.End(trace.WithTimestamp(e.At))
}

// parent is the span that the failed message belongs to. Work that belongs to none has a
// trace by its id, so that all that happens to it is in one.
func parent(traceparent, id string) context.Context {
	ctx := context.Background()
	if traceparent != "" {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": traceparent})
	}
	if trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	sum := sha256.Sum256([]byte(id))
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(sum[:16]), SpanID: trace.SpanID(sum[16:24]), TraceFlags: trace.FlagsSampled, Remote: true,
	}))
}

func kindOf(outcome string) trace.SpanKind {
	switch outcome {
	case schemas.KindRedelivered, schemas.KindFallback, schemas.KindReplayed:
		return trace.SpanKindProducer
	}
	return trace.SpanKindInternal
}

// attributes name messaging as OpenTelemetry does, and the rest as the outcome does. Ids and
// subjects are no metric labels, but they are what traces are looked for by.
func attributes(o *schemas.Outcome) []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("messaging.system", "nats"), attribute.String("messaging.destination.name", o.Subject),
		attribute.String("recovery.id", o.ID), attribute.String("recovery.outcome", o.Kind),
		attribute.Int("recovery.attempt", o.Attempt), attribute.Int("recovery.delivery", o.Delivery),
	}
	for _, a := range []struct{ key, value string }{
		{"recovery.policy", o.Policy}, {"recovery.reason", o.Reason}, {"recovery.error", o.Error}, {"recovery.code", o.Code}, {"recovery.class", o.Class},
		{"recovery.target", o.Target}, {"recovery.cause", o.Cause}, {"recovery.breaker", o.Key}, {"recovery.due_at", o.DueAt},
	} {
		if a.value != "" {
			all = append(all, attribute.String(a.key, a.value))
		}
	}
	if o.LateMS > 0 {
		all = append(all, attribute.Int64("recovery.late_ms", o.LateMS))
	}
	return all
}

// FailureLog tells of spans that could not be sent, at most every ten seconds, with those
// that were not told of.
func FailureLog(now func() time.Time, tell func(spans int, err error)) func(spans int, err error) {
	var told time.Time
	lost := 0
	return func(spans int, err error) { // batches are sent one after the other
		lost += spans
		if at := now(); at.Sub(told) >= 10*time.Second {
			tell(lost, err)
			told, lost = at, 0
		}
	}
}
