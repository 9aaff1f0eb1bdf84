package schemas_test

import (
	"testing"

	"github.com/recoveryd/recoveryd/schemas"
)

func TestTraceparent(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		header schemas.Header
		want   string
	}{
		"none":          {nil, ""},
		"another":       {schemas.Header{"tracestate": {"a=b"}}, ""},
		"as W3C writes": {schemas.Header{"traceparent": {"00-1-2-01", "later"}}, "00-1-2-01"},
		"as HTTP does":  {schemas.Header{"Traceparent": {"00-1-2-01"}}, "00-1-2-01"},
		"empty":         {schemas.Header{"traceparent": {}}, ""},
	} {
		if got := schemas.Traceparent(test.header); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
