package cli

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/recoveryd/recoveryd/schemas"
)

// One that answers is known, one of an older version is not silent, one that is gone is.
func TestEachReplicaIsAsked(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	nc, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	for instance, reply := range map[string]*nats.Msg{
		"new": {Data: []byte(`{"instance":"new","version":"1.2.3"}`)},
		"old": {Header: nats.Header{micro.ErrorCodeHeader: {"404"}, micro.ErrorHeader: {"is it older?"}}},
		"odd": {Data: []byte("no JSON")},
	} {
		subject := schemas.Subjects{Prefix: "recovery"}.Peer(instance, "status.get")
		if _, err := nc.Subscribe(subject, func(m *nats.Msg) { _ = m.RespondMsg(reply) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	a, _, _ := newSession(t, "NATS_URL="+server.URL()).app()
	c, err := a.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.end()
	known := map[string]*schemas.StatusReply{"heard": {Instance: "heard"}}
	live := []schemas.InstanceStatus{{Instance: "heard"}, {Instance: "new"}, {Instance: "old"}, {Instance: "odd"}, {Instance: "gone"}}
	silent := c.askEach(t.Context(), live, known)
	if len(known) != 2 || known["new"] == nil || known["new"].Version != "1.2.3" {
		t.Errorf("known are %v", known)
	}
	if len(silent) != 2 || silent["odd"] == nil || silent["gone"] == nil {
		t.Errorf("silent are %v", silent)
	}
}
