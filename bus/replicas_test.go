package bus_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/recoveryd/recoveryd/bus/embedded"
	"github.com/recoveryd/recoveryd/schemas"
)

// cluster is three servers that share streams, and a connection to them.
func cluster(t testing.TB) *nats.Conn {
	t.Helper()
	var urls []string
	peers := freeAddrs(t, 3)
	dir := t.TempDir()
	for i, addr := range peers {
		name := fmt.Sprintf("s%d", i)
		s, err := embedded.Start(embedded.Options{
			Name: name, Dir: filepath.Join(dir, name), Cluster: &embedded.Cluster{Name: "test", Addr: addr, Peers: peers},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Stop)
		urls = append(urls, s.URL())
	}
	nc := dial(t, strings.Join(urls, ","))
	js := jetStream(t, nc)
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) { // elections are not announced
		if _, err := js.AccountInfo(t.Context()); err == nil {
			return nc
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestReplicasAreRaisedByAnExplicitCallOnly(t *testing.T) {
	t.Parallel()
	nc := cluster(t)
	config := testConfig()
	config.Replicas = 1
	if err := newBus(t, nc, config).Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	config.Replicas = 3
	told := make(chan error, 100)
	config.OnEvent = func(_ string, err error) { told <- err }
	b := newBus(t, nc, config)
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	js := jetStream(t, nc)
	if n := streamInfo(t, js, "RECOVERY_LEDGER_0").Config.Replicas; n != 1 {
		t.Errorf("it has %d replicas without a word of an operator", n)
	}
	if err := receive(t, told); !strings.Contains(err.Error(), "3 are configured") {
		t.Errorf("told %v, want that replicas are missing", err)
	}
	if err := b.RaiseReplicas(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"RECOVERY_FAILED", "RECOVERY_LEDGER_0", "KV_RECOVERY_LEASES", "RECOVERY_ADVISORIES"} {
		if n := streamInfo(t, js, name).Config.Replicas; n != 3 {
			t.Errorf("%s has %d replicas, want 3", name, n)
		}
	}
}

func TestClustersOfThreeGetThreeReplicas(t *testing.T) {
	t.Parallel()
	nc := cluster(t)
	b := newBus(t, nc, testConfig())
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := streamInfo(t, jetStream(t, nc), "RECOVERY_FAILED").Config.Replicas; n != 3 {
		t.Errorf("it has %d replicas, want 3", n)
	}
	first := hold(t, b, "shard.0", "me", 0)
	if err := b.FreeLease(t.Context(), "shard.0", hold(t, b, "shard.0", "me", first)); err != nil {
		t.Error(err)
	}
	hold(t, b, "shard.0", "you", 0)
}

func TestRaiseReplicasNeedsServers(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	if err := b.RaiseReplicas(t.Context(), 3); err == nil || !strings.Contains(err.Error(), "RECOVERY_LEDGER_0") {
		t.Errorf("got %v, want an error that names the streams", err)
	}
	if err := b.RaiseReplicas(t.Context(), 9); err == nil {
		t.Error("nine replicas were accepted")
	}
}

func TestCheckNoticesWhatIsGone(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"KV_RECOVERY_LEASES", "RECOVERY_FAILED"} {
		b, nc := start(t)
		if err := b.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := jetStream(t, nc).DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		wantError(t, b.Check(t.Context()), schemas.ErrNotFound, name)
		other := newBus(t, nc, testConfig())
		if err := other.Ensure(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.Check(t.Context()); name == "RECOVERY_FAILED" {
			wantError(t, err, schemas.ErrNotFound, "anew")
		} else if err != nil {
			t.Error(err)
		}
	}
}
