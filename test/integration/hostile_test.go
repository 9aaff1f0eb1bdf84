package integration

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

// quick is a policy that retries after exactly 50 ms, up to three attempts.
func quick(name string, subjects ...string) schemas.PolicySpec {
	none := "none"
	return schemas.PolicySpec{
		Name: name, Subjects: subjects, Breaker: schemas.BreakerSpec{Disabled: true},
		Retry: schemas.RetrySpec{MaxAttempts: number(3), InitialDelay: duration(50 * time.Millisecond), Jitter: &none},
	}
}

// once is a policy without a retry.
func once(name string, subjects ...string) schemas.PolicySpec {
	p := quick(name, subjects...)
	p.Retry.MaxAttempts = number(1)
	return p
}

// Subjects that must not be published to are refused at the door, their letters are kept
// byte for byte, and nothing at all is published to them.
func TestHostileSubjects(t *testing.T) {
	t.Parallel()
	mirror := quick("mirror", "mirror", "mirror.>")
	mirror.Deliver.To = "{2}.x"
	r := newRig(t, policies(t, quick("orders", "orders.>"), mirror), nil)
	r.stream("ORDERS", "orders.>")
	w := r.witness()
	outcomes, _ := r.watchOutcomes()
	deliveries := r.watch("ORDERS")

	long := func(n int) string { return "orders." + strings.Repeat("n", n-len("orders.")) }
	for _, c := range []struct{ name, subject string }{{"empty token within", "orders..x"}, {"empty first token", ".orders"}, {"empty last token", "orders."}, {"nothing", ""}} {
		m := nats.NewMsg(subjects.Failed(c.subject))
		if _, err := r.js.PublishMsg(t.Context(), m); !errors.Is(err, jetstream.ErrNoStreamResponse) {
			t.Errorf("%s: %q was answered with %v, want that no stream takes it", c.name, c.subject, err)
		}
	}
	accepted := []struct {
		subject, kind, target string
	}{
		{"$JS.API.STREAM.DELETE.ORDERS", "rejected", ""},
		{"$KV.RECOVERY_STATE.seal", "rejected", ""},
		{"$SYS.REQ.SERVER.PING", "rejected", ""},
		{"_INBOX.x", "rejected", ""},
		{"_INBOX_custom.x", "rejected", ""},
		{"recovery", "rejected", ""},
		{"recovery.failed.x", "rejected", ""},
		{"recovery.failed.recovery.failed.x", "rejected", ""},
		{"recovery.dead.x", "rejected", ""},
		{"recovery.intake.0.x", "rejected", ""},
		{"recovery.ledger.0.signal", "rejected", ""},
		{"recovery.api.v1.dead.purge", "rejected", ""},
		{"orders.*", "rejected", ""},
		{"orders.>", "rejected", ""},
		{">", "rejected", ""},
		{"orders.x*y", "rejected", ""},
		{"orders.\xff\xfe", "rejected", ""},
		{"orders.\x01", "rejected", ""},
		{"nobody.serves.this", "rejected", ""},
		{long(schemas.MaxSubject + 1), "rejected", ""},
		{long(4000), "rejected", ""},
		{"mirror.$JS", "rejected", "$JS.x"},
		{"mirror.recovery", "rejected", "recovery.x"},
		{"mirror._INBOX", "rejected", "_INBOX.x"},
		{"mirror", "rejected", ".x"},
		{"mirror.*.y", "rejected", "*.x"},
		{long(schemas.MaxSubject), "redelivered", ""},
		{"orders.näh", "redelivered", ""},
		{"mirror.orders", "redelivered", "orders.x"},
	}
	body := func(i int) []byte { return text("body %d\x00\xff", i) }
	for i, c := range accepted {
		r.fail(c.subject, body(i), "Recovery-Id", "hostile-"+strconv.Itoa(i), "Recovery-Error", "boom", "Trace", "kept")
	}
	for i, c := range accepted {
		id := "hostile-" + strconv.Itoa(i)
		o := outcome(t, outcomes, id, c.kind)
		if c.kind == "redelivered" {
			continue
		}
		if o.Reason != schemas.ReasonRefused || o.Error == "" || o.DeadLetterSequence == 0 {
			t.Errorf("%q: outcome %+v", c.subject, o)
		}
		l := r.letterOf(id)
		valid := strings.ToValidUTF8(c.subject, "\ufffd\ufffd")
		if l.Subject != strings.ReplaceAll(valid, "\x01", " ") && l.Subject != strings.TrimSpace(strings.ReplaceAll(valid, "\x01", " ")) {
			t.Errorf("%q: the letter names the subject %q", c.subject, l.Subject)
		}
		if l.Reason != schemas.ReasonRefused || !bytes.Equal(l.Body, body(i)) || l.Header.Get("Trace") != "kept" {
			t.Errorf("%q: letter %+v", c.subject, l)
		}
		for _, subject := range []string{c.subject, c.target} {
			reports := len(slices.DeleteFunc(slices.Clone(accepted), func(a struct{ subject, kind, target string }) bool {
				return subjects.Failed(a.subject) != subject
			}))
			if n := w.count(subject); subject != "" && n != reports {
				t.Errorf("%q was published to %d times", subject, n-reports)
			}
		}
	}
	r.settled()
	if got := deliveries.atLeast(t, "deliveries", 3); len(got) != 3 {
		t.Errorf("%d deliveries, want 3", len(got))
	}
	if found := w.strangers("orders.x", "orders.näh", long(schemas.MaxSubject)); len(found) > 0 {
		t.Errorf("something was published on %q", found)
	}
	if _, err := r.js.Stream(t.Context(), "ORDERS"); err != nil {
		t.Errorf("the stream of orders: %v", err)
	}
	if n := len(r.letters()); n != len(accepted)-3 {
		t.Errorf("%d letters, want %d", n, len(accepted)-3)
	}
}

// Letters that were refused at the door are kept apart, where they are bounded: whoever may
// report could otherwise fill the store with them.
func TestRefusedLettersAreKeptApart(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, once("orders", "orders.>")), nil)
	outcomes, _ := r.watchOutcomes()
	r.fail("nobody.serves.this", []byte("a"), "Recovery-Id", "stranger")
	r.fail("$JS.API.INFO", []byte("b"), "Recovery-Id", "system")
	r.fail("orders.x", []byte("c"), "Recovery-Id", "ours")
	outcome(t, outcomes, "stranger", "rejected")
	outcome(t, outcomes, "system", "rejected")
	outcome(t, outcomes, "ours", "dead")
	refused, err := r.bus.ReadDead(t.Context(), 1, 10, "recovery.dead.*._refused.>")
	if err != nil || len(refused) != 2 {
		t.Errorf("%d letters are among the refused, want 2: %v", len(refused), err)
	}
	if all := r.letters(); len(all) != 3 {
		t.Errorf("%d letters, want 3", len(all))
	}
}

// Headers that steer the server make the report fail there, or lose their meaning: none
// travels on a delivery, and a dead letter keeps them aside.
func TestHeadersThatSteerTheServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, quick("orders", "orders.>"), once("poison", "poison.>")), nil)
	r.stream("ORDERS", "orders.>")
	deliveries := r.watch("ORDERS")
	outcomes, _ := r.watchOutcomes()
	for _, c := range []struct {
		name, value string
		code        jetstream.ErrorCode
	}{
		{"Nats-Rollup", "all", 10111},
		{"Nats-Rollup", "sub", 10111},
		{"Nats-TTL", "1s", 10166},
		{"Nats-Expected-Stream", "ORDERS", 10060},
		{"Nats-Expected-Last-Sequence", "999", 10071},
		{"Nats-Expected-Last-Msg-Id", "other", 10070},
		{"Nats-Schedule", "@at 2030-01-01T00:00:00Z", 10188},
		{"Nats-Batch-Id", "b", 10174},
		{"Nats-Incr", "+1", 10168},
	} {
		m := nats.NewMsg(subjects.Failed("orders.refused"))
		m.Header[c.name] = []string{c.value}
		_, err := r.js.PublishMsg(t.Context(), m)
		var api *jetstream.APIError
		if !errors.As(err, &api) || api.ErrorCode != c.code {
			t.Errorf("%s: %s was answered with %v, want code %d", c.name, c.value, err, c.code)
		}
	}
	accepted := []struct{ name, value string }{
		{"Nats-Msg-Id", "application-42"},
		{"Nats-Expected-Stream", "RECOVERY_FAILED"},
		{"Nats-Trace-Only", "true"},
		{"Nats-Required-Api-Level", "99"},
		{"Nats-Marker-Reason", "MaxAge"},
		{"Nats-Sequence", "1"},
		{"nats-rollup", "all"},
		{"nats-msg-id", "x"},
		{"NATS-TTL", "1s"},
		{"KV-Operation", "PURGE"},
		{"Description", "No Messages"},
		{"status", "404"},
		{"Status", "100"},
		{"Status", "404"},
		{"Status", "408"},
		{"Status", "409"},
		{"Status", "503"},
	}
	report := func(subject, id string, i int) {
		c := accepted[i]
		m := nats.NewMsg(subjects.Failed(subject))
		m.Header[c.name] = []string{c.value}
		m.Header.Set("Recovery-Id", id)
		if c.name == "Nats-Msg-Id" {
			m.Header.Set(c.name, c.value+id) // else the server takes the second for the first
		}
		m.Header.Set("User", "kept")
		if i%2 == 0 { // a status without a body looks like a word of the server
			m.Data = text("body %d", i)
		}
		if _, err := r.js.PublishMsg(t.Context(), m); err != nil {
			t.Errorf("%s: %s: %v", c.name, c.value, err)
		}
	}
	for i := range accepted {
		report("orders.x", "order-"+strconv.Itoa(i), i)
		report("poison.x", "poison-"+strconv.Itoa(i), i)
	}
	for i, c := range accepted {
		id := "order-" + strconv.Itoa(i)
		all := deliveries.until(t, c.name+": "+c.value+" redelivered", func(all []jetstream.Msg) bool {
			return slices.ContainsFunc(all, func(m jetstream.Msg) bool { return m.Headers().Get("Recovery-Id") == id })
		})
		m := all[slices.IndexFunc(all, func(m jetstream.Msg) bool { return m.Headers().Get("Recovery-Id") == id })]
		for name := range m.Headers() {
			steers := strings.EqualFold(name, c.name) || len(name) > 4 && strings.EqualFold(name[:5], "nats-")
			if steers && name != schemas.HeaderMsgID {
				t.Errorf("%s travelled on the redelivery: %v", name, m.Headers())
			}
		}
		if got := m.Headers()[schemas.HeaderMsgID]; len(got) != 1 || len(got[0]) != 32 {
			t.Errorf("%s: the redelivery has the ids %q", c.name, got)
		}
		if m.Headers().Get("User") != "kept" {
			t.Errorf("%s: the user's header is lost: %v", c.name, m.Headers())
		}
		outcome(t, outcomes, "poison-"+strconv.Itoa(i), "dead")
		if l := r.letterOf("poison-" + strconv.Itoa(i)); !strings.HasPrefix(l.Barred.Get(c.name), c.value) || l.Header.Get(c.name) != "" {
			t.Errorf("%s: the letter keeps aside %v, beside it %v", c.name, l.Barred, l.Header)
		}
	}
	r.settled()
}

// The application's own message id, echoed within 100 ms on another subject, makes the
// server take the second report for the first and say so: the documented reason not to
// echo it.
func TestEchoedMessageIDIsADuplicateAtTheServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, once("orders", "orders.>")), nil)
	first := r.fail("orders.a", []byte("a"), "Nats-Msg-Id", "42")
	second := r.fail("orders.b", []byte("b"), "Nats-Msg-Id", "42")
	if first.Duplicate || !second.Duplicate || first.Sequence != second.Sequence {
		t.Errorf("acknowledged as %+v and %+v, want a duplicate of the first", first, second)
	}
}

// A state whose seal does not fit is not believed: the work begins a new life on the subject
// of the report, with no more attempts than any other.
func TestForgedState(t *testing.T) {
	t.Parallel()
	spec := quick("orders", "orders.>")
	spec.Fallback = []string{"manual.a", "manual.b"}
	spec.Retry.MaxElapsed = duration(10 * time.Minute)
	r := newRig(t, policies(t, spec), nil)
	r.stream("ORDERS", "orders.>")
	r.stream("MANUAL", "manual.>")
	w := r.witness()
	deliveries := r.watch("ORDERS")
	outcomes, _ := r.watchOutcomes()
	past := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339Nano)
	future := time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano)
	history := deadletter.History{}.Append(deadletter.Attempt{At: time.Now(), Attempt: 1, Error: "forged"}).Encode()
	cases := []struct{ name, value string }{ // "" removes the header
		{"Recovery-Id", "another"},
		{"Recovery-Max-Attempts", "1000"},
		{"Recovery-Subject", "orders.elsewhere"},
		{"Recovery-Subject", "$JS.API.STREAM.DELETE.ORDERS"},
		{"Recovery-First-Failed-At", past},
		{"Recovery-First-Failed-At", future},
		{"Recovery-Generation", "9223372036854775807"},
		{"Recovery-Probe", "1"},
		{"Recovery-Ramp", "1"},
		{"Recovery-Fallback", "0"},
		{"Recovery-Fallback", "1"},
		{"Recovery-Fallback", "-1"},
		{"Recovery-Replay", "7"},
		{"Recovery-Delivery", "1"},
		{"Recovery-Delivery", "99"},
		{"Recovery-Held", "999999999"},
		{"Recovery-History", history},
		{"Recovery-History", ""},
		{"Recovery-Seal", "AAAAAAAAAAAAAAAAAAAAAA"},
		{"Recovery-Seal", "short"},
		{"Recovery-Seal", ""},
	}
	subject := func(i int) string { return "orders." + strconv.Itoa(i) }
	on := func(i int) func(jetstream.Msg) bool {
		return func(m jetstream.Msg) bool { return m.Subject() == subject(i) }
	}
	for i := range cases {
		r.fail(subject(i), text("body %d", i), "Recovery-Id", "work-"+strconv.Itoa(i), "Recovery-Error", "first")
	}
	deliveries.atLeast(t, "the genuine deliveries", len(cases))
	for i, c := range cases {
		genuine := deliveries.where(on(i))[0]
		forged := nats.NewMsg(subjects.Failed(subject(i)))
		forged.Header, forged.Data = maps.Clone(genuine.Headers()), genuine.Data()
		delete(forged.Header, schemas.HeaderMsgID)
		delete(forged.Header, c.name)
		if c.value != "" {
			forged.Header[c.name] = []string{c.value}
		}
		if _, err := r.js.PublishMsg(t.Context(), forged); err != nil {
			t.Fatal(err)
		}
	}
	all := deliveries.atLeast(t, "deliveries after the forged reports", 2*len(cases))
	for i, c := range cases {
		got := slices.DeleteFunc(slices.Clone(all), func(m jetstream.Msg) bool { return !on(i)(m) })
		if len(got) != 2 {
			t.Errorf("%s: %s: %d deliveries on its subject, want 2", c.name, c.value, len(got))
			continue
		}
		h := schemas.Header(got[1].Headers())
		for name, want := range map[string]string{
			"Recovery-Attempt": "3", "Recovery-Delivery": "3", "Recovery-Max-Attempts": "3", "Recovery-Subject": subject(i),
			"Recovery-Fallback": "", "Recovery-Probe": "", "Recovery-Ramp": "", "Recovery-Replay": "", "Recovery-Held": "", "Recovery-Generation": "",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s: the next delivery says %s: %q, want %q", c.name, c.value, name, h.Get(name), want)
			}
		}
		meta, err := got[1].Metadata()
		if err != nil {
			t.Fatal(err)
		}
		first, err := time.Parse(time.RFC3339Nano, h.Get("Recovery-First-Failed-At"))
		if err != nil || meta.Timestamp.Sub(first) < 50*time.Millisecond || meta.Timestamp.Sub(first) > patience {
			t.Errorf("%s: %s: first failed at %s, delivered at %s", c.name, c.value, first, meta.Timestamp)
		}
		if list, err := deadletter.ParseHistory(h.Get("Recovery-History")); err != nil || len(list) != 1 || list[0].Error == "forged" {
			t.Errorf("%s: %s: the new life has the history %s, %v", c.name, c.value, h.Get("Recovery-History"), err)
		}
		id := h.Get("Recovery-Id")
		if want := "work-" + strconv.Itoa(i); c.name == "Recovery-Id" && id != c.value || c.name != "Recovery-Id" && id != want {
			t.Errorf("%s: %s: the next delivery has the id %s", c.name, c.value, id)
		}
	}
	// The third attempt is the last one of a policy of three, whatever was forged.
	for i := range cases {
		second := slices.DeleteFunc(slices.Clone(all), func(m jetstream.Msg) bool { return !on(i)(m) })[1]
		r.failAgain(second, "third")
	}
	for i, c := range cases {
		id := "work-" + strconv.Itoa(i)
		if c.name == "Recovery-Id" {
			id = c.value
		}
		o := outcome(t, outcomes, id, "fallback")
		if o.Fallback == nil || *o.Fallback != 0 || o.Target != "manual.a" || o.Reason != schemas.ReasonExhausted {
			t.Errorf("%s: %s: %+v", c.name, c.value, o)
		}
	}
	r.settled()
	if n := len(deliveries.list()); n != 2*len(cases) {
		t.Errorf("%d deliveries, want %d", n, 2*len(cases))
	}
	if found := w.strangers("orders.*", "manual.a"); len(found) > 0 || w.count("orders.elsewhere") > 0 {
		t.Errorf("something was published on %q", found)
	}
}

// An attempt number can only raise the count without a seal, and one that cannot be read
// counts as the last.
func TestAttemptWithoutSeal(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, quick("orders", "orders.>")), nil)
	r.stream("ORDERS", "orders.>")
	outcomes, _ := r.watchOutcomes()
	for i, c := range []struct {
		value, kind string
		attempt     int
		faulty      bool
	}{
		{"1", "redelivered", 2, false},
		{"2", "redelivered", 3, false},
		{"3", "dead", 3, false},
		{"99", "dead", 99, false},
		{"", "dead", 3, true},
		{"0", "dead", 3, true},
		{"-1", "dead", 3, true},
		{"one", "dead", 3, true},
		{"1e0", "dead", 3, true},
		{"99999999999999999999", "dead", 3, true},
	} {
		id := "work-" + strconv.Itoa(i)
		m := nats.NewMsg(subjects.Failed("orders.x"))
		m.Header["Recovery-Attempt"], m.Header["Recovery-Id"] = []string{c.value}, []string{id}
		if _, err := r.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		o := outcome(t, outcomes, id, c.kind)
		if o.Attempt != c.attempt || (len(o.Faults) > 0) != c.faulty {
			t.Errorf("attempt %q: %+v", c.value, o)
		}
	}
	r.settled()
}

// Sealed state is worth nothing on a subject that it was not made for.
func TestStateOfAnotherSubject(t *testing.T) {
	t.Parallel()
	spec := quick("orders", "orders.>", "manual.other")
	spec.Retry.MaxAttempts = number(2)
	spec.Fallback = []string{"manual.a"}
	r := newRig(t, policies(t, spec), nil)
	r.stream("ORDERS", "orders.>")
	r.stream("MANUAL", "manual.>")
	w := r.witness()
	orders, manual := r.watch("ORDERS"), r.watch("MANUAL")
	outcomes, _ := r.watchOutcomes()
	r.fail("orders.a", []byte("body"), "Recovery-Id", "work")
	first := orders.atLeast(t, "redelivery", 1)[0]
	r.failAgain(first, "again")
	fallback := manual.atLeast(t, "fallback", 1)[0]

	// What was sealed on orders.a and manual.a is echoed elsewhere.
	for i, c := range []struct {
		of      jetstream.Msg
		subject string
		kind    string
	}{
		{first, "orders.b", "redelivered"},   // from attempt 2 of 2: no, a new life raises it to the last
		{fallback, "manual.other", "letter"}, // not a fallback of orders.a
		{fallback, "orders.c", "letter"},
		{first, "nobody.serves.this", "rejected"},
	} {
		id := "moved-" + strconv.Itoa(i)
		m := nats.NewMsg(subjects.Failed(c.subject))
		m.Header, m.Data = maps.Clone(c.of.Headers()), c.of.Data()
		delete(m.Header, schemas.HeaderMsgID)
		if _, err := r.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		o := outcomes.until(t, "end of "+id, func(all []told) bool {
			return slices.ContainsFunc(all, func(o told) bool { return o.Subject == c.subject && schemas.Terminal(o.Kind) })
		})
		end := o[slices.IndexFunc(o, func(o told) bool { return o.Subject == c.subject })]
		if len(end.Faults) == 0 || end.ID != "work" {
			t.Errorf("%s: %+v does not say that the state was ignored", c.subject, end)
		}
		if c.kind == "rejected" && end.Kind != "rejected" || c.kind != "rejected" && (end.Kind != "fallback" || *end.Fallback != 0) {
			t.Errorf("%s: %+v", c.subject, end)
		}
	}
	r.settled()
	if found := w.strangers("orders.a", "manual.a"); len(found) > 0 {
		t.Errorf("something was published on %q", found)
	}
}

// Works that share an id never swallow each other.
func TestSharedID(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, quick("orders", "orders.>"), once("poison", "poison.>")), nil)
	r.stream("ORDERS", "orders.>")
	deliveries := r.watch("ORDERS")
	outcomes, _ := r.watchOutcomes()
	for _, work := range []string{"orders.a one", "orders.a two", "orders.b one", "poison.a one", "poison.a two", "poison.b one"} {
		subject, body, _ := strings.Cut(work, " ")
		r.fail(subject, []byte(body), "Recovery-Id", "42")
	}
	deliveries.atLeast(t, "deliveries", 3)
	outcomes.until(t, "outcomes", func(all []told) bool {
		return len(of(all, "42", "redelivered")) == 3 && len(of(all, "42", "dead")) == 3
	})
	r.settled()
	got := map[string]int{}
	for _, m := range deliveries.list() {
		got[m.Subject()+" "+string(m.Data())]++
	}
	for _, l := range r.letters() {
		got[l.Subject+" "+string(l.Body)]++
	}
	want := map[string]int{"orders.a one": 1, "orders.a two": 1, "orders.b one": 1, "poison.a one": 1, "poison.a two": 1, "poison.b one": 1}
	if !maps.Equal(got, want) {
		t.Errorf("ended as %v", got)
	}
}

// Reporting a failure twice is harmless: the target recognises the second redelivery, the
// subscribers the second outcome, the store the second letter.
func TestReportedTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, quick("orders", "orders.>")), nil)
	r.stream("ORDERS", "orders.>")
	deliveries := r.watch("ORDERS")
	outcomes, _ := r.watchOutcomes()
	r.fail("orders.a", []byte("body"))
	first := deliveries.atLeast(t, "redelivery", 1)[0]
	r.failAgain(first, "second")
	r.failAgain(first, "second")
	second := deliveries.atLeast(t, "second redelivery", 2)[1]
	r.settled()
	r.failAgain(second, "third")
	r.failAgain(second, "third")
	outcomes.until(t, "dead letter", func(all []told) bool {
		return slices.ContainsFunc(all, func(o told) bool { return o.Kind == "dead" })
	})
	r.settled()
	if n := len(deliveries.list()); n != 2 {
		t.Errorf("%d deliveries, want 2", n)
	}
	kinds := map[string]int{}
	for _, o := range outcomes.list() {
		kinds[o.Kind+" "+strconv.Itoa(o.Attempt)]++
	}
	if want := map[string]int{"redelivered 2": 1, "redelivered 3": 1, "dead 3": 1}; !maps.Equal(kinds, want) {
		t.Errorf("outcomes %v, want %v", kinds, want)
	}
	if n := len(r.letters()); n != 1 {
		t.Errorf("%d letters, want 1", n)
	}
}

// A report that says it is an envelope and is none becomes a letter that keeps its body.
func TestMalformedEnvelopes(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, quick("orders", "orders.>")), nil)
	r.stream("ORDERS", "orders.>")
	w := r.witness()
	deliveries := r.watch("ORDERS")
	outcomes, _ := r.watchOutcomes()
	const failure = `{"specversion":"1.0","id":"1","source":"/a","type":"io.recoveryd.v1.failure","data":`
	malformed := map[string]string{
		"no JSON":               "certainly not",
		"empty":                 "",
		"half":                  failure + `{"error":"x"`,
		"no UTF-8":              failure + "{\"error\":\"\xff\xfe\"}}",
		"another version":       strings.Replace(failure, "1.0", "0.3", 1) + `{"error":"x"}}`,
		"no id":                 strings.Replace(failure, `"id":"1",`, "", 1) + `{"error":"x"}}`,
		"no data":               strings.TrimSuffix(failure, `,"data":`) + `}`,
		"unknown field":         failure + `{"subject":"$JS.API.INFO"}}`,
		"wrong type":            failure + `{"attempt":"two"}}`,
		"two bodies":            failure + `{"body":"a","body_json":{}}}`,
		"bad base64":            failure + `{"body_base64":"***"}}`,
		"header that injects":   failure + `{"headers":{"A":"b\r\nNats-Rollup: all"}}}`,
		"header without a name": failure + `{"headers":{"":"b"}}}`,
		"something after it":    failure + `{}} {}`,
	}
	for name, body := range malformed {
		r.fail("orders.x", []byte(body), "Content-Type", "application/cloudevents+json", "Recovery-Id", strings.ReplaceAll(name, " ", "-"))
	}
	for name, body := range malformed {
		id := strings.ReplaceAll(name, " ", "-")
		o := outcome(t, outcomes, id, "dead")
		if o.Reason != schemas.ReasonMalformed || o.Error == "" {
			t.Errorf("%s: %+v", name, o)
		}
		l := r.letterOf(id)
		if string(l.Body) != body || l.Subject != "orders.x" || l.Reason != schemas.ReasonMalformed || l.Header.Get("Content-Type") == "" {
			t.Errorf("%s: letter %+v", name, l)
		}
	}
	// A good one is opened, and what it must not say is not believed.
	r.fail("orders.x", []byte(failure+`{"id":"good","error":"x","headers":{"A":"b","Nats-Rollup":"all","Recovery-Fallback":"0"},"body":"inner"}}`),
		"Content-Type", "application/cloudevents+json")
	outcome(t, outcomes, "good", "redelivered")
	m := deliveries.atLeast(t, "delivery of the good one", 1)[0]
	h := m.Headers()
	if string(m.Data()) != "inner" || h.Get("A") != "b" || h.Get("Nats-Rollup") != "" || h.Get("Recovery-Fallback") != "" || h.Get("Content-Type") != "" {
		t.Errorf("opened as %q %v", m.Data(), h)
	}
	r.settled()
	if found := w.strangers("orders.x"); len(found) > 0 || len(deliveries.list()) != 1 {
		t.Errorf("%d deliveries, and something on %q", len(deliveries.list()), found)
	}
}

// Bodies of every size and content come back, and end, byte for byte.
func TestBodies(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, quick("orders", "orders.>"), once("poison", "poison.>")), nil)
	r.stream("ORDERS", "orders.>")
	deliveries := r.watch("ORDERS")
	outcomes, _ := r.watchOutcomes()
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	largest := bytes.Repeat(every, r.bus.MaxBody()/256)
	largest = append(largest, make([]byte, r.bus.MaxBody()-len(largest))...)
	bodies := map[string][]byte{
		"empty": {}, "one": {0}, "every-byte": every, "protocol": []byte("\r\nPUB $JS.API.INFO 0\r\n\r\n"), "json": []byte(`{"n":12345678901234567890}`),
	}
	for id, body := range bodies {
		r.fail("orders.x", body, "Recovery-Id", id)
		r.fail("poison.x", body, "Recovery-Id", id)
	}
	bodies["largest"] = largest
	// Headers count: the largest body of all comes alone, with nothing but its subject.
	for _, subject := range []string{"orders.largest", "poison.largest"} {
		if _, err := r.js.Publish(t.Context(), subjects.Failed(subject), largest); err != nil {
			t.Fatal(err)
		}
		_, err := r.js.Publish(t.Context(), subjects.Failed(subject), append(largest, 0))
		var api *jetstream.APIError
		if !errors.As(err, &api) || api.ErrorCode != 10054 {
			t.Errorf("one byte more was answered with %v, want that it is too large", err)
		}
	}
	check := func(kind, subject, id string, body []byte) {
		if subject == "orders.largest" || subject == "poison.largest" {
			id = "largest"
		}
		if want, ok := bodies[id]; !ok || !bytes.Equal(body, want) {
			t.Errorf("%s of %s on %s has %d bytes, want %d, or others", kind, id, subject, len(body), len(want))
		}
	}
	for _, m := range deliveries.atLeast(t, "redeliveries", len(bodies)) {
		check("redelivery", m.Subject(), m.Headers().Get("Recovery-Id"), m.Data())
	}
	outcomes.until(t, "dead letters", func(all []told) bool {
		return len(slices.DeleteFunc(slices.Clone(all), func(o told) bool { return o.Kind != "dead" })) == len(bodies)
	})
	letters := r.letters()
	for _, l := range letters {
		check("letter", l.Subject, l.ID, l.Body)
	}
	if len(letters) != len(bodies) {
		t.Errorf("%d letters, want %d", len(letters), len(bodies))
	}
	r.settled()
}

// More headers than fit lose the largest, which are named; the rest and the body are kept.
// The largest body with the largest headers still comes back and can be kept.
func TestManyHeaders(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, quick("orders", "orders.>"), once("poison", "poison.>")), nil)
	r.stream("ORDERS", "orders.>")
	deliveries := r.watch("ORDERS")
	outcomes, _ := r.watchOutcomes()
	for _, subject := range []string{"orders.x", "poison.x"} {
		m := nats.NewMsg(subjects.Failed(subject))
		m.Header.Set("Recovery-Id", "many")
		m.Header.Set("Recovery-Error", strings.Repeat("e", 1000))
		size := 0
		for i := 0; size < 56<<10; i++ {
			name := "H-" + strconv.Itoa(i)
			m.Header.Set(name, strings.Repeat("v", 100))
			size += len(name) + 104
		}
		m.Header.Set("Large", strings.Repeat("l", 4<<10))
		m.Data = make([]byte, r.bus.MaxBody()-(62<<10))
		if _, err := r.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	m := deliveries.atLeast(t, "redelivery", 1)[0]
	o := outcome(t, outcomes, "many", "redelivered")
	if !slices.Contains(o.Truncated, "Large") || len(o.Truncated) > 40 {
		t.Errorf("the outcome names %d dropped headers, Large among them: %v", len(o.Truncated), slices.Contains(o.Truncated, "Large"))
	}
	if h := m.Headers(); h.Get("Large") != "" || h.Get("H-0") == "" || !strings.Contains(h.Get("Recovery-Truncated"), "Large") || len(m.Data()) != r.bus.MaxBody()-(62<<10) {
		t.Errorf("redelivery with %d bytes, truncated %q", len(m.Data()), h.Get("Recovery-Truncated"))
	}
	r.failAgain(m, "and again") // what was added must not keep it from being reported
	deliveries.atLeast(t, "second redelivery", 2)
	outcome(t, outcomes, "many", "dead")
	if l := r.letterOf("many"); l.Header.Get("H-0") == "" || !slices.Contains(l.Truncated, "Large") {
		t.Errorf("the letter names %v", l.Truncated)
	}
	r.settled()
}

// Work that no stream stores becomes a letter that says what to do, after two looks that
// are ten seconds apart; a subject whose stream appears meanwhile is served.
func TestSubjectsThatNobodyStores(t *testing.T) {
	t.Parallel()
	small := quick("small", "small.>")
	silent := quick("silent", "silent.>")
	silent.Fallback = []string{"orders.fallback"}
	r := newRig(t, policies(t, quick("orders", "orders.>", "heard.>", "gone.>", "late.>"), small, silent), nil,
		func(c *bus.Config) { c.PublishTimeout = time.Second })
	r.stream("ORDERS", "orders.>")
	if _, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "SMALL", Subjects: []string{"small.>"}, MaxMsgSize: 100}); err != nil {
		t.Fatal(err)
	}
	heard, err := r.nc.SubscribeSync("heard.>")
	if err != nil {
		t.Fatal(err)
	}
	deliveries := r.watch("ORDERS")
	outcomes, _ := r.watchOutcomes()
	began := time.Now()
	for _, subject := range []string{"heard.x", "gone.x", "silent.x", "late.x", "small.x", "orders.x"} {
		id, _, _ := strings.Cut(subject, ".")
		r.fail(subject, text("body of %s", id), "Recovery-Id", id, "Recovery-Error", "original")
	}
	outcome(t, outcomes, "orders", "redelivered")
	outcome(t, outcomes, "small", "dead")
	if m, err := heard.NextMsg(patience); err != nil || string(m.Data) != "body of heard" {
		t.Errorf("the core subscriber heard %v, %v", m, err)
	}
	r.stream("LATE", "late.>")
	outcome(t, outcomes, "late", "redelivered")
	for _, c := range []struct{ id, kind string }{{"heard", "dead"}, {"gone", "dead"}, {"silent", "fallback"}} {
		o := outcome(t, outcomes, c.id, c.kind)
		if o.Reason != schemas.ReasonUndeliverable {
			t.Errorf("%s: %+v", c.id, o)
		}
		if waited := time.Since(began); waited < 10*time.Second {
			t.Errorf("%s was given up after %s", c.id, waited)
		}
	}
	for id, clear := range map[string]string{"heard": `no stream stores "heard.x"`, "gone": `no stream stores "gone.x"`, "small": "too large"} {
		l := r.letterOf(id)
		if l.Reason != schemas.ReasonUndeliverable || !strings.Contains(l.Error, clear) || string(l.Body) != "body of "+id {
			t.Errorf("%s: letter %+v", id, l)
		}
		if list, err := deadletter.ParseHistory(l.History); err != nil || len(list) == 0 || list[0].Error != "original" {
			t.Errorf("%s: the history %s does not hold the reported error: %v", id, l.History, err)
		}
	}
	fallback := deliveries.where(func(m jetstream.Msg) bool { return m.Subject() == "orders.fallback" })
	if len(fallback) != 1 || !strings.Contains(fallback[0].Headers().Get("Recovery-Error"), "no stream stores") {
		t.Errorf("%d deliveries to the fallback", len(fallback))
	}
	for _, o := range outcomes.list()[:3] {
		if o.ID != "orders" && o.ID != "small" && o.ID != "late" {
			t.Errorf("%s held up what could be served: %+v", o.ID, o)
		}
	}
	r.settled()
	if n := len(r.letters()); n != 3 {
		t.Errorf("%d letters, want 3", n)
	}
}
