package integration

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

// waitingLetters is how many letters wait in the ledger, and what the checks say of it.
func (r *rig) waitingLetters() (waiting int64, complaint string) {
	for _, st := range r.engine.Stats() {
		waiting += st.DeadWait
	}
	for _, c := range r.engine.Checks() {
		if !c.OK {
			complaint += c.Name + ": " + c.Detail + "\n"
		}
	}
	return waiting, complaint
}

// toldOnce checks that there is a dead outcome for each letter that is stored, and for no other.
func (r *rig) toldOnce(outcomes *record[told]) (letters []schemas.DeadLetter) {
	r.t.Helper()
	letters = r.letters()
	outcomes.until(r.t, "an outcome for each letter", func(all []told) bool { return len(ended(all)) >= len(letters) })
	counts := map[string]int{}
	for _, o := range ended(outcomes.list()) {
		counts[fmt.Sprint(o.ID, " ", o.DeadLetterSequence)]++
	}
	for _, l := range letters {
		key := fmt.Sprint(l.ID, " ", l.Sequence)
		if counts[key] != 1 {
			r.t.Errorf("letter %s was told %d times", key, counts[key])
		}
		delete(counts, key)
	}
	return letters
}

func ended(all []told) []told {
	return slices.DeleteFunc(slices.Clone(all), func(o told) bool { return o.Kind != schemas.KindDead })
}

// Letters that the store has no room for wait in the ledger while everything else goes on;
// the checks say why; each is stored and told once as soon as there is room, also after a
// restart.
func TestLettersWaitForRoom(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, once("poison", "poison.>"), quick("orders", "orders.>")), nil,
		func(c *bus.Config) { c.DeadMaxBytes = 16 << 10 })
	r.stream("ORDERS", "orders.>")
	deliveries := r.watch("ORDERS")
	outcomes, _ := r.watchOutcomes()
	const n = 60
	body := func(i int) []byte { return bytes.Repeat([]byte{byte(i), 0, 0xff, '\n'}, 256) }
	for i := range n {
		r.fail("poison."+strconv.Itoa(i), body(i), "Recovery-Id", "poison-"+strconv.Itoa(i), "Recovery-Error", "spoiled", "User", "kept",
			"KV-Operation", "DEL", "Recovery-Code", "E"+strconv.Itoa(i), "Recovery-Stream", "S", "Recovery-Sequence", strconv.Itoa(i+1))
	}
	all := func() bool { // what is not stored waits, and no report is left unsettled
		waiting, complaint := r.waitingLetters()
		return waiting+int64(r.stored("RECOVERY_DEAD")) == n && r.stored("RECOVERY_FAILED") == 0 && strings.Contains(complaint, "full")
	}
	eventually(t, "the letters without room wait", all)
	stored := r.toldOnce(outcomes)
	if len(stored) == 0 || len(stored) > 16 {
		t.Fatalf("%d letters are stored in 16 KiB", len(stored))
	}
	if got := r.inLedger(); got != uint64(n-len(stored)) {
		t.Errorf("%d entries are in the ledger, %d letters wait", got, n-len(stored))
	}
	r.fail("orders.x", []byte("goes on"), "Recovery-Id", "order")
	deliveries.atLeast(t, "redelivery while letters wait", 1)

	// Room for some.
	if _, err := r.bus.PurgeDead(t.Context(), "", stored[len(stored)/2].Sequence); err != nil {
		t.Fatal(err)
	}
	last := stored[len(stored)-1].Sequence
	eventually(t, "some of the waiting letters are stored", func() bool {
		again := r.letters()
		return again[len(again)-1].Sequence > last
	})
	r.stop()
	r.start(r.engine.Policies(), nil)
	eventually(t, "the letters wait after a restart", func() bool {
		waiting, complaint := r.waitingLetters()
		purged := int64(len(stored) / 2)
		return waiting+int64(r.stored("RECOVERY_DEAD"))+purged == n && strings.Contains(complaint, "full")
	})
	r.fail("orders.x", []byte("still"), "Recovery-Id", "order-2")
	deliveries.atLeast(t, "redelivery after the restart", 2)

	// Room for all.
	info, err := r.js.Stream(t.Context(), "RECOVERY_DEAD")
	if err != nil {
		t.Fatal(err)
	}
	config := info.CachedInfo().Config
	config.MaxBytes = -1
	if _, err := r.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	r.settled()
	eventually(t, "the checks are content again", func() bool {
		waiting, complaint := r.waitingLetters()
		return waiting == 0 && complaint == ""
	})
	kept := append(stored[:len(stored)/2:len(stored)/2], r.toldOnce(outcomes)...)
	if len(kept) != n {
		t.Errorf("%d letters were stored, want %d", len(kept), n)
	}
	seen := map[string]bool{}
	for _, l := range kept {
		i, err := strconv.Atoi(strings.TrimPrefix(l.ID, "poison-"))
		if err != nil || seen[l.ID] {
			t.Errorf("letter %s again", l.ID)
		}
		seen[l.ID] = true
		if !bytes.Equal(l.Body, body(i)) || l.Header.Get("User") != "kept" || l.Barred.Get("KV-Operation") != "DEL" || l.Error != "spoiled" ||
			l.Code != "E"+strconv.Itoa(i) || l.Origin.Sequence != uint64(i+1) || l.Reason != schemas.ReasonExhausted || l.Policy != "poison" ||
			l.Subject != "poison."+strconv.Itoa(i) || l.History == "" {
			t.Errorf("letter %+v", l)
		}
	}
	if got := len(ended(outcomes.list())); got != n {
		t.Errorf("%d dead outcomes, want %d", got, n)
	}
}

// Letters of refused reports wait like others, and are still told as rejected.
func TestRefusedLettersWaitForRoom(t *testing.T) {
	t.Parallel()
	r := newRig(t, policies(t, once("poison", "poison.>")), nil, func(c *bus.Config) { c.DeadMaxBytes = 2 << 10 })
	outcomes, _ := r.watchOutcomes()
	r.fail("poison.x", make([]byte, 1000), "Recovery-Id", "fills")
	outcome(t, outcomes, "fills", "dead")
	r.fail("$JS.API.INFO", make([]byte, 1000), "Recovery-Id", "system")
	r.fail("nobody.serves.this", make([]byte, 1000), "Recovery-Id", "stranger")
	eventually(t, "the refused letters wait", func() bool { waiting, _ := r.waitingLetters(); return waiting == 2 })
	stream, err := r.js.Stream(t.Context(), "RECOVERY_DEAD")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxBytes = 1 << 20
	if _, err := r.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"system", "stranger"} {
		if o := outcome(t, outcomes, id, "rejected"); o.Reason != schemas.ReasonRefused {
			t.Errorf("%+v", o)
		}
	}
	r.settled()
	refused, err := r.bus.ReadDead(t.Context(), 1, 10, "recovery.dead.*._refused.>")
	if err != nil || len(refused) != 2 {
		t.Errorf("%d letters are among the refused, want 2: %v", len(refused), err)
	}
}

// Fallbacks are tried in order, each once; the letter comes after the last one.
func TestFallbacksInOrder(t *testing.T) {
	t.Parallel()
	spec := quick("orders", "orders.>")
	spec.Fallback = []string{"manual.first", "manual.second"}
	r := newRig(t, policies(t, spec), nil)
	r.stream("ORDERS", "orders.>")
	r.stream("MANUAL", "manual.>")
	orders, manual := r.watch("ORDERS"), r.watch("MANUAL")
	outcomes, _ := r.watchOutcomes()
	body := []byte("body\x00")
	r.fail("orders.a", body, "Recovery-Id", "work", "Recovery-Class", "permanent", "Recovery-Error", "no such customer", "User", "kept")
	first := manual.atLeast(t, "first fallback", 1)[0]
	r.failAgain(first, "first fallback failed")
	r.failAgain(first, "first fallback failed") // twice is once
	second := manual.atLeast(t, "second fallback", 2)[1]
	r.failAgain(second, "second fallback failed")
	o := outcome(t, outcomes, "work", "dead")
	r.settled()
	for i, m := range []jetstream.Msg{first, second} {
		h := schemas.Header(m.Headers())
		if m.Subject() != spec.Fallback[i] || !bytes.Equal(m.Data(), body) || h.Get("Recovery-Fallback") != strconv.Itoa(i) ||
			h.Get("Recovery-Subject") != "orders.a" || h.Get("User") != "kept" || h.Get("Recovery-Error") == "" {
			t.Errorf("fallback %d: %s %v", i, m.Subject(), h)
		}
	}
	if n, f := len(orders.list()), len(manual.list()); n != 0 || f != 2 {
		t.Errorf("%d redeliveries and %d fallbacks, want 0 and 2", n, f)
	}
	if o.Reason != schemas.ReasonFallbacksFailed || o.Error != "second fallback failed" {
		t.Errorf("outcome %+v", o)
	}
	l := r.letterOf("work")
	if l.Subject != "orders.a" || !bytes.Equal(l.Body, body) || l.Reason != schemas.ReasonFallbacksFailed || strings.Count(l.History, "fallback failed") != 2 {
		t.Errorf("letter %+v", l)
	}
	all := of(outcomes.list(), "work", "")
	// Each fallback is another shard's, and shards do not wait for one another to tell.
	slices.SortStableFunc(all, func(a, b told) int { return a.Delivery - b.Delivery })
	var trail []string
	for _, o := range all {
		trail = append(trail, o.Kind+" "+o.Target)
	}
	if want := []string{"fallback manual.first", "fallback manual.second", "dead "}; !slices.Equal(trail, want) {
		t.Errorf("outcomes %q, want %q", trail, want)
	}
}

// Without a seal nothing is a fallback's failure; the subject of a fallback that no policy
// serves is refused like any other.
func TestForgedFallback(t *testing.T) {
	t.Parallel()
	spec := quick("orders", "orders.>")
	spec.Fallback = []string{"manual.first", "manual.second"}
	r := newRig(t, policies(t, spec), nil)
	r.stream("ORDERS", "orders.>")
	r.stream("MANUAL", "manual.>")
	orders, manual := r.watch("ORDERS"), r.watch("MANUAL")
	outcomes, _ := r.watchOutcomes()
	forged := []string{"Recovery-Fallback", "0", "Recovery-Subject", "orders.victim", "Recovery-Seal", "AAAAAAAAAAAAAAAAAAAAAA"}
	r.fail("orders.a", []byte("a"), append(forged, "Recovery-Id", "served")...)
	r.fail("manual.first", []byte("b"), append(forged, "Recovery-Id", "unserved")...)
	if o := outcome(t, outcomes, "served", "redelivered"); o.Target != "orders.a" || len(o.Faults) == 0 {
		t.Errorf("%+v", o)
	}
	if o := outcome(t, outcomes, "unserved", "rejected"); o.Subject != "manual.first" {
		t.Errorf("%+v", o)
	}
	r.settled()
	if n, f := len(orders.list()), len(manual.list()); n != 1 || f != 0 {
		t.Errorf("%d redeliveries and %d fallbacks, want 1 and 0", n, f)
	}
}

// What cannot be helped by trying again is not tried again: it becomes a letter, or is
// dropped where the policy says so.
func TestPermanentFailures(t *testing.T) {
	t.Parallel()
	keep, drop := quick("keep", "keep.>"), quick("drop", "drop.>")
	drop.Discard = []string{"permanent"}
	drop.Classify = []schemas.ClassifySpec{{Code: []string{"422"}, Class: "permanent"}}
	r := newRig(t, policies(t, keep, drop), nil)
	r.stream("WORK", "keep.>", "drop.>")
	deliveries := r.watch("WORK")
	outcomes, _ := r.watchOutcomes()
	r.fail("keep.x", []byte("a"), "Recovery-Id", "by-class", "Recovery-Class", "permanent")
	r.fail("keep.x", []byte("b"), "Recovery-Id", "by-hint", "Recovery-Retry-After", "-1")
	r.fail("drop.x", []byte("c"), "Recovery-Id", "dropped", "Recovery-Code", "422", "Recovery-Class", "transient")
	r.fail("drop.x", []byte("d"), "Recovery-Id", "spent", "Recovery-Attempt", "3")
	for id, kind := range map[string]string{"by-class": "dead", "by-hint": "dead", "dropped": "discarded", "spent": "dead"} {
		o := outcome(t, outcomes, id, kind)
		want := schemas.ReasonPermanent
		if id == "spent" {
			want = schemas.ReasonExhausted
		}
		if o.Reason != want {
			t.Errorf("%s: %+v", id, o)
		}
	}
	r.settled()
	if len(deliveries.list()) != 0 || len(r.letters()) != 3 {
		t.Errorf("%d redeliveries and %d letters, want 0 and 3", len(deliveries.list()), len(r.letters()))
	}
}
