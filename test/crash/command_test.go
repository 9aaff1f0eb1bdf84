package crash

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

// TestCommandsOutliveTheirDaemon kills the daemon the moment it answered that work was
// cancelled, or tried now, which shares pages of the ledger with other work: the next daemon
// does neither again, and delivers the rest when it is due.
func TestCommandsOutliveTheirDaemon(t *testing.T) {
	t.Parallel()
	const each, delay = 40, 15 * time.Second
	_, url := start(t, "server", t.TempDir(), "127.0.0.1:0")
	daemon, _ := start(t, "daemon", url)
	nc, js := client(t, url)
	b, err := bus.New(nc, bus.Config{Subjects: subjects, StreamPrefix: "RECOVERY"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "JOBS", Subjects: []string{"jobs.>"}}); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	arrived := map[string]int{}
	early := map[string]time.Duration{}
	last := make(chan struct{})
	consumer, err := js.OrderedConsumer(t.Context(), "JOBS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		meta, err := m.Metadata()
		if err != nil {
			return
		}
		failed, _ := time.Parse(time.RFC3339Nano, m.Headers().Get(schemas.HeaderFirstFailedAt))
		mu.Lock()
		defer mu.Unlock()
		id := m.Headers().Get(schemas.HeaderID)
		arrived[id]++
		if before := failed.Add(delay).Sub(meta.Timestamp); before > 0 {
			early[id] = before
		}
		if id == "last" && arrived[id] == 1 {
			close(last)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer consuming.Stop()
	report := func(id string, delay time.Duration) {
		m := nats.NewMsg(subjects.Failed("jobs.a"))
		m.Header.Set(schemas.HeaderID, id)
		m.Header.Set(schemas.HeaderRetryAfter, delay.String())
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for i := range each {
		for _, what := range []string{"cancel", "now", "leave"} {
			report(fmt.Sprintf("%s-%d", what, i), delay)
		}
	}
	var list schemas.WaitingReply
	for deadline := time.Now().Add(delay / 2); len(list.Items) != 3*each; time.Sleep(50 * time.Millisecond) { // nothing tells of it
		if err := b.Call(t.Context(), "waiting", "ls", schemas.WaitingRequest{State: "far", Limit: 1000}, &list); time.Now().After(deadline) {
			t.Fatalf("%d are in the ledger, %v", len(list.Items), err)
		}
	}
	want := map[string]string{"cancel": schemas.KindDiscarded, "now": schemas.KindRedelivered}
	var commands sync.WaitGroup
	for verb, result := range want {
		commands.Go(func() {
			for i := range each {
				var reply schemas.CommandReply
				q := schemas.CommandRequest{ID: fmt.Sprintf("%s-%d", verb, i), Actor: "test"}
				if err := b.Call(t.Context(), "waiting", verb, q, &reply); err != nil || reply.Result != result {
					t.Errorf("%s %s: %+v, %v", verb, q.ID, reply, err)
				}
			}
		})
	}
	commands.Wait()
	daemon.kill()
	mu.Lock()
	for id := range arrived {
		if !strings.HasPrefix(id, "now-") {
			t.Errorf("%s was delivered", id)
		}
	}
	if len(arrived) != each {
		t.Errorf("%d were delivered before the kill, want %d", len(arrived), each)
	}
	mu.Unlock()
	daemon.start()
	report("last", delay+3*time.Second) // due after all others
	select {
	case <-last:
	case <-time.After(90 * time.Second):
		t.Fatal("the next daemon does not deliver")
	}
	mu.Lock()
	defer mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(arrived)) {
		switch {
		case strings.HasPrefix(id, "cancel-"):
			t.Errorf("%s was cancelled, and delivered", id)
		case arrived[id] != 1:
			t.Errorf("%s was delivered %d times", id, arrived[id])
		case strings.HasPrefix(id, "leave-") && early[id] > 0:
			t.Errorf("%s came %s early", id, early[id])
		}
	}
	if len(arrived) != 2*each+1 {
		t.Errorf("%d were delivered, want %d", len(arrived), 2*each+1)
	}
}
