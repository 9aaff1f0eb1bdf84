package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

func load(t *testing.T, pairs ...string) (*Config, error) {
	t.Helper()
	return Load(Environment(pairs))
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, err := load(t, "HOME=/home/ops", "RECOVERYD_NEAR=")
	if err != nil {
		t.Fatal(err)
	}
	if c.MemoryLimit != 64<<20 || c.Partitions != 8 || c.ShutdownTimeout != schemas.Duration(10*time.Second) ||
		c.Near != schemas.Duration(5*time.Second) || c.HTTPAddr != "127.0.0.1:9222" || c.Prefix != "recovery" || c.StreamPrefix != "RECOVERY" {
		t.Errorf("defaults are %+v", c)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env  []string
		want []string
	}{
		"near beyond 45 s":     {[]string{"RECOVERYD_NEAR=46s"}, []string{`RECOVERYD_NEAR="46s" is too large; allowed: duration from 100ms to 45s`}},
		"near unreadable":      {[]string{"RECOVERYD_NEAR=5"}, []string{`RECOVERYD_NEAR="5" cannot be read; allowed: duration from 100ms to 45s`}},
		"no shard":             {[]string{"RECOVERYD_PARTITIONS=0"}, []string{`RECOVERYD_PARTITIONS="0" is too small; allowed: shards from 1 to 256`}},
		"unknown word":         {[]string{"RECOVERYD_LOG_LEVEL=loud"}, []string{`RECOVERYD_LOG_LEVEL="loud" is unknown; allowed: one of debug, info, warn, error`}},
		"zero means unlimited": {[]string{"RECOVERYD_DEAD_MAX_BYTES=0"}, nil},
		"too small a store": {[]string{"RECOVERYD_DEAD_MAX_BYTES=4KiB"}, []string{
			`RECOVERYD_DEAD_MAX_BYTES="4KiB" is too small; allowed: bytes from 1MiB to 1PiB, or 0 for no limit`}},
		"open to everyone": {[]string{"RECOVERYD_HTTP_ADDR=0.0.0.0:9222"}, []string{
			`RECOVERYD_HTTP_ADDR="0.0.0.0:9222" can be reached from elsewhere: set RECOVERYD_HTTP_USER and RECOVERYD_HTTP_PASSWORD, or RECOVERYD_HTTP_TOKEN, or use 127.0.0.1`}},
		"all interfaces":     {[]string{"RECOVERYD_HTTP_ADDR=:9222"}, []string{`RECOVERYD_HTTP_ADDR=":9222" can be reached`}},
		"open, with a token": {[]string{"RECOVERYD_HTTP_ADDR=0.0.0.0:9222", "RECOVERYD_HTTP_TOKEN=s3cret"}, nil},
		"open, with a password": {[]string{
			"RECOVERYD_HTTP_ADDR=10.0.0.1:9222", "RECOVERYD_HTTP_USER=ops", "RECOVERYD_HTTP_PASSWORD=s3cret"}, nil},
		"loopback of version 6": {[]string{"RECOVERYD_HTTP_ADDR=[::1]:9222"}, nil},
		"password alone":        {[]string{"RECOVERYD_HTTP_PASSWORD=s3cret"}, []string{`RECOVERYD_HTTP_USER="" and RECOVERYD_HTTP_PASSWORD go together`}},
		"no port":               {[]string{"RECOVERYD_HTTP_ADDR=127.0.0.1"}, []string{`RECOVERYD_HTTP_ADDR="127.0.0.1" is no address`}},
		"http off":              {[]string{"RECOVERYD_HTTP_ADDR=off"}, nil},
		"wildcard as prefix":    {[]string{"RECOVERYD_PREFIX=a.>"}, []string{`RECOVERYD_PREFIX="a.>" is no prefix`}},
		"embedded elsewhere": {[]string{"RECOVERYD_EMBEDDED=true", "RECOVERYD_EMBEDDED_DIR=d", "RECOVERYD_EMBEDDED_ADDR=0.0.0.0:4222"}, []string{
			`RECOVERYD_EMBEDDED_ADDR="0.0.0.0:4222" can be reached from elsewhere`}},
		"embedded nowhere": {[]string{"RECOVERYD_EMBEDDED=true"}, []string{`RECOVERYD_EMBEDDED_DIR="" is missing`}},
		"all at once, in the order of the reference": {
			[]string{"RECOVERYD_SHUTDOWN_TIMEOUT=never", "RECOVERYD_PARTITIONS=many", "RECOVERYD_NEAR=1h", "RECOVERYD_EMBEDDED=perhaps", "RECOVERYD_STREAM_PREFIX=a.b"},
			[]string{`RECOVERYD_STREAM_PREFIX="a.b"`, `RECOVERYD_PARTITIONS="many"`, `RECOVERYD_NEAR="1h"`, `RECOVERYD_SHUTDOWN_TIMEOUT="never"`,
				`RECOVERYD_EMBEDDED="perhaps" cannot be read; allowed: true or false`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := load(t, test.env...)
			got := Faults(err)
			if len(got) != len(test.want) {
				t.Fatalf("%d faults, want %d: %v", len(got), len(test.want), err)
			}
			for i, want := range test.want {
				if !strings.HasPrefix(got[i].Error(), want) {
					t.Errorf("fault %d is\n%s, want\n%s", i, got[i], want)
				}
			}
		})
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	t.Parallel()
	c, err := load(t, "RECOVERYD_HTTP_USER=ops", "RECOVERYD_HTTP_PASSWORD=hunter2", "RECOVERYD_HTTP_TOKEN=hunter2", "RECOVERYD_NEAR=1h")
	if err == nil {
		t.Fatal("an hour was taken as near")
	}
	data, _ := json.Marshal(c)
	all := fmt.Sprintf("%v %+v %#v %s %v %s", c, c, c, data, c.Settings(), err)
	if strings.Contains(all, "hunter2") {
		t.Errorf("a secret shows in %s", all)
	}
	if c.HTTPPassword.Reveal() != "hunter2" {
		t.Error("the secret is lost")
	}
}

func TestSettingsNameTheirSource(t *testing.T) {
	t.Parallel()
	c, err := Load(
		Environment([]string{"RECOVERYD_NEAR=2s", "RECOVERYD_PREFIX=a", "RECOVERYD_HTTP_TOKEN=x"}),
		Source{Name: "--prefix", Values: map[string]string{"PREFIX": "b"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Setting{}
	for _, s := range c.Settings() {
		got[s.Name] = s
	}
	for _, want := range []Setting{
		{"RECOVERYD_NEAR", "2s", "environment"},
		{"RECOVERYD_PREFIX", "b", "--prefix"},
		{"RECOVERYD_HTTP_TOKEN", "********", "environment"},
		{"RECOVERYD_PARTITIONS", "8", "default"},
		{"RECOVERYD_MEMORY_LIMIT", "64MiB", "default"},
	} {
		if got[want.Name] != want {
			t.Errorf("got %+v, want %+v", got[want.Name], want)
		}
	}
}

func TestWarnsOfTyposButNotOfKubernetes(t *testing.T) {
	t.Parallel()
	c, err := load(t, "RECOVERYD_POLICYFILE=x", "RECOVERYD_SERVICE_HOST=10.0.0.1", "RECOVERYD_PORT=tcp://10.0.0.1:1", "RECOVERYD_PORT_9222_TCP_ADDR=10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	want := "RECOVERYD_POLICYFILE is no setting and was ignored; did you mean RECOVERYD_POLICY_FILE?"
	if got := c.Warnings(); len(got) != 1 || got[0] != want {
		t.Errorf("warnings are %q, want %q", got, want)
	}
}

func TestEveryVariableIsDescribed(t *testing.T) {
	t.Parallel()
	for _, v := range Variables() {
		if v.Unit == "" || v.Doc == "" || v.Allowed == "" {
			t.Errorf("%s lacks a unit, a range or a meaning: %+v", v.Name, v)
		}
		if least, most, ok := strings.Cut(v.field.Tag.Get("range"), ".."); ok && v.number(least) >= v.number(most) {
			t.Errorf("%s has the empty range %s..%s", v.Name, least, most)
		}
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"0": "0", "1048576": "1MiB", "96MiB": "96MiB", "2 GiB": "2GiB", "1536KiB": "1536KiB", "100": "100", "8B": "8",
		"": "error", "-1": "error", "1MB": "error", "1.5MiB": "error", "9000000TiB": "error", "MiB": "error",
	} {
		var b Bytes
		got := "error"
		if err := b.UnmarshalText([]byte(in)); err == nil {
			got = b.String()
		}
		if got != want {
			t.Errorf("%q reads as %s, want %s", in, got, want)
		}
	}
}
