package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/bus/embedded"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/config"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/daemon"
	"github.com/recoveryd/recoveryd/schemas"
)

// replicas is several daemons in this process on one server.
type replicas struct {
	t       *testing.T
	url     string
	daemons []*daemon.Daemon
	bus     *bus.Bus
	js      jetstream.JetStream
}

func newReplicas(t *testing.T, n int, policies string) *replicas {
	t.Helper()
	s, err := embedded.Start(embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	r := &replicas{t: t, url: s.URL()}
	file := filepath.Join(t.TempDir(), "policies.yaml")
	if err := os.WriteFile(file, []byte(policies), 0o600); err != nil {
		t.Fatal(err)
	}
	nc, err := bus.Connect(bus.Options{Servers: s.URL(), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if r.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	if _, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "JOBS", Subjects: []string{"jobs.>"}}); err != nil {
		t.Fatal(err)
	}
	for k := range n {
		r.start(fmt.Sprintf("replica-%d", k), file)
	}
	if r.bus, err = bus.New(nc, bus.Config{Subjects: subjects, StreamPrefix: "RECOVERY"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.bus.Close)
	r.shared(n)
	return r
}

func (r *replicas) start(name, policies string) {
	r.t.Helper()
	settings, err := config.Load(config.Source{Name: "test", Values: map[string]string{"HTTP_ADDR": "off", "POLICY_FILE": policies}})
	if err != nil {
		r.t.Fatal(err)
	}
	d, err := daemon.Start(r.t.Context(), daemon.Options{
		Config: settings, Connection: bus.Options{Servers: r.url}, Version: "0.0.0", Instance: name, Log: zerolog.Nop(),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.daemons = append(r.daemons, d)
	r.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := d.Stop(ctx); err != nil {
			r.t.Errorf("stop %s: %v", name, err)
		}
	})
	<-d.Ready()
}

// shared waits until n replicas have all shards, each its fair share.
func (r *replicas) shared(n int) {
	r.t.Helper()
	var s schemas.StatusReply
	r.eventually("the shards are shared", func() bool {
		shards, most := 0, 0
		if err := r.bus.Call(r.t.Context(), "status", "get", schemas.StatusRequest{}, &s); err != nil || len(s.Instances) != n {
			return false
		}
		for _, i := range s.Instances {
			shards += len(i.Shards)
			most = max(most, len(i.Shards))
		}
		return shards == 8 && most == (8+n-1)/n
	})
}

func (r *replicas) eventually(what string, is func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(100 * time.Millisecond) { // leases are not announced to everybody
		if time.Now().After(deadline) {
			r.t.Fatalf("it did not come true that %s", what)
		}
	}
}

func (r *replicas) fail(subject, id string, after time.Duration) {
	r.t.Helper()
	m := nats.NewMsg(subjects.Failed(subject))
	m.Header.Set(schemas.HeaderID, id)
	m.Header.Set(schemas.HeaderRetryAfter, after.String())
	if _, err := r.js.PublishMsg(r.t.Context(), m); err != nil {
		r.t.Fatal(err)
	}
}

func (r *replicas) delivered() uint64 {
	s, err := r.js.Stream(r.t.Context(), "JOBS")
	if err != nil {
		r.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// TestAnyReplicaAnswersForAll asks often enough that every replica is asked.
func TestAnyReplicaAnswersForAll(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 3, policies)
	const n = 24
	for k := range n {
		r.fail(fmt.Sprintf("jobs.plain.%d", k), fmt.Sprintf("id-%d", k), 45*time.Second)
	}
	for range 8 {
		var list schemas.WaitingReply
		r.eventually("all is listed", func() bool {
			err := r.bus.Call(t.Context(), "waiting", "ls", schemas.WaitingRequest{}, &list)
			return err == nil && len(list.Items) == n && list.Total == n && !list.More
		})
		for _, i := range []int{0, n / 2, n - 1} {
			for _, q := range []schemas.HandleRequest{{ID: list.Items[i].ID}, {Handle: list.Items[i].Handle}} {
				var found schemas.WaitingItem
				if err := r.bus.Call(t.Context(), "waiting", "show", q, &found); err != nil || found.ID != list.Items[i].ID {
					t.Errorf("show %+v: %+v, %v; want %s", q, found, err, list.Items[i].ID)
				}
			}
		}
		key := schemas.BreakerRequest{Policy: "guarded", Key: fmt.Sprintf("jobs.guarded.%d", n), Actor: "test"}
		var b schemas.BreakerStatus
		if err := r.bus.Call(t.Context(), "breaker", "open", key, &b); err != nil || b.State != "forced_open" {
			t.Errorf("open: %+v, %v", b, err)
		}
		var all schemas.BreakerListReply
		if err := r.bus.Call(t.Context(), "breaker", "ls", schemas.BreakerListRequest{}, &all); err != nil || len(all.Breakers) != 1 {
			t.Errorf("list: %+v, %v; want the one that was opened", all, err)
		}
	}
	var none schemas.WaitingItem
	if err := r.bus.Call(t.Context(), "waiting", "show", schemas.HandleRequest{ID: "nobody"}, &none); err == nil {
		t.Error("an id that nobody has was found")
	}
}

// TestSuccessesReachTheReplicaOfTheirBreaker needs them: without evidence probes end
// unknown, and the breaker never closes.
func TestSuccessesReachTheReplicaOfTheirBreaker(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 3, policies)
	const keys = 6
	held := func(state string, held int) func() bool {
		return func() bool {
			var all schemas.BreakerListReply
			err := r.bus.Call(t.Context(), "breaker", "ls", schemas.BreakerListRequest{State: state}, &all)
			n := 0
			for _, b := range all.Breakers {
				n += b.Held
			}
			return err == nil && len(all.Breakers) == keys && n == held
		}
	}
	for k := range keys {
		open := schemas.BreakerRequest{Policy: "guarded", Key: fmt.Sprintf("jobs.guarded.%d", k)}
		if err := r.bus.Call(t.Context(), "breaker", "open", open, &schemas.BreakerStatus{}); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			r.fail(open.Key, fmt.Sprintf("id-%d-%d", k, i), 300*time.Millisecond)
		}
	}
	r.eventually("everything is held", held("forced_open", 5*keys))
	l := &load{installation: &installation{js: r.js}}
	consumer, err := r.js.OrderedConsumer(t.Context(), "JOBS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		report := nats.NewMsg(subjects.Succeeded(m.Subject()))
		for name, values := range m.Headers() {
			report.Header[name] = values
		}
		report.Header.Del("Nats-Msg-Id")
		if err := l.publish(t.Context(), report); err != nil {
			t.Errorf("report success: %v", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer consuming.Stop()
	for k := range keys {
		probe := schemas.BreakerRequest{Policy: "guarded", Key: fmt.Sprintf("jobs.guarded.%d", k)}
		if err := r.bus.Call(t.Context(), "breaker", "probe", probe, &schemas.BreakerStatus{}); err != nil {
			t.Fatal(err)
		}
	}
	r.eventually("all breakers are closed and drained", func() bool {
		var all schemas.BreakerListReply
		err := r.bus.Call(t.Context(), "breaker", "ls", schemas.BreakerListRequest{}, &all)
		for _, b := range all.Breakers {
			if b.State != "closed" {
				return false
			}
		}
		return err == nil && r.delivered() == 5*keys
	})
}

// TestDeletedBucketsComeBack deletes what nobody should delete.
func TestDeletedBucketsComeBack(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 2, policies)
	for _, name := range []string{"KV_RECOVERY_LEASES", "RECOVERY_SUCCEEDED", "KV_RECOVERY_STATE"} {
		if err := r.js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	r.eventually("the buckets are there again", func() bool {
		_, err := r.js.Stream(t.Context(), "KV_RECOVERY_LEASES")
		return err == nil
	})
	r.shared(2)
	before := r.delivered()
	r.fail("jobs.plain.1", "after", 300*time.Millisecond)
	r.eventually("work is recovered again", func() bool { return r.delivered() == before+1 })
}

func TestInstancesTellWhatTheyHave(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 1, policies)
	r.fail("jobs.plain.1", "id", time.Minute)
	r.eventually("it is counted as far", func() bool {
		var s schemas.StatusReply
		err := r.bus.Call(t.Context(), "status", "get", schemas.StatusRequest{}, &s)
		return err == nil && len(s.Instances) == 1 && s.Instances[0].Far == 1 && s.Instances[0].Instance == "replica-0" && s.Instances[0].LagMS == 0
	})
	kv, err := r.js.KeyValue(t.Context(), "RECOVERY_LEASES")
	if err != nil {
		t.Fatal(err)
	}
	entry, err := kv.Get(t.Context(), "member.replica-0")
	if err != nil {
		t.Fatal(err)
	}
	var status schemas.InstanceStatus
	if err := json.Unmarshal(entry.Value(), &status); err != nil || status.Version != "0.0.0" {
		t.Errorf("the lease says %s, %v", entry.Value(), err)
	}
}

// TestAllReplicasPassOverAFallbackThatIsDown opens the breaker of a fallback, which one
// replica owns, and has work fail in the shards of all.
func TestAllReplicasPassOverAFallbackThatIsDown(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 3, `version: 1
policies:
  - name: spared
    subjects: ["jobs.>"]
    fallback: ["spare.one", "spare.two"]
`)
	if _, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "SPARE", Subjects: []string{"spare.>"}}); err != nil {
		t.Fatal(err)
	}
	open := schemas.BreakerRequest{Policy: "spared", Key: "spare.one"}
	if err := r.bus.Call(t.Context(), "breaker", "open", open, &schemas.BreakerStatus{}); err != nil {
		t.Fatal(err)
	}
	count := func(subject string) uint64 {
		s, err := r.js.Stream(t.Context(), "SPARE")
		if err != nil {
			t.Fatal(err)
		}
		info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(subject))
		if err != nil {
			t.Fatal(err)
		}
		return info.State.Subjects[subject]
	}
	const n = 24
	sent := uint64(0)
	r.eventually("all replicas know of the breaker", func() bool { // the first ones may come before
		before := count("spare.one")
		for k := range n {
			m := nats.NewMsg(subjects.Failed(fmt.Sprintf("jobs.%d", k)))
			m.Header.Set(schemas.HeaderID, fmt.Sprintf("id-%d", sent))
			m.Header.Set(schemas.HeaderClass, schemas.ClassPermanent)
			if _, err := r.js.PublishMsg(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			sent++
		}
		r.eventually("all went to a fallback", func() bool { return count("spare.one")+count("spare.two") == sent })
		return count("spare.one") == before
	})
}
