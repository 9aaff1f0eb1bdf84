package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/bus/embedded"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/config"
	"github.com/recoveryd/recoveryd/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal is a log that can be read while it is written.
type journal struct {
	mu sync.Mutex
	bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.Buffer.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.Buffer.String()
}

func server(t *testing.T, addr string) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// options are those of a daemon at a server, with HTTP on a free port.
func options(t *testing.T, url string, pairs ...string) (Options, *journal) {
	t.Helper()
	pairs = append([]string{"RECOVERYD_HTTP_ADDR=127.0.0.1:0", "RECOVERYD_SHUTDOWN_TIMEOUT=5s", "RECOVERYD_PARTITIONS=2"}, pairs...)
	c, err := config.Load(config.Environment(pairs))
	if err != nil {
		t.Fatal(err)
	}
	j := &journal{}
	return Options{
		Config: c, Connection: bus.Options{Servers: url}, Version: "test", Instance: "one", Log: zerolog.New(j).Level(zerolog.DebugLevel),
	}, j
}

// fresh is a daemon as Start makes it before its first part.
func fresh(t *testing.T, o Options) *Daemon {
	t.Helper()
	o.Version, o.Instance = "test", "one"
	d := prepare(t.Context(), o)
	t.Cleanup(func() { d.cancel(errStopped) })
	return d
}

func start(t *testing.T, o Options) *Daemon {
	t.Helper()
	d, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, d) })
	return d
}

func stop(t *testing.T, d *Daemon) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = d.Stop(ctx) // those that test the end look at its error
}

func ready(t *testing.T, d *Daemon) {
	t.Helper()
	select {
	case <-d.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("not ready")
	}
}

func fetch(t *testing.T, d *Daemon, path string) (int, string) {
	t.Helper()
	response, err := http.Get(d.URL() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// eventually waits for something that other goroutines bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func client(t *testing.T, url string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

func report(t *testing.T, js jetstream.JetStream, subject string, header nats.Header) {
	t.Helper()
	_, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "recovery.failed." + subject, Header: header, Data: []byte(`{"id":42}`)})
	if err != nil {
		t.Fatal(err)
	}
}

func TestADaemonRecoversTellsAndStops(t *testing.T) {
	t.Parallel()
	url := server(t, "").URL()
	o, log := options(t, url)
	d := start(t, o)
	ready(t, d)
	nc, js := client(t, url)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
		t.Fatal(err)
	}
	again, err := nc.SubscribeSync("orders.new")
	if err != nil {
		t.Fatal(err)
	}
	report(t, js, "orders.new", nats.Header{"Recovery-Error": {"refused"}})
	report(t, js, "orders.bad", nats.Header{"Recovery-Error": {"no such order"}, "Recovery-Class": {"permanent"}})
	if m, err := again.NextMsg(10 * time.Second); err != nil || m.Header.Get("Recovery-Attempt") != "2" || string(m.Data) != `{"id":42}` {
		t.Fatalf("redelivered %v, %v", m, err)
	}
	eventually(t, "readyz does not say ok", func() bool { code, _ := fetch(t, d, "readyz"); return code == 200 })
	eventually(t, "metrics do not count", func() bool {
		_, text := fetch(t, d, "metrics")
		return strings.Contains(text, `recoveryd_redeliveries_total{policy="default",result="stored"} 1`) &&
			strings.Contains(text, `recoveryd_outcomes_total{kind="dead",policy="default",reason="permanent"} 1`) &&
			strings.Contains(text, `recoveryd_shards_owned 2`) && strings.Contains(text, "go_goroutines")
	})
	eventually(t, "the console shows no outcome", func() bool {
		_, text := fetch(t, d, "api/outcomes")
		return strings.Contains(text, `"kind":"dead"`) && strings.Contains(text, `"kind":"redelivered"`)
	})
	eventually(t, "the console shows no dead letter", func() bool {
		_, text := fetch(t, d, "api/dead")
		return strings.Contains(text, `"total":1`) && strings.Contains(text, `"subject":"orders.bad"`)
	})
	stop(t, d)
	if err := d.Wait(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	for _, part := range []string{"engine", "upkeep", "bus", "connection", "http"} {
		if !strings.Contains(log.String(), `"part":"`+part+`"`) {
			t.Errorf("%s was not stopped:\n%s", part, log)
		}
	}
	if _, err := http.Get(d.URL() + "livez"); err == nil {
		t.Error("HTTP is still served")
	}
}

func TestPoliciesAreReloadedAndKeptWhenBroken(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("version: 1\npolicies: [{name: first, subjects: [\">\"]}]\n")
	o, log := options(t, server(t, "").URL(), "RECOVERYD_POLICY_FILE="+file)
	d := start(t, o)
	ready(t, d)
	eventually(t, "no shards are served", func() bool { code, _ := fetch(t, d, "readyz"); return code == 200 })
	before := d.Policies().Hash()

	write("version: 1\npolicies: [{name: second, subject: [\">\"]}]\n")
	eventually(t, "a broken file is not told", func() bool {
		_, text := fetch(t, d, "readyz?verbose")
		return strings.Contains(text, "[!] policy: the file cannot be used, "+before+" stays in use: "+file+":2:27: policies[0].subject: is no field here; did you mean subjects?")
	})
	if code, _ := fetch(t, d, "readyz"); code != 200 {
		t.Errorf("a broken file made the daemon unready: %d", code)
	}
	if _, text := fetch(t, d, "metrics"); !strings.Contains(text, "recoveryd_policy_last_reload_successful 0") {
		t.Error("the metric does not tell of the broken file")
	}
	if got := d.engine.Load().Policies().Hash(); got != before {
		t.Errorf("the engine uses %s", got)
	}

	write("version: 1\npolicies: [{name: second, subjects: [\"orders.>\"]}]\n")
	eventually(t, "the good file is not used", func() bool { return d.engine.Load().Policies().Named("second") != nil })
	eventually(t, "readyz still complains", func() bool {
		_, text := fetch(t, d, "readyz?verbose")
		return strings.Contains(text, "[+] policy: "+d.Policies().Hash())
	})
	if !strings.Contains(log.String(), "policies reloaded") {
		t.Errorf("no word of the reload:\n%s", log)
	}
}

func TestADaemonWaitsForItsServer(t *testing.T) {
	t.Parallel()
	addrs, err := embedded.FreeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	addr := addrs[0]
	o, log := options(t, "nats://"+addr)
	d := start(t, o)
	eventually(t, "readyz does not say why", func() bool {
		code, text := fetch(t, d, "readyz?verbose")
		return code == 503 && strings.Contains(text, "[-] connection: no server at the moment") && strings.Contains(text, "[-] streams: no connection to a NATS server")
	})
	if code, _ := fetch(t, d, "livez"); code != 200 {
		t.Errorf("livez: %d", code)
	}
	server(t, addr)
	ready(t, d)
	if n := strings.Count(log.String(), "not serving yet"); n > 3 {
		t.Errorf("said %d times that there is no server:\n%s", n, log)
	}
}

func TestAClosedConnectionIsTheEnd(t *testing.T) {
	t.Parallel()
	o, _ := options(t, server(t, "").URL())
	d := start(t, o)
	ready(t, d)
	d.nc.Close()
	if err := d.Wait(); !errors.Is(err, schemas.ErrClosed) {
		t.Errorf("ended with %v", err)
	}
}

func TestForeignStreamsAreTheEnd(t *testing.T) {
	t.Parallel()
	url := server(t, "").URL()
	_, js := client(t, url)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "RECOVERY_FAILED", Subjects: []string{"recovery.failed.>"}}); err != nil {
		t.Fatal(err)
	}
	o, _ := options(t, url)
	if err := start(t, o).Wait(); !errors.Is(err, schemas.ErrForeign) {
		t.Errorf("ended with %v", err)
	}
}

func TestOtherPartitionsAreTheEnd(t *testing.T) {
	t.Parallel()
	url := server(t, "").URL()
	o, _ := options(t, url)
	first := start(t, o)
	ready(t, first)
	o, _ = options(t, url, "RECOVERYD_PARTITIONS=3")
	if err := start(t, o).Wait(); !errors.Is(err, schemas.ErrMismatch) {
		t.Errorf("ended with %v", err)
	}
}

func TestStartRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	for name, test := range map[string]struct {
		pairs      []string
		connection bus.Options
		part       Part
		want       string
	}{
		"no policy file": {[]string{"RECOVERYD_POLICY_FILE=/nowhere/policy.yaml"}, bus.Options{}, PartPolicy, "/nowhere"},
		"address taken":  {[]string{"RECOVERYD_HTTP_ADDR=" + taken.Addr().String()}, bus.Options{}, PartHTTP, "RECOVERYD_HTTP_ADDR"},
		"no credentials": {nil, bus.Options{Creds: "/nowhere/user.creds"}, PartConnection, "creds"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, _ := options(t, "", test.pairs...)
			o.Connection = test.connection
			d, err := Start(t.Context(), o)
			var known *StartError
			if d != nil || !errors.As(err, &known) || known.Part != test.part || !strings.Contains(err.Error(), test.want) {
				t.Errorf("started %v, %v", d != nil, err)
			}
		})
	}
	if _, err := Start(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), "Config is missing") {
		t.Errorf("empty options: %v", err)
	}
}

func TestAnEmbeddedServerStopsWithItsDaemon(t *testing.T) {
	t.Parallel()
	o, _ := options(t, "", "RECOVERYD_EMBEDDED=true", "RECOVERYD_EMBEDDED_DIR="+t.TempDir(), "RECOVERYD_EMBEDDED_ADDR=127.0.0.1:0")
	d := start(t, o)
	ready(t, d)
	url := d.Server()
	stop(t, d)
	if err := d.Wait(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	if nc, err := nats.Connect(url); err == nil {
		nc.Close()
		t.Error("the server still runs")
	}
}
