package handlers

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

const maxDeliverSubject = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.S.W"

// storedAdvisory is one as a server writes it, with changes.
func storedAdvisory(subject string, change map[string]any) *schemas.Stored {
	body := map[string]any{
		"type": "io.nats.jetstream.advisory.v1.max_deliver", "id": "HqLdU3dqYPnl0D4yvAKtQK", "timestamp": "2026-01-02T03:04:05.123456789Z",
		"stream": "S", "consumer": "W", "stream_seq": 7, "deliveries": 5, "domain": "hub",
	}
	for name, value := range change {
		body[name] = value
	}
	data, _ := json.Marshal(body)
	return &schemas.Stored{Message: schemas.Message{Subject: subject, Body: data}, Sequence: 1, Time: time.Date(2026, 1, 2, 3, 4, 5, 200e6, time.UTC)}
}

func TestParseAdvisory(t *testing.T) {
	t.Parallel()
	a, err := parseAdvisory(storedAdvisory(maxDeliverSubject, nil))
	if err != nil || a.kind != advisoryMaxDeliveries || a.consumer != (consumerName{"S", "W"}) || a.sequence != 7 || a.deliveries != 5 || a.domain != "hub" ||
		a.at.Nanosecond() != 123456789 || a.text() != "5 deliveries of consumer W of stream S failed" || a.byServer() {
		t.Errorf("%+v %v", a, err)
	}
	const subject = "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.S.W"
	term := func(reason string) advisory {
		a, err := parseAdvisory(storedAdvisory(subject, map[string]any{"type": "io.nats.jetstream.advisory.v1.terminated", "reason": reason}))
		if err != nil || a.kind != advisoryTerminated {
			t.Errorf("%+v %v", a, err)
		}
		return a
	}
	for reason, want := range map[string]string{
		"": "consumer W of stream S terminated it at delivery 5", "sold\nout\x00 ": "sold out", strings.Repeat("é", 2000): strings.Repeat("é", 1000),
	} {
		if a := term(reason); a.text() != want || a.byServer() {
			t.Errorf("%q becomes %q", reason, a.text())
		}
	}
	for _, reason := range []string{"Message deleted by stream limits", "Unacknowledged message was deleted"} {
		if a := term(reason); !a.byServer() {
			t.Errorf("%q is taken for a failure", reason)
		}
	}
}

func TestAdvisoriesThatAreNone(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]*schemas.Stored{
		"no JSON":               {Message: schemas.Message{Subject: maxDeliverSubject, Body: []byte("{")}},
		"too large":             storedAdvisory(maxDeliverSubject, map[string]any{"id": strings.Repeat("x", maxAdvisory)}),
		"another type":          storedAdvisory(maxDeliverSubject, map[string]any{"type": "io.nats.jetstream.advisory.v1.nak"}),
		"another stream":        storedAdvisory(maxDeliverSubject, map[string]any{"stream": "T"}),
		"another kind":          storedAdvisory(maxDeliverSubject, map[string]any{"type": "io.nats.jetstream.advisory.v1.terminated"}),
		"no stream":             storedAdvisory("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES..W", map[string]any{"stream": ""}),
		"a stream of wildcards": storedAdvisory("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>.W", map[string]any{"stream": ">"}),
		"a consumer of tokens":  storedAdvisory(maxDeliverSubject+".x", map[string]any{"consumer": "W.x"}),
		"a long name":           storedAdvisory("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.S."+strings.Repeat("w", 256), map[string]any{"consumer": strings.Repeat("w", 256)}),
		"sequence 0":            storedAdvisory(maxDeliverSubject, map[string]any{"stream_seq": 0}),
		"a negative sequence":   storedAdvisory(maxDeliverSubject, map[string]any{"stream_seq": -1}),
		"a huge sequence":       storedAdvisory(maxDeliverSubject, map[string]any{"stream_seq": uint64(1) << 63}),
		"no deliveries":         storedAdvisory(maxDeliverSubject, map[string]any{"deliveries": 0}),
		"huge deliveries":       storedAdvisory(maxDeliverSubject, map[string]any{"deliveries": 1 << 40}),
		"no time":               storedAdvisory(maxDeliverSubject, map[string]any{"timestamp": "0001-01-01T00:00:00Z"}),
		"from the future":       storedAdvisory(maxDeliverSubject, map[string]any{"timestamp": "2026-01-02T03:04:08Z"}),
	} {
		if a, err := parseAdvisory(m); err == nil || a.kind != advisoryUnknown {
			t.Errorf("%s: %+v %v", name, a, err)
		}
	}
}

// Whatever is read as an advisory names a consumer and a place in a stream, and its text fits
// into a header.
func FuzzParseAdvisory(f *testing.F) {
	for _, m := range []*schemas.Stored{
		storedAdvisory(maxDeliverSubject, nil),
		storedAdvisory("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.S.W", map[string]any{"type": "io.nats.jetstream.advisory.v1.terminated", "reason": "a\r\nb"}),
	} {
		f.Add(m.Subject, m.Body)
	}
	f.Fuzz(func(t *testing.T, subject string, body []byte) {
		a, err := parseAdvisory(&schemas.Stored{Message: schemas.Message{Subject: subject, Body: body}, Time: time.Now()})
		if err != nil {
			return
		}
		if schemas.CheckName(a.consumer.stream) != nil || schemas.CheckName(a.consumer.name) != nil || a.sequence == 0 || int64(a.sequence) < 0 || a.deliveries == 0 {
			t.Errorf("%+v", a)
		}
		if text := a.text(); text == "" || strings.ContainsAny(text, "\r\n\x00") || len([]rune(text)) > schemas.MaxErrorRunes {
			t.Errorf("text %q", text)
		}
	})
}

func TestJudgeAdvisory(t *testing.T) {
	t.Parallel()
	created := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		advisory func(*advisory)
		consumer func(*schemas.ConsumerState)
		refused  string // "" = it is taken, or
		repeated bool
	}{
		"as it should be":            {},
		"more than max_deliver":      {advisory: func(a *advisory) { a.deliveries = 9 }},
		"fewer than max_deliver":     {advisory: func(a *advisory) { a.deliveries = 4 }, refused: "gives up after 5"},
		"raised since":               {consumer: func(c *schemas.ConsumerState) { c.MaxDeliver = 10 }, refused: "gives up after 10"},
		"terminated earlier":         {advisory: func(a *advisory) { a.kind, a.deliveries = advisoryTerminated, 1 }, consumer: func(c *schemas.ConsumerState) { c.Redelivered = 0 }},
		"not delivered yet":          {advisory: func(a *advisory) { a.sequence = 8 }, refused: "not delivered"},
		"nothing is given up":        {consumer: func(c *schemas.ConsumerState) { c.Redelivered = 0 }, repeated: true},
		"a limit of one":             {advisory: func(a *advisory) { a.deliveries = 1 }, consumer: func(c *schemas.ConsumerState) { c.MaxDeliver, c.Redelivered = 1, 0 }},
		"without max_deliver":        {consumer: func(c *schemas.ConsumerState) { c.MaxDeliver = -1 }, refused: "--max-deliver"},
		"without acks":               {consumer: func(c *schemas.ConsumerState) { c.AckPolicy = "none" }, refused: "policy none"},
		"acks of all before":         {consumer: func(c *schemas.ConsumerState) { c.AckPolicy = "all" }, refused: "policy all"},
		"recoveryd's own":            {consumer: func(c *schemas.ConsumerState) { c.Own = true }, refused: "own"},
		"another domain":             {advisory: func(a *advisory) { a.domain = "leaf" }, refused: "domain leaf"},
		"no domain here":             {consumer: func(c *schemas.ConsumerState) { c.Domain = "" }},
		"a namesake of the stream":   {consumer: func(c *schemas.ConsumerState) { c.StreamCreated = created.Add(24*time.Hour + 3*time.Second) }, refused: "created after"},
		"a namesake of the consumer": {consumer: func(c *schemas.ConsumerState) { c.Created = created.Add(24*time.Hour + 3*time.Second) }, refused: "created after"},
		"clocks that differ":         {consumer: func(c *schemas.ConsumerState) { c.Created = created.Add(24*time.Hour + time.Second) }},
	} {
		a := &advisory{kind: advisoryMaxDeliveries, consumer: consumerName{"S", "W"}, sequence: 7, deliveries: 5, at: created.Add(24 * time.Hour), domain: "hub"}
		c := &schemas.ConsumerState{Stream: "S", Consumer: "W", StreamCreated: created, Created: created, Domain: "hub", AckPolicy: "explicit", MaxDeliver: 5, Delivered: 7, Redelivered: 1}
		if test.advisory != nil {
			test.advisory(a)
		}
		if test.consumer != nil {
			test.consumer(c)
		}
		v := judgeAdvisory(a, c)
		switch {
		case test.repeated && v.result != adviceRepeated:
			t.Errorf("%s: %q %v, want repeated", name, v.result, v.why)
		case test.refused == "" && !test.repeated && v.result != "":
			t.Errorf("%s: %s: %v", name, v.result, v.why)
		case test.refused != "" && (v.result != adviceRefused || !strings.Contains(v.why.Error(), test.refused)):
			t.Errorf("%s: %q %v, want refused for %q", name, v.result, v.why, test.refused)
		}
	}
	if v := judgeAdvisory(&advisory{}, nil); v.result != adviceRefused {
		t.Errorf("a consumer that is not there: %+v", v)
	}
}

func TestJudgeMessage(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	policies, err := CompilePolicies(schemas.PolicyDocument{Version: 1, Policies: []schemas.PolicySpec{{Name: "orders", Subjects: []string{"orders.>"}}}}, schemas.Subjects{Prefix: "recovery"})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		subject string
		stored  time.Time
		seal    string
		want    string
	}{
		"served":                      {"orders.x", at, "", ""},
		"not served":                  {"other.x", at, "", adviceUnreportable},
		"a fallback that was sent":    {"manual.x", at, "seal", ""},
		"of the server":               {"$KV.bucket.key", at, "", adviceUnreportable},
		"recoveryd's":                 {"recovery.dead.x", at, "seal", adviceUnreportable},
		"too long":                    {"orders." + strings.Repeat("x", 1000), at, "", adviceUnreportable},
		"a namesake":                  {"orders.x", at.Add(time.Minute), "", adviceRefused},
		"clocks that differ a little": {"orders.x", at.Add(time.Second), "", ""},
	} {
		m := &schemas.Stored{Message: schemas.Message{Subject: test.subject, Header: schemas.Header{}}, Time: test.stored}
		if test.seal != "" {
			m.Header.Set(schemas.HeaderSeal, test.seal)
		}
		if v := judgeMessage(m, at, schemas.Subjects{Prefix: "recovery"}, policies); v.result != test.want {
			t.Errorf("%s: %q %v, want %q", name, v.result, v.why, test.want)
		}
	}
}

func TestAdviceMemory(t *testing.T) {
	t.Parallel()
	m := newAdviceMemory()
	key := func(n int) adviceKey { return adviceKey{consumer: consumerName{"S", "W"}, sequence: uint64(n)} }
	for i, step := range []struct{ note, found progress }{
		{adviceNew, adviceNew}, {adviceStored, adviceStored}, {adviceDone, adviceDone}, {adviceDone, adviceDone}, {adviceNew, adviceNew}, {adviceBusy, adviceBusy},
	} {
		m.note(key(0), step.note)
		if got := m.begin(key(0)); got != step.found {
			t.Errorf("step %d: %d, want %d", i, got, step.found)
		}
	}
	m.note(key(0), adviceStored)
	m.begin(key(0))
	if got := m.begin(key(0)); got != adviceBusy {
		t.Errorf("taken twice: %d", got)
	}
	for n := range 5 * maxAdvices {
		m.note(key(n), adviceDone)
	}
	if size := len(m.recent) + len(m.older); size > 2*maxAdvices {
		t.Errorf("%d are remembered", size)
	}
	for n := 4 * maxAdvices; n < 5*maxAdvices; n++ {
		if m.begin(key(n)) != adviceDone {
			t.Fatalf("%d was forgotten", n)
		}
	}
	for n, want := range map[uint64]time.Duration{0: time.Second, 3: 8 * time.Second, 6: time.Minute, 1 << 60: time.Minute} {
		if got := adviceBackoff(n); got != want {
			t.Errorf("pause %d is %s, want %s", n, got, want)
		}
	}
}
