package cli

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/bus/embedded"
	"github.com/recoveryd/recoveryd/schemas"
)

// streamsOfOneCopy makes recoveryd's streams as a daemon on a single server would.
func streamsOfOneCopy(t *testing.T, url string) { makeStreams(t, url, bus.Config{Replicas: 1}) }

func makeStreams(t *testing.T, url string, c bus.Config) {
	t.Helper()
	nc, err := bus.Connect(bus.Options{Servers: url})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c.Subjects, c.StreamPrefix = schemas.Subjects{Prefix: "recovery"}, "RECOVERY"
	b, err := bus.New(nc, c)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	eventually(t, "the cluster has no leader", func() bool { return b.Ensure(t.Context()) == nil })
}

// threeServers is a cluster.
func threeServers(t *testing.T) (urls string, servers []*embedded.Server) {
	t.Helper()
	var all []string
	addrs, err := embedded.FreeAddrs(6) // some tests stop a server: no other may take its place
	if err != nil {
		t.Fatal(err)
	}
	peers := addrs[:3]
	dir := t.TempDir()
	for i, addr := range peers {
		name := "s" + string(rune('0'+i))
		s, err := embedded.Start(embedded.Options{
			Name: name, Dir: filepath.Join(dir, name), Addr: addrs[3+i], Cluster: &embedded.Cluster{Name: "test", Addr: addr, Peers: peers},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Stop)
		all, servers = append(all, s.URL()), append(servers, s)
	}
	return strings.Join(all, ","), servers
}

func TestReplicateWaitsForTheCopies(t *testing.T) {
	t.Parallel()
	urls, _ := threeServers(t)
	streamsOfOneCopy(t, urls)
	s := newSession(t, "NATS_URL="+urls)
	list := func(line string) (code int, all []store) {
		t.Helper()
		a, stdout, stderr := s.app()
		code = a.Run(t.Context(), words(line))
		if err := json.Unmarshal(stdout.Bytes(), &all); err != nil {
			t.Fatalf("%s: exit %d, %v, %s", line, code, err, stderr)
		}
		return code, all
	}
	if code, all := list("streams replicate 3 --dry-run --json"); code != 0 || len(all) != 9 || all[0].Replicas != 1 {
		t.Errorf("exit %d, %+v would be changed, want all nine", code, all)
	}
	if code := s.run("streams replicate 3"); code != exitUsage {
		t.Errorf("without --yes and a person: exit %d", code)
	}
	for _, line := range []string{"streams replicate 3 --yes --json", "streams replicate 3 --json", "streams ls --json"} {
		code, all := list(line)
		if code != 0 || len(all) != 9 {
			t.Errorf("%s: exit %d, %d stores", line, code, len(all))
		}
		for _, st := range all {
			if st.Replicas != 3 || st.Current != 3 {
				t.Errorf("%s: %+v, want three copies up to date", line, st)
			}
		}
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	s := newSession(t, "NATS_URL="+server.URL())
	s.run("streams ls")
	streamsOfOneCopy(t, server.URL())
	s.run("streams ls")
	s.run("streams replicate 1 --yes")
	s.run("streams replicate 3")
	s.run("streams replicate 3 --yes")
	s.run("streams replicate many")
	s.golden("streams")
}
