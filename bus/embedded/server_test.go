package embedded_test

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/bus/embedded"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o embedded.Options) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func TestServesOnLoopbackWithStreamsOnDisk(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Options{Dir: t.TempDir(), MaxStore: 1 << 20})
	u, err := url.Parse(s.URL())
	if err != nil || u.Hostname() != "127.0.0.1" {
		t.Errorf("serves at %s, want loopback", s.URL())
	}
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", MaxBytes: 1 << 19}); err != nil {
		t.Error(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "T", MaxBytes: 1 << 20}); err == nil {
		t.Error("more was reserved than MaxStore")
	}
}

func TestStreamsOutliveTheServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 2 {
		s := start(t, embedded.Options{Dir: dir})
		nc, err := nats.Connect(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S"})
		} else {
			_, err = js.Stream(t.Context(), "S")
		}
		if err != nil {
			t.Error(err)
		}
		nc.Close()
		s.Stop()
	}
}

func TestTemporaryDirectoryIsRemoved(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Options{})
	if _, err := os.Stat(s.Dir()); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s.Stop()
	if _, err := os.Stat(s.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", s.Dir(), err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, o := range map[string]embedded.Options{
		"Addr":            {Addr: "nonsense", Dir: t.TempDir()},
		"port":            {Addr: "127.0.0.1:99999", Dir: t.TempDir()},
		"MaxStore":        {MaxStore: -1, Dir: t.TempDir()},
		l.Addr().String(): {Addr: l.Addr().String(), Dir: t.TempDir()},
		"/dev":            {Dir: "/dev/null/streams"},
	} {
		s, err := embedded.Start(o)
		if err == nil {
			s.Stop()
			t.Errorf("%s: started", name)
		} else if !strings.Contains(err.Error(), name) {
			t.Errorf("error %q does not name %s", err, name)
		}
	}
}

type counter struct{ lines atomic.Int64 }

func (c *counter) log(format string, v ...any) {
	c.lines.Add(int64(min(1, len(fmt.Sprintf(format, v...)))))
}
func (c *counter) Noticef(format string, v ...any) { c.log(format, v...) }
func (c *counter) Warnf(format string, v ...any)   { c.log(format, v...) }
func (c *counter) Fatalf(format string, v ...any)  { c.log(format, v...) }
func (c *counter) Errorf(format string, v ...any)  { c.log(format, v...) }
func (c *counter) Debugf(format string, v ...any)  { c.log(format, v...) }
func (c *counter) Tracef(format string, v ...any)  { c.log(format, v...) }

func TestLogIsHandedOver(t *testing.T) {
	t.Parallel()
	var c counter
	start(t, embedded.Options{Dir: t.TempDir(), Logger: &c}).Stop()
	if c.lines.Load() == 0 {
		t.Error("the server said nothing")
	}
}
