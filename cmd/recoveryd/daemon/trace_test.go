package daemon

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/tracing"
	"github.com/recoveryd/recoveryd/schemas"
)

// What becomes of failed work is told in the trace of the message that failed, the last of
// it when the daemon stops.
func TestTraces(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var sent []byte
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		sent = append(sent, body...)
	}))
	t.Cleanup(collector.Close)
	s := server(t, "")
	_, js := client(t, s.URL())
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "policy.yaml")
	policy := `{version: 1, policies: [{name: orders, subjects: ["orders.>"], success_evidence: report, retry: {initial_delay: 100ms}}]}`
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	o, _ := options(t, s.URL(), "RECOVERYD_POLICY_FILE="+file)
	o.Traces = tracing.Settings{On: true, Endpoint: collector.URL + "/v1/traces"}
	d := start(t, o)
	ready(t, d)
	traces := map[string]string{"a": "4bf92f3577b34da6a3ce929d0e0e4736", "b": "0af7651916cd43dd8448eb211c80319c"}
	for id, class := range map[string]string{"a": schemas.ClassTransient, "b": schemas.ClassPermanent} {
		m := nats.NewMsg("recovery.failed.orders." + id)
		m.Header = nats.Header{schemas.HeaderID: {id}, schemas.HeaderClass: {class}, "traceparent": {"00-" + traces[id] + "-00f067aa0ba902b7-01"}}
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	var redelivered *jetstream.RawStreamMsg
	eventually(t, "it is not redelivered", func() bool {
		redelivered, err = stream.GetLastMsgForSubject(t.Context(), "orders.a")
		return err == nil
	})
	if got := redelivered.Header.Get("traceparent"); got != "00-"+traces["a"]+"-00f067aa0ba902b7-01" {
		t.Errorf("the redelivery has traceparent %q", got)
	}
	success := &nats.Msg{Subject: "recovery.succeeded.orders.a", Header: redelivered.Header}
	if _, err := js.PublishMsg(t.Context(), success); err != nil {
		t.Fatal(err)
	}
	outcomes, err := js.Stream(t.Context(), "RECOVERY_OUTCOMES")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "no success is known", func() bool {
		_, err := outcomes.GetLastMsgForSubject(t.Context(), "recovery.outcomes.recovered.orders.a")
		return err == nil
	})
	stop(t, d)
	mu.Lock()
	defer mu.Unlock()
	for _, id := range traces {
		raw, _ := hex.DecodeString(id)
		if !bytes.Contains(sent, raw) {
			t.Errorf("nothing was sent of trace %s", id)
		}
	}
	for _, name := range []string{"recovery scheduled", "recovery redelivered", "recovery recovered", "recovery dead"} {
		if !bytes.Contains(sent, []byte(name)) {
			t.Errorf("no span %q was sent", name)
		}
	}
}
