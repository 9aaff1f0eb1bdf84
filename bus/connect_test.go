package bus_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/recoveryd/recoveryd/bus"
)

func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOptionsFromEnvironment(t *testing.T) {
	t.Parallel()
	all := map[string]string{"NATS_URL": "url", "NATS_CONTEXT": "context", "NATS_CREDS": "creds", "NATS_NKEY": "nkey", "NATS_USER": "user",
		"NATS_PASSWORD": "password", "NATS_TOKEN": "token", "NATS_CERT": "cert", "NATS_KEY": "key", "NATS_CA": "ca"}
	for name, c := range map[string]struct {
		env         []string
		given, want bus.Options
	}{
		"nothing": {},
		"files": {[]string{"NATS_URL", "NATS_CONTEXT", "NATS_CREDS", "NATS_CERT", "NATS_KEY", "NATS_CA"}, bus.Options{},
			bus.Options{Servers: "url", Context: "context", Creds: "creds", TLSCert: "cert", TLSKey: "key", TLSCA: "ca"}},
		"user":              {[]string{"NATS_USER", "NATS_PASSWORD"}, bus.Options{}, bus.Options{User: "user", Password: "password"}},
		"nkey":              {[]string{"NATS_NKEY"}, bus.Options{}, bus.Options{NKey: "nkey"}},
		"token":             {[]string{"NATS_TOKEN"}, bus.Options{}, bus.Options{Token: "token"}},
		"given wins":        {[]string{"NATS_URL", "NATS_CREDS"}, bus.Options{Servers: "mine", Creds: "mine"}, bus.Options{Servers: "mine", Creds: "mine"}},
		"one identity":      {[]string{"NATS_USER", "NATS_PASSWORD", "NATS_TOKEN"}, bus.Options{Creds: "mine"}, bus.Options{Creds: "mine"}},
		"password of given": {[]string{"NATS_USER", "NATS_PASSWORD"}, bus.Options{User: "me"}, bus.Options{User: "me", Password: "password"}},
	} {
		env := map[string]string{}
		for _, k := range c.env {
			env[k] = all[k]
		}
		got := c.given.WithEnv(func(k string) string { return env[k] })
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestConnectNamesTheSetting(t *testing.T) {
	t.Parallel()
	junk := writeFile(t, "junk", "junk")
	missing := filepath.Join(t.TempDir(), "missing")
	url := startServer(t).URL()
	for name, c := range map[string]struct {
		o    bus.Options
		says []string
	}{
		"two identities":             {bus.Options{User: "a", Token: "b"}, []string{"user and token", "keep one"}},
		"password alone":             {bus.Options{Password: "secret"}, []string{"password is set without user"}},
		"certificate only":           {bus.Options{TLSCert: junk}, []string{"tlscert and tlskey belong together"}},
		"no such files":              {bus.Options{Creds: missing, TLSCA: missing}, []string{"creds: cannot read", "tlsca: cannot read", missing}},
		"no such context":            {bus.Options{Context: "no-such-context"}, []string{`context "no-such-context"`, "nats context ls"}},
		"no context file":            {bus.Options{Context: missing}, []string{"context: cannot read", missing}},
		"junk as context":            {bus.Options{Context: junk}, []string{"context", junk, "cannot be used"}},
		"junk as seed":               {bus.Options{Servers: url, NKey: junk}, []string{"nkey: ", junk}},
		"junk as key pair":           {bus.Options{Servers: url, TLSCert: junk, TLSKey: junk}, []string{"TLS failed", "tlscert"}},
		"junk as ca":                 {bus.Options{Servers: url, TLSCA: junk}, []string{"TLS failed", "tlsca"}},
		"TLS not served":             {bus.Options{Servers: strings.Replace(url, "nats://", "tls://", 1)}, []string{"TLS failed"}},
		"nobody there":               {bus.Options{Servers: "nats://127.0.0.1:1"}, []string{"127.0.0.1:1", "nobody answers", "NATS_URL"}},
		"nobody there with password": {bus.Options{Servers: "nats://me:secret@127.0.0.1:1"}, []string{"me:xxxxx@127.0.0.1:1"}},
		"refused user":               {bus.Options{Servers: refuseAll(t), User: "me", Password: "secret"}, []string{"refuses the user", "creds"}},
		"junk as creds":              {bus.Options{Servers: refuseAll(t), Creds: junk}, []string{"creds: ", junk}},
	} {
		nc, err := bus.Connect(c.o)
		if err == nil {
			nc.Close()
			t.Errorf("%s: connected", name)
			continue
		}
		for _, text := range c.says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: error %q does not say %q", name, err, text)
			}
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %q tells the password", name, err)
		}
	}
}

// refuseAll speaks just enough of the protocol to refuse every user.
func refuseAll(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, `INFO {"server_id":"x","version":"2.15.2","proto":1,"headers":true,"auth_required":true,"max_payload":1048576,"nonce":"abcdefgh"}`+"\r\n")
			if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
				fmt.Fprint(c, "-ERR 'Authorization Violation'\r\n")
			}
			c.Close()
		}
	}()
	return "nats://" + l.Addr().String()
}

func TestConnectByContext(t *testing.T) {
	t.Parallel()
	url := startServer(t).URL()
	context := writeFile(t, "prod.json", `{"url":"`+url+`","token":"of-the-context","inbox_prefix":"_INBOX_team"}`)
	nc, err := bus.Connect(bus.Options{Context: context, Name: "recoveryd/test"})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if nc.Opts.Token != "of-the-context" || nc.Opts.Name != "recoveryd/test" || !strings.HasPrefix(nc.NewInbox(), "_INBOX_team.") {
		t.Errorf("connected as %q with token %q and inbox %s", nc.Opts.Name, nc.Opts.Token, nc.NewInbox())
	}
}

func TestSettingsOverrideTheContext(t *testing.T) {
	t.Parallel()
	url := startServer(t).URL()
	context := writeFile(t, "prod.json", `{"url":"nats://127.0.0.1:1","token":"of-the-context"}`)
	nc, err := bus.Connect(bus.Options{Context: context, Servers: "nats://127.0.0.1:1, " + url, User: "me", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if nc.Opts.Token != "" || nc.Opts.User != "me" || nc.ConnectedUrl() != url {
		t.Errorf("connected to %s as %q with token %q", nc.ConnectedUrl(), nc.Opts.User, nc.Opts.Token)
	}
}

func TestUserWithoutPasswordIsAToken(t *testing.T) {
	t.Parallel()
	nc, err := bus.Connect(bus.Options{Servers: startServer(t).URL(), User: "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if nc.Opts.Token != "s3cret" || nc.Opts.User != "" {
		t.Errorf("user %q, token %q", nc.Opts.User, nc.Opts.Token)
	}
}

func TestConnectWaitsForAServer(t *testing.T) {
	t.Parallel()
	address := freeAddrs(t, 1)[0]
	events := make(chan string, 100)
	nc, err := bus.Connect(bus.Options{Servers: "nats://" + address, Retry: true, OnEvent: func(kind string, _ error) { events <- kind }})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	b := newBus(t, nc, testConfig())
	if err := b.Ensure(t.Context()); !errors.Is(err, bus.ErrDisconnected) {
		t.Errorf("got %v, want ErrDisconnected", err)
	}
	serveAt(t, address)
	for receive(t, events) != "connected" {
	}
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	store(t, b, names.Signal(0), "x")
}

func TestAsynchronousErrorsAreTold(t *testing.T) {
	t.Parallel()
	type event struct {
		kind string
		err  error
	}
	events := make(chan event, 100)
	nc, err := bus.Connect(bus.Options{Servers: startServer(t).URL(), OnEvent: func(kind string, err error) { events <- event{kind, err} }})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("slow")
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(1, 1000); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := nc.Publish("slow", nil); err != nil {
			t.Fatal(err)
		}
	}
	for {
		if e := receive(t, events); e.kind == "error" {
			if !errors.Is(e.err, nats.ErrSlowConsumer) {
				t.Errorf("got %v", e.err)
			}
			return
		}
	}
}
