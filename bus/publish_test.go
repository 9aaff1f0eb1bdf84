package bus_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/bus/embedded"
	"github.com/recoveryd/recoveryd/schemas"
)

func TestPublishIsAcknowledged(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	ack, err := publish(t, b, schemas.Message{Subject: "recovery.dead.0a0b0c0d.orders.new",
		Header: schemas.Header{"lower-case": {"1", "2"}, "Recovery-Id": {"x"}}, Body: []byte("body")})
	if err != nil || ack != (schemas.Ack{Stream: "RECOVERY_DEAD", Sequence: 1}) {
		t.Fatalf("got %+v, %v", ack, err)
	}
	got, err := b.ReadDead(t.Context(), 1, 10, "")
	if err != nil || len(got) != 1 {
		t.Fatalf("got %d letters, %v; want one", len(got), err)
	}
	want := schemas.Header{"lower-case": {"1", "2"}, "Recovery-Id": {"x"}}
	if !reflect.DeepEqual(got[0].Header, want) || string(got[0].Body) != "body" {
		t.Errorf("stored %v %q, want %v %q", got[0].Header, got[0].Body, want, "body")
	}
}

func TestPublishDuplicate(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	m := schemas.Message{Subject: "recovery.outcomes.dead.x", Header: schemas.Header{"Nats-Msg-Id": {"1"}}}
	for i, duplicate := range []bool{false, true} {
		ack, err := publish(t, b, m)
		if err != nil || ack != (schemas.Ack{Stream: "RECOVERY_OUTCOMES", Sequence: 1, Duplicate: duplicate}) {
			t.Errorf("publish %d: got %+v, %v", i, ack, err)
		}
	}
}

func TestPublishRefused(t *testing.T) {
	t.Parallel()
	b, nc := start(t, func(c *bus.Config) { c.PublishTimeout = 2 * time.Second })
	js := jetStream(t, nc)
	for _, c := range []jetstream.StreamConfig{
		{Name: "BYTES", Subjects: []string{"bytes"}, Discard: jetstream.DiscardNew, MaxBytes: 100},
		{Name: "COUNT", Subjects: []string{"count"}, Discard: jetstream.DiscardNew, MaxMsgs: 1},
		{Name: "SMALL", Subjects: []string{"small"}, MaxMsgSize: 10},
		{Name: "SEALED", Subjects: []string{"expects"}},
	} {
		makeStream(t, js, c)
	}
	store(t, b, "count", "first")
	if _, err := nc.SubscribeSync("heard"); err != nil {
		t.Fatal(err)
	}
	large := make([]byte, 200)
	for name, c := range map[string]struct {
		m    schemas.Message
		want error
	}{
		"nobody stores it":   {schemas.Message{Subject: "nowhere"}, schemas.ErrNoStream},
		"only heard":         {schemas.Message{Subject: "heard"}, schemas.ErrTimeout},
		"bytes used up":      {schemas.Message{Subject: "bytes", Body: large}, schemas.ErrStoreFull},
		"count used up":      {schemas.Message{Subject: "count", Body: large}, schemas.ErrStoreFull},
		"stream's limit":     {schemas.Message{Subject: "small", Body: large}, schemas.ErrTooLarge},
		"server's limit":     {schemas.Message{Subject: "small", Body: make([]byte, 2<<20)}, schemas.ErrTooLarge},
		"long subject":       {schemas.Message{Subject: strings.Repeat("x.", 600) + "x"}, schemas.ErrTooLarge},
		"expected last":      {schemas.Message{Subject: "expects", Header: schemas.Header{"Nats-Expected-Last-Sequence": {"7"}}}, schemas.ErrConflict},
		"wildcard":           {schemas.Message{Subject: "a.*"}, nats.ErrBadSubject},
		"white space":        {schemas.Message{Subject: "a b"}, nats.ErrBadSubject},
		"bad name of header": {schemas.Message{Subject: "small", Header: schemas.Header{"a:b": {"c"}}}, nats.ErrBadHeaderMsg},
	} {
		_, err := publish(t, b, c.m)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		} else if !strings.Contains(err.Error(), c.m.Subject[:5%len(c.m.Subject)]) || len(err.Error()) > 500 {
			t.Errorf("%s: error %q does not name the subject, or is too long", name, err)
		}
	}
	if !nc.IsConnected() {
		t.Error("the connection did not survive")
	}
}

func TestPublishPassesOverOtherAnswers(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	for _, data := range []string{"not json", "", `{"stream":"","seq":1}`, `{"ok":true}`, `{"stream":"X","seq":0}`} {
		if _, err := nc.Subscribe("recovery.ledger.0.signal", func(m *nats.Msg) { m.Respond([]byte(data)) }); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		if ack := store(t, b, "recovery.ledger.0.signal", "x"); ack.Stream != "RECOVERY_LEDGER_0" {
			t.Fatalf("got %+v, want the stream's answer", ack)
		}
	}
}

func TestTenThousandInFlight(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	const total = 10_000
	seen := make([]atomic.Int32, total)
	acks := make(chan answer, total)
	for i := range total {
		b.Publish(schemas.Message{Subject: fmt.Sprintf("recovery.ledger.%d.signal", i%8), Body: []byte("x")}, func(a schemas.Ack, err error) {
			seen[i].Add(1)
			acks <- answer{a, err}
		})
	}
	type place struct {
		stream   string
		sequence uint64
	}
	places := map[place]bool{}
	for range total {
		a := receive(t, acks)
		if a.err != nil {
			t.Fatal(a.err)
		}
		places[place{a.ack.Stream, a.ack.Sequence}] = true
	}
	if len(places) != total {
		t.Errorf("%d different places, want %d", len(places), total)
	}
	for i := range seen {
		if n := seen[i].Load(); n != 1 {
			t.Errorf("message %d was answered %d times", i, n)
		}
	}
}

func TestPublishIsBounded(t *testing.T) {
	t.Parallel()
	b, nc := start(t, func(c *bus.Config) { c.MaxInFlight, c.PublishTimeout = 3, time.Second })
	if _, err := nc.SubscribeSync("heard"); err != nil {
		t.Fatal(err)
	}
	late := make(chan error, 3)
	for range 3 {
		b.Publish(schemas.Message{Subject: "heard"}, func(_ schemas.Ack, err error) { late <- err })
	}
	_, err := publish(t, b, schemas.Message{Subject: "heard"})
	wantError(t, err, bus.ErrBusy, "heard")
	for range 3 {
		wantError(t, receive(t, late), schemas.ErrTimeout)
	}
	store(t, b, "recovery.ledger.0.signal", "the slots are free again")
}

func TestPublishWithoutServer(t *testing.T) {
	t.Parallel()
	// At another port a server of another test could take its place.
	server, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Addr: freeAddrs(t, 1)[0]})
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan string, 100)
	nc, err := bus.Connect(bus.Options{Servers: server.URL(), OnEvent: func(kind string, _ error) { events <- kind }})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	b := newBus(t, nc, testConfig())
	server.Stop()
	for receive(t, events) != "disconnected" {
	}
	_, err = publish(t, b, schemas.Message{Subject: "x"})
	wantError(t, err, bus.ErrDisconnected, "nothing was sent")
	wantError(t, err, schemas.ErrTimeout)
	wantError(t, b.PublishCore(schemas.Message{Subject: "x"}), bus.ErrDisconnected)
	if b.Connected() {
		t.Error("it takes itself for connected")
	}
}

func TestClosedForGood(t *testing.T) {
	t.Parallel()
	events := make(chan string, 100)
	nc, err := bus.Connect(bus.Options{Servers: startServer(t).URL(), OnEvent: func(kind string, _ error) { events <- kind }})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	b := newBus(t, nc, testConfig())
	if _, err := nc.SubscribeSync("heard"); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	b.Publish(schemas.Message{Subject: "heard"}, func(_ schemas.Ack, err error) { waiting <- err })
	nc.Publish(strings.Repeat("x", 5000), nil) // past the server's control line
	for receive(t, events) != "closed" {
	}
	wantError(t, receive(t, waiting), schemas.ErrClosed, "heard")
	_, err = publish(t, b, schemas.Message{Subject: "x"})
	wantError(t, err, schemas.ErrClosed)
}

func TestCloseAnswersEverythingOnce(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	const senders, each = 4, 500
	var sent, done atomic.Int32
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for range each {
				sent.Add(1)
				b.Publish(schemas.Message{Subject: "recovery.ledger.0.signal"}, func(schemas.Ack, error) { done.Add(1) })
			}
		})
	}
	b.Close()
	wg.Wait()
	if sent.Load() != done.Load() {
		t.Errorf("%d answers to %d messages", done.Load(), sent.Load())
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	if _, err := nc.Subscribe("echo", func(m *nats.Msg) {
		m.RespondMsg(&nats.Msg{Header: nats.Header{"Verdict": {"ok"}}, Data: m.Data})
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.SubscribeSync("heard"); err != nil {
		t.Fatal(err)
	}
	request := func(subject string, timeout time.Duration) (schemas.Message, error) {
		type result struct {
			m   schemas.Message
			err error
		}
		got := make(chan result, 2)
		b.Request(schemas.Message{Subject: subject, Body: []byte("hello")}, timeout, func(m schemas.Message, err error) { got <- result{m, err} })
		r := receive(t, got)
		return r.m, r.err
	}
	m, err := request("echo", patience)
	if err != nil || string(m.Body) != "hello" || m.Header.Get("Verdict") != "ok" {
		t.Errorf("got %+v, %v", m, err)
	}
	_, err = request("nobody", patience)
	wantError(t, err, bus.ErrNoResponders, "nobody")
	wantError(t, err, schemas.ErrNoStream)
	_, err = request("heard", 50*time.Millisecond)
	wantError(t, err, schemas.ErrTimeout)
}

func BenchmarkPublish(b *testing.B) {
	bus, _ := start(b)
	m := schemas.Message{Subject: "recovery.ledger.0.signal", Body: make([]byte, 256),
		Header: schemas.Header{"Recovery-Id": {"0123456789abcdef"}, "Recovery-Attempt": {"2"}, "Recovery-Subject": {"orders.new"}}}
	slots := make(chan struct{}, 4096)
	done := func(_ schemas.Ack, err error) {
		if err != nil {
			b.Error(err)
		}
		<-slots
	}
	b.ReportAllocs()
	for b.Loop() {
		slots <- struct{}{}
		bus.Publish(m, done)
	}
	for range cap(slots) {
		slots <- struct{}{}
	}
}
