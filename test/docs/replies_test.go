package docs

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/recoveryd/recoveryd/schemas"
)

// asked lists a request to every endpoint, in an order in which the replies hold something.
var asked = []struct {
	name    string
	request any
	until   string // asked again until the reply holds this
}{
	{"status.get", schemas.StatusRequest{}, `"instances":[{`},
	{"waiting.ls", schemas.WaitingRequest{State: "far", Limit: 10}, `"id":"late"`},
	{"waiting.show", schemas.HandleRequest{ID: "late"}, `"body":`},
	{"waiting.cancel", schemas.CommandRequest{ID: "late", DryRun: true}, `"result":""`},
	{"waiting.now", schemas.CommandRequest{ID: "late", Reason: "it works again", Actor: "me"}, `"result":`},
	{"dlq.ls", schemas.DeadListRequest{Filter: schemas.DeadFilter{Classes: []string{schemas.ClassPermanent}}, Details: true, Payload: true}, `"id":"lost"`},
	{"dlq.groups", schemas.DeadGroupsRequest{By: "both"}, `"count":`},
	{"dlq.show", schemas.DeadShowRequest{ID: "lost"}, `"history":`},
	{"dlq.edit", schemas.JobRequest{DryRun: true, Set: map[string]string{"Tenant": "b"}}, `"plan":`},
	{"dlq.discard", schemas.JobRequest{DryRun: true, Reason: "sold out"}, `"plan":`},
	{"dlq.export", schemas.DeadExportRequest{Filter: schemas.DeadFilter{IDs: []string{"lost"}}}, `"headers":[[`},
	{"dlq.import", schemas.DeadImportRequest{DryRun: true, Letters: []schemas.DeadExport{exported}}, `"stored":0`},
	{"replay.create", schemas.JobRequest{FollowMS: 3_600_000, Actor: "me"}, `"job":`},
	{"replay.pause", schemas.JobNameRequest{ID: theJob, Reason: "lunch", Actor: "me"}, ""},
	{"replay.resume", schemas.JobNameRequest{ID: theJob}, ""},
	{"replay.show", schemas.JobNameRequest{ID: theJob}, `"request":`},
	{"replay.cancel", schemas.JobNameRequest{ID: theJob}, ""},
	{"replay.ls", schemas.JobListRequest{Kind: "replay"}, `"kind":"replay"`},
	{"breaker.open", schemas.BreakerRequest{Key: "orders.new", ForMS: 3_600_000, Reason: "maintenance", Actor: "me"}, `"forced_open"`},
	{"breaker.ls", schemas.BreakerListRequest{}, `"forced_open"`},
	{"breaker.show", schemas.BreakerRequest{Key: "orders.new"}, `"until":`},
	{"breaker.reset", schemas.BreakerRequest{Key: "orders.new"}, ""},
	{"breaker.disable", schemas.BreakerRequest{Key: "orders.new"}, `"disabled"`},
	{"breaker.close", schemas.BreakerRequest{Key: "orders.new"}, ""},
	{"breaker.probe", schemas.BreakerRequest{Key: "orders.new", DryRun: true}, ""},
	{"watch.add", schemas.WatchRequest{Stream: "ORDERS", Consumer: "worker", Reason: "no code", Actor: "me"}, `"added_at":`},
	{"watch.ls", schemas.WatchListRequest{}, `"watches":[{`},
	{"watch.rm", schemas.WatchRequest{Stream: "ORDERS", Consumer: "worker"}, `"exists":true`},
}

// exported is a letter as an export has it.
var exported = schemas.DeadExport{
	Subject: "recovery.dead.0123abcd.orders.new", Body: []byte(`{"id":42}`),
	Headers: [][]string{
		{schemas.HeaderAttempt, "1"}, {schemas.HeaderCause, "0123abcd"}, {schemas.HeaderID, "lost"}, {schemas.HeaderReason, "permanent"},
		{schemas.HeaderSubject, "orders.new"}, {"Tenant", "a", "b"},
	},
}

// theJob stands for the id of the job that was created.
const theJob = "the-job"

// What a running daemon reads and replies fits the schemas.
func TestRepliesFitTheirSchemas(t *testing.T) {
	t.Parallel()
	s := newStranger(t)
	s.serve(0, "recoveryd dev")
	nc, err := nats.Connect(s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, headers := range []nats.Header{
		{schemas.HeaderID: {"late"}, schemas.HeaderError: {"too busy"}, schemas.HeaderRetryAfter: {"60"}, "Tenant": {"a"}},
		{schemas.HeaderID: {"lost"}, schemas.HeaderError: {"unexpected end"}, schemas.HeaderClass: {schemas.ClassPermanent}, "Tenant": {"a"}},
	} {
		if _, err := nc.RequestMsg(&nats.Msg{Subject: "recovery.failed.orders.new", Header: headers, Data: []byte(`{"id":42}`)}, patience); err != nil {
			t.Fatal(err)
		}
	}
	watched(t, nc)
	unasked, job := map[string]bool{}, ""
	for _, e := range endpoints {
		unasked[e.name] = true
	}
	for _, a := range asked {
		delete(unasked, a.name)
		request, err := json.Marshal(a.request)
		if err != nil {
			t.Fatal(err)
		}
		request = bytes.ReplaceAll(request, []byte(theJob), []byte(job))
		if err := schemaOf(t, schemaName(a.name, "request")).Validate(decoded(t, request)); err != nil {
			t.Errorf("request %s: %v\n%s", a.name, err, request)
		}
		reply := askUntil(t, nc, a.name, request, a.until)
		if err := schemaOf(t, schemaName(a.name, "reply")).Validate(decoded(t, reply)); err != nil {
			t.Errorf("reply to %s: %v\n%s", a.name, err, reply)
		}
		if created := (schemas.JobReply{}); json.Unmarshal(reply, &created) == nil && created.Job != nil {
			job = created.Job.ID
		}
	}
	for name := range unasked {
		t.Errorf("%s is not asked: add it to the list", name)
	}
}

// watched makes a consumer that gives messages up.
func watched(t *testing.T, nc *nats.Conn) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}})
	if err == nil {
		_, err = s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 5})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func askUntil(t *testing.T, nc *nats.Conn, name string, request []byte, until string) []byte {
	t.Helper()
	resource, verb, _ := strings.Cut(name, ".")
	subject := schemas.Subjects{Prefix: schemas.DefaultPrefix}.API(resource, verb)
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		reply, err := nc.Request(subject, request, patience)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		fault := reply.Header.Get(micro.ErrorHeader)
		if fault == "" && bytes.Contains(reply.Data, []byte(until)) {
			return reply.Data
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %s %s holds no %s", name, fault, reply.Data, until)
		}
	}
}

func decoded(t *testing.T, data []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	return v
}

func schemaOf(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	data, err := schemas.Schema(name)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.AssertContent()
	if err := c.AddResource(name, decoded(t, data)); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
