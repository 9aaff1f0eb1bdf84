package tracing

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

func TestRead(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		environ []string
		want    Settings
		fault   string
	}{
		"nothing":        {nil, Settings{}, ""},
		"exporter":       {[]string{"OTEL_TRACES_EXPORTER=otlp"}, Settings{On: true}, ""},
		"endpoint":       {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318/"}, Settings{true, "http://collector:4318/v1/traces"}, ""},
		"of traces":      {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://a:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://b:2/t"}, Settings{true, "https://b:2/t"}, ""},
		"none":           {[]string{"OTEL_TRACES_EXPORTER=none", "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318"}, Settings{}, ""},
		"disabled":       {[]string{"OTEL_SDK_DISABLED=TRUE", "OTEL_TRACES_EXPORTER=otlp"}, Settings{}, ""},
		"other exporter": {[]string{"OTEL_TRACES_EXPORTER=console"}, Settings{On: true}, `OTEL_TRACES_EXPORTER: "console" is not known here`},
		"grpc":           {[]string{"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, Settings{On: true}, `OTEL_EXPORTER_OTLP_PROTOCOL: "grpc"`},
		"no URL":         {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318"}, Settings{On: true}, "OTEL_EXPORTER_OTLP_ENDPOINT: \"collector:4318\" is no URL"},
		"its metrics":    {[]string{"OTEL_METRICS_EXPORTER=otlp"}, Settings{}, ""},
	} {
		got, err := Read(test.environ)
		if got != test.want {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
		if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%s: error %v, want %q", name, err, test.fault)
		}
	}
}

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestSpans(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	traces := begin(sdk.WithSpanProcessor(recorder))
	at := time.Unix(1_900_000_000, 0).UTC()
	outcome := func(kind, id, traceparent string, failed time.Time) {
		o := &schemas.Outcome{Kind: kind, ID: id, Subject: "orders.new", Attempt: 2, Error: "connection refused"}
		traces.Observe(handlers.Event{Kind: handlers.EventOutcome, At: at, Outcome: o, ID: id, Trace: traceparent, FailedAt: failed})
	}
	outcome(schemas.KindRedelivered, "a", traceparent, at.Add(-time.Second))
	outcome(schemas.KindDead, "b", "", at.Add(-time.Minute))
	outcome(schemas.KindRecovered, "b", "garbage", time.Time{})
	outcome(schemas.KindScheduled, "c", "", at.Add(time.Second)) // by a clock that is ahead
	outcome(schemas.KindRedelivered, "d", strings.TrimSuffix(traceparent, "1")+"0", at)
	traces.Observe(handlers.Event{Kind: handlers.EventFault, At: at, Err: errors.New("no outcome")})
	spans := recorder.Ended()
	if len(spans) != 4 {
		t.Fatalf("%d spans, want 4: what its sender does not sample is not told", len(spans))
	}
	if s := spans[0]; s.Name() != "recovery redelivered" || s.Parent().TraceID().String() != traceparent[3:35] || s.Parent().SpanID().String() != traceparent[36:52] ||
		s.SpanKind() != trace.SpanKindProducer || !s.EndTime().Equal(at) || s.EndTime().Sub(s.StartTime()) != time.Second {
		t.Errorf("got %s in %v from %s to %s", s.Name(), s.Parent(), s.StartTime(), s.EndTime())
	}
	if spans[1].Parent().TraceID() != spans[2].Parent().TraceID() || spans[2].Parent().TraceID() == spans[3].Parent().TraceID() {
		t.Error("a trace is not of one id")
	}
	if s := spans[1].Status(); s.Code != codes.Error || s.Description != "connection refused" {
		t.Errorf("the status of a dead letter is %+v", s)
	}
	if s := spans[3]; s.EndTime().Before(s.StartTime()) {
		t.Errorf("a span ends %s before it begins", s.StartTime().Sub(s.EndTime()))
	}
	if !slices.ContainsFunc(spans[0].Attributes(), func(a attribute.KeyValue) bool { return a.Key == "recovery.id" && a.Value.AsString() == "a" }) {
		t.Errorf("attributes %v", spans[0].Attributes())
	}
}

// sink is a server that takes spans as OTLP over HTTP.
type sink struct {
	*httptest.Server
	mu       sync.Mutex
	names    []string
	services []string
	status   int
}

func newCollector(t *testing.T, status int) *sink {
	c := &sink{status: status}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

// ServeHTTP implements http.Handler.
func (c *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	data, err := io.ReadAll(body)
	var request collector.ExportTraceServiceRequest
	if err = errors.Join(err, proto.Unmarshal(data, &request)); err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, "bad", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range request.ResourceSpans {
		for _, a := range rs.Resource.Attributes {
			if a.Key == "service.name" {
				c.services = append(c.services, a.Value.GetStringValue())
			}
		}
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				c.names = append(c.names, s.Name)
			}
		}
	}
	w.WriteHeader(c.status)
}

func TestSpansAreSent(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"taken": http.StatusOK, "refused": http.StatusForbidden} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCollector(t, status)
			lost := make(chan int, 10)
			s, err := Read([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL})
			if err != nil {
				t.Fatal(err)
			}
			traces, err := Start(t.Context(), s, "1.2.3", "here", func(spans int, err error) {
				if err == nil {
					t.Error("no reason why spans are lost")
				}
				lost <- spans
			})
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				traces.Observe(handlers.Event{Kind: handlers.EventOutcome, At: time.Now(), Outcome: &schemas.Outcome{Kind: schemas.KindDead, ID: "a"}})
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := traces.Stop(ctx); err != nil {
				t.Fatal(err)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if len(c.names) != 3 || c.names[0] != "recovery dead" || !slices.Contains(c.services, "recoveryd") {
				t.Errorf("the collector got %v of %v", c.names, c.services)
			}
			if want := map[string]int{"taken": 0, "refused": 1}[name]; len(lost) != want {
				t.Errorf("%d times spans were lost, want %d", len(lost), want)
			} else if want == 1 && <-lost != 3 {
				t.Error("not all three are told of as lost")
			}
		})
	}
}

func TestFailureLog(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_900_000_000, 0)
	var told []int
	failed := FailureLog(func() time.Time { return now }, func(spans int, _ error) { told = append(told, spans) })
	for _, step := range []time.Duration{0, time.Second, 8 * time.Second, time.Second, time.Second} {
		now = now.Add(step)
		failed(5, errors.New("refused"))
	}
	if want := []int{5, 15}; !slices.Equal(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
}
