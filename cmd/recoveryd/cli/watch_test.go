package cli

import (
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestWatches(t *testing.T) {
	t.Parallel()
	dev := background(t, []string{"RECOVERYD_HTTP_ADDR=off", "RECOVERYD_PARTITIONS=1"}, "dev")
	eventually(t, "dev does not come up", func() bool { return strings.Contains(dev.stdout.String(), "sub 'recovery.outcomes.>'") })
	url := regexp.MustCompile(`nats://\S+`).FindString(dev.stdout.String())
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]jetstream.StreamConfig{
		"ORDERS": {Subjects: []string{"orders.>"}, Retention: jetstream.WorkQueuePolicy}, "EVENTS": {Subjects: []string{"events.>"}},
	} {
		c.Name = name
		s, err := js.CreateStream(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 3}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.CreateConsumer(t.Context(), "EVENTS", jetstream.ConsumerConfig{Durable: "endless", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	s := newSession(t, "NATS_URL="+url)
	for _, line := range []string{
		"watch", "watch ls", "watch add ORDERS worker --dry-run", "watch add ORDERS worker", `watch add ORDERS worker --yes --reason "no code"`, "watch ls",
		"watch add EVENTS worker --yes --json", "watch add EVENTS endless --yes", "watch add EVENTS none", "watch add NONE worker", "watch add RECOVERY_SUCCEEDED recoveryd",
		"watch add ORDERS", "watch add a.b worker", "watch rm ORDERS worker --dry-run", "watch rm ORDERS worker", "watch rm ORDERS worker --yes", "watch rm ORDERS worker --yes", "watch ls --json",
	} {
		s.run(line)
	}
	if err := js.DeleteStream(t.Context(), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	s.run("watch ls")
	s.change = append(s.change, change{regexp.MustCompile(`"actor":"[^"]*"`), `"actor":"<actor>"`}, change{regexp.MustCompile(` \S+@\S+ *`), " <actor> "})
	s.golden("watch")
}
