package integration

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/recoveryd/recoveryd/schemas"
)

// outcomes hands over every outcome that is stored.
func (r *rig) outcomesOf() <-chan schemas.Outcome {
	r.t.Helper()
	c := make(chan schemas.Outcome, 1000)
	r.consume("RECOVERY_OUTCOMES", func(m jetstream.Msg) {
		if o, _, err := schemas.ParseOutcome(m.Data()); err == nil {
			c <- o
		}
	})
	return c
}

// Work sent as a request: the reply is the verdict, and a failure takes the way of any other.
func TestRequestsAreRetriedByTheirReply(t *testing.T) {
	t.Parallel()
	p := policies(t, schemas.PolicySpec{
		Name: "rpc", Subjects: []string{"rpc.>"},
		Retry:   schemas.RetrySpec{Preset: "fast"},
		Deliver: schemas.DeliverSpec{Mode: schemas.DeliverRequest, Timeout: duration(300 * time.Millisecond)},
	})
	r := newRig(t, p, nil)
	outcomes := r.outcomesOf()
	service, err := micro.AddService(r.nc, micro.Config{Name: "calc", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	err = service.AddEndpoint("add", micro.HandlerFunc(func(q micro.Request) {
		switch calls++; calls {
		case 1:
			_ = q.Error("503", "busy", nil)
		case 2: // no reply in time
		default:
			_ = q.Respond([]byte("3"))
		}
	}), micro.WithEndpointSubject("rpc.add"))
	if err != nil {
		t.Fatal(err)
	}
	r.fail("rpc.add", []byte("1+2"), schemas.HeaderError, "first call failed")
	for i, want := range []struct {
		kind    string
		attempt int
	}{{"redelivered", 2}, {"redelivered", 3}, {"recovered", 4}} {
		o := wait(t, want.kind, outcomes, 10*time.Second)
		if o.Kind != want.kind || o.Attempt != want.attempt {
			t.Errorf("outcome %d is %+v, want %+v", i, o, want)
		}
	}
	r.fail("rpc.nobody", []byte("x"), schemas.HeaderError, "down")
	var last schemas.Outcome
	for last.Kind != schemas.KindDead {
		last = wait(t, "dead", outcomes, 10*time.Second)
	}
	if last.Reason != schemas.ReasonExhausted || last.Code != "no_responders" || last.Attempt != 5 {
		t.Errorf("nobody listened: %+v", last)
	}
}

// Work sent to plain subscribers: no stream is needed.
func TestCoreDelivery(t *testing.T) {
	t.Parallel()
	p := policies(t, schemas.PolicySpec{
		Name: "core", Subjects: []string{"plain.>"},
		Retry:   schemas.RetrySpec{Preset: "fast"},
		Deliver: schemas.DeliverSpec{Mode: schemas.DeliverCore, To: "again.{2}"},
	})
	r := newRig(t, p, nil)
	outcomes := r.outcomesOf()
	got := make(chan *nats.Msg, 4)
	if _, err := r.nc.ChanSubscribe("again.>", got); err != nil {
		t.Fatal(err)
	}
	r.fail("plain.x", []byte("body"))
	m := wait(t, "redelivery", got, 5*time.Second)
	if m.Subject != "again.x" || string(m.Data) != "body" || m.Header.Get(schemas.HeaderAttempt) != "2" {
		t.Errorf("got %s %q %v", m.Subject, m.Data, m.Header)
	}
	if o := wait(t, "outcome", outcomes, 5*time.Second); o.Kind != schemas.KindRedelivered || o.Target != "again.x" {
		t.Errorf("outcome %+v", o)
	}
	// A report about the subject that it was delivered to keeps its state.
	report := nats.NewMsg(subjects.Failed("again.x"))
	report.Data = m.Data
	for name, values := range m.Header {
		if name != schemas.HeaderMsgID {
			report.Header[name] = values
		}
	}
	if _, err := r.js.PublishMsg(t.Context(), report); err != nil {
		t.Fatal(err)
	}
	if m := wait(t, "second redelivery", got, 5*time.Second); m.Header.Get(schemas.HeaderAttempt) != "3" || m.Header.Get(schemas.HeaderSubject) != "plain.x" {
		t.Errorf("got %v", m.Header)
	}
}
