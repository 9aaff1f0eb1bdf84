package tracing

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Settings is what the standard variables of OpenTelemetry say about traces. Those not named
// here (headers, certificates, timeouts, sampler, batches) the library reads by itself.
type Settings struct {
	On       bool
	Endpoint string // URL that traces are sent to; "" = the library's default, http://localhost:4318/v1/traces
}

// Read reads the variables of a process, as os.Environ lists them. Traces are sent if
// OTEL_TRACES_EXPORTER is otlp, or an endpoint is given. The error names every variable that
// asks for what there is not.
func Read(environ []string) (s Settings, err error) {
	values := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		values[name] = strings.TrimSpace(value)
	}
	switch exporter := values["OTEL_TRACES_EXPORTER"]; {
	case strings.EqualFold(values["OTEL_SDK_DISABLED"], "true"), exporter == "none":
		return Settings{}, nil
	case exporter == "" && values["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]+values["OTEL_EXPORTER_OTLP_ENDPOINT"] == "":
		return Settings{}, nil
	case exporter != "" && exporter != "otlp":
		err = fmt.Errorf("OTEL_TRACES_EXPORTER: %q is not known here, only otlp and none are", exporter)
	}
	s.On = true
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		if p := values[name]; p != "" && p != "http/protobuf" {
			err = errors.Join(err, fmt.Errorf("%s: %q is not known here, only http/protobuf is", name, p))
		}
	}
	for _, e := range []struct{ name, path string }{{"OTEL_EXPORTER_OTLP_ENDPOINT", "/v1/traces"}, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""}} {
		if values[e.name] == "" {
			continue
		}
		u, bad := url.Parse(values[e.name])
		if bad != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			err = errors.Join(err, fmt.Errorf("%s: %q is no URL like http://collector:4318", e.name, values[e.name]))
			continue
		}
		s.Endpoint = strings.TrimSuffix(u.String(), "/") + e.path
	}
	return s, err
}
