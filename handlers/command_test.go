package handlers

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// commandRig is one shard with a ledger in memory, driven by hand.
type commandRig struct {
	t          *testing.T
	s          *shard
	now        time.Time
	sequence   uint64
	ledger     []schemas.Stored
	checkpoint []byte
	delivered  []string // ids
	outcomes   []schemas.Outcome
	blocked    map[effectKind]bool // effects without an answer
	full       bool                // the target stores nothing
	waiting    []effect
}

func newCommandRig(t *testing.T) *commandRig {
	t.Parallel()
	r := &commandRig{t: t, now: time.Unix(1_900_000_000, 0).UTC(), blocked: map[effectKind]bool{}}
	r.own()
	return r
}

// own has a new owner take the shard, with what the last one stored.
func (r *commandRig) own() {
	none, delay := "none", schemas.Duration(10*time.Second)
	spec := schemas.PolicySpec{
		Name: "all", Subjects: []string{">"}, Outcomes: schemas.OutcomesAttempts,
		Retry: schemas.RetrySpec{InitialDelay: &delay, Jitter: &none},
	}
	r.s = newShard(shardConfig{
		shards: 1, subjects: simSubjects, sealer: schemas.NewSealer([]byte("key")), near: 15 * time.Second, memory: 96 << 20,
		maxNear: 50_000, inflight: 4096, sparse: sparse, view: newView(),
	}, compile(schemas.PolicyDocument{Version: 1, Policies: []schemas.PolicySpec{spec}}))
	known, err := parseIntakeRecord(append([]byte{}, r.checkpoint...))
	if r.checkpoint != nil && err != nil {
		r.t.Fatal(err)
	}
	counts := map[string]uint64{}
	for _, m := range r.ledger {
		counts[m.Subject]++
	}
	c := checkpoint{books: books(simSubjects.IntakeParts(0), known), ahead: known.Ahead, former: r.checkpoint != nil}
	r.s.boot(r.now, c, counts, r.sequence, nil)
	r.step()
}

// fail reports a failure that is due after so many seconds.
func (r *commandRig) fail(id string, due float64) {
	r.sequence++
	f := benchFailure(r.now)
	f.ID, f.Sequence, f.Intake, f.Subject = id, r.sequence, "orders."+id, "orders."+id
	f.Hint, f.HasHint = time.Duration(due*float64(time.Second)), due > 0
	r.s.failure(r.now, 0, &f)
	r.step()
}

// step does everything that the shard wants done at this moment.
func (r *commandRig) step() {
	r.s.tick(r.now)
	for effects := r.s.effects(); len(effects) > 0; effects = r.s.effects() {
		for _, e := range effects {
			r.do(e)
		}
		r.s.tick(r.now)
	}
}

// pass lets time pass.
func (r *commandRig) pass(d time.Duration) {
	for end := r.now.Add(d); r.now.Before(end); {
		r.now = r.now.Add(50 * time.Millisecond)
		r.step()
	}
}

// unblock answers what had no answer.
func (r *commandRig) unblock() {
	clear(r.blocked)
	waiting := r.waiting
	r.waiting = nil
	for _, e := range waiting {
		r.do(e)
	}
	r.step()
}

func (r *commandRig) do(e effect) {
	if r.blocked[e.kind] {
		r.waiting = append(r.waiting, e)
		return
	}
	switch e.kind {
	case effPublish:
		r.publish(e)
	case effRead:
		var found []loadedEntry
		for i := range r.ledger {
			if m := &r.ledger[i]; m.Subject == e.lane.subject && m.Sequence >= e.from {
				found = appendEntries(found, m)
			}
		}
		r.s.loaded(r.now, e.lane, found, false, nil)
	case effPurge:
		before := len(r.ledger)
		r.ledger = slices.DeleteFunc(r.ledger, func(m schemas.Stored) bool { return m.Subject == e.lane.subject && m.Sequence < e.before })
		r.s.purged(r.now, e, before-len(r.ledger), nil)
	case effCheckpoint:
		r.checkpoint = e.data
		r.s.saved(r.now, e.revision+1, false, nil)
	case effTrim:
		r.s.trimmed(r.now, e, nil)
	case effStore:
		r.s.stored(r.now, e.breaker, e.revision+1, false, nil, nil)
	case effFollow:
		r.s.exchanged(e.all, e.from)
		r.s.attached(r.now)
	case effAnswer:
		e.command.done(e.command.kind)
	case effObserve:
		if e.event.Kind == EventAlarm {
			r.t.Errorf("alarm: %s %s: %v", e.event.Op, e.event.Subject, e.event.Err)
		}
	case effOwner:
		r.s.owned(r.now, e.subject, true, nil)
	default:
		r.t.Fatalf("effect %d", e.kind)
	}
}

func (r *commandRig) publish(e effect) {
	r.sequence++
	rest, own := strings.CutPrefix(e.message.Subject, simSubjects.Prefix+".")
	switch {
	case !own && r.full:
		r.s.published(r.now, e.item, schemas.Ack{}, schemas.ErrStoreFull)
		return
	case !own:
		r.delivered = append(r.delivered, e.message.Header.Get(schemas.HeaderID))
	case strings.HasPrefix(rest, "ledger."):
		r.ledger = append(r.ledger, schemas.Stored{Message: e.message, Sequence: r.sequence, Time: r.now})
	case strings.HasPrefix(rest, "outcomes."):
		o, _, err := schemas.ParseOutcome(e.message.Body)
		if err != nil {
			r.t.Fatal(err)
		}
		r.outcomes = append(r.outcomes, o)
	}
	r.s.published(r.now, e.item, schemas.Ack{Sequence: r.sequence}, nil)
}

// entry reads an entry as the control API does.
func (r *commandRig) entry(id string) (lane string, e *loadedEntry) {
	r.t.Helper()
	for i := range r.ledger {
		found := appendEntries(nil, &r.ledger[i])
		for j := range found {
			if found[j].item.work.ID == id {
				return r.ledger[i].Subject, &found[j]
			}
		}
	}
	r.t.Fatalf("%s is not in the ledger", id)
	return "", nil
}

// command acts on an entry, and returns where the result will be.
func (r *commandRig) command(id string, cancel bool) *string {
	r.t.Helper()
	c, result := newTestCommand(cancel)
	lane, e := r.entry(id)
	if err := r.s.commandEntry(r.now, lane, e, c); err != nil {
		r.t.Fatal(err)
	}
	r.step()
	return result
}

func newTestCommand(cancel bool) (*command, *string) {
	result := new(string)
	return &command{cancel: cancel, actor: "ann@desk", note: "known bug", done: func(kind string) { *result = kind }}, result
}

func (r *commandRig) refused(id string, cancel bool, why string) {
	r.t.Helper()
	c, _ := newTestCommand(cancel)
	lane, e := r.entry(id)
	wantConflict(r.t, r.s.commandEntry(r.now, lane, e, c), why)
}

func wantConflict(t *testing.T, err error, why string) {
	t.Helper()
	var fault *schemas.APIError
	if !errors.As(err, &fault) || fault.Code != 409 || !strings.Contains(fault.Message, why) {
		t.Errorf("got %v, want a conflict that says %q", err, why)
	}
}

func (r *commandRig) want(delivered ...string) {
	r.t.Helper()
	if !slices.Equal(r.delivered, delivered) {
		r.t.Errorf("delivered are %v, want %v", r.delivered, delivered)
	}
}

func TestCommandNear(t *testing.T) {
	for _, cancel := range []bool{true, false} {
		t.Run(fmt.Sprint("cancel ", cancel), func(t *testing.T) {
			r := newCommandRig(t)
			r.fail("a", 0)
			r.pass(time.Second)
			c, result := newTestCommand(cancel)
			r.blocked[effCheckpoint] = true
			if found, err := r.s.commandReport(r.now, 1, c); !found || err != nil {
				t.Fatal(found, err)
			}
			r.step()
			r.pass(time.Second)
			if *result != "" {
				t.Errorf("the result %s was told before a checkpoint had it", *result)
			}
			r.unblock()
			r.pass(time.Minute)
			last := r.outcomes[len(r.outcomes)-1]
			if last.Actor != "ann@desk" || last.Note != "known bug" || last.Kind != *result {
				t.Errorf("the last outcome is %+v, the result %s", last, *result)
			}
			if cancel {
				r.want()
			} else {
				r.want("a")
			}
			if r.s.near != 0 || r.s.bytes != 0 || len(r.s.waiting) != 0 {
				t.Errorf("the shard keeps %d reports, %d bytes, %d items", r.s.near, r.s.bytes, len(r.s.waiting))
			}
			if found, err := r.s.commandReport(r.now, 1, c); found || err != nil {
				t.Errorf("it is found again: %v, %v", found, err)
			}
		})
	}
}

// Of three entries in one page one is cancelled and one tried now; the next owner, and the
// one after the page was read, does neither again.
func TestCommandFar(t *testing.T) {
	r := newCommandRig(t)
	for _, id := range []string{"a", "b", "c"} {
		r.fail(id, 100)
	}
	r.pass(5 * time.Second)
	if len(r.ledger) != 1 {
		t.Fatalf("%d messages in the ledger, want one page", len(r.ledger))
	}
	cancelled, tried := r.command("a", true), r.command("b", false)
	r.pass(time.Second)
	if *cancelled != schemas.KindDiscarded || *tried != schemas.KindRedelivered {
		t.Errorf("results %q and %q", *cancelled, *tried)
	}
	r.want("b")
	r.refused("a", true, "settled already")
	r.refused("b", false, "settled already")
	if far := r.s.stats().Far; far != 1 {
		t.Errorf("%d are said to wait, want 1", far)
	}
	r.own()
	r.pass(99 * time.Second)
	r.want("b", "c")
	r.own()
	r.pass(3 * time.Minute)
	r.want("b", "c")
	if len(r.ledger) != 0 {
		t.Errorf("%d messages stay in the ledger", len(r.ledger))
	}
	r.fail("d", 0)
	r.pass(20 * time.Second)
	if n := r.s.ahead.size(); n != 0 || strings.Contains(string(r.checkpoint), "ahead") {
		t.Errorf("%d entries are kept as settled: %s", n, r.checkpoint)
	}
}

// The slot is read while the entry that was tried ahead of it finds its breaker open and is
// on its way to the held lane.
func TestCommandMeetsItsSlot(t *testing.T) {
	r := newCommandRig(t)
	r.fail("a", 100)
	r.pass(95 * time.Second)
	r.operate("a", strategies.ForcedOpen)
	r.blocked[effPublish] = true
	tried := r.command("a", false)
	r.pass(2 * time.Second)
	if len(r.waiting) == 0 || r.s.ahead.taken[r.ledgerSpot("a")] == nil {
		t.Fatalf("the command is not under way: %d publishes", len(r.waiting))
	}
	r.unblock()
	r.pass(20 * time.Second)
	if *tried != schemas.KindHeld || len(r.ledger) != 1 || !strings.Contains(r.ledger[0].Subject, ".held.") {
		t.Errorf("result %q, %d messages in the ledger", *tried, len(r.ledger))
	}
	r.operate("a", strategies.Closed)
	r.pass(time.Second)
	r.want("a")
	if len(r.ledger) != 0 {
		t.Errorf("%d messages stay in the ledger", len(r.ledger))
	}
}

func (r *commandRig) ledgerSpot(id string) spot {
	_, e := r.entry(id)
	return e.item.spot()
}

// An append that was given up and repeated arrives after what it stored the second time was
// cancelled and purged.
func TestCancelledTwinArrivesLate(t *testing.T) {
	r := newCommandRig(t)
	r.fail("a", 100)
	r.pass(time.Second)
	late := r.ledger[0]
	r.command("a", true)
	r.pass(101 * time.Second)
	if len(r.ledger) != 0 {
		t.Fatal("the slot was not purged")
	}
	r.sequence++
	late.Sequence = r.sequence
	r.ledger = append(r.ledger, late)
	r.s.announced(r.now, late.Subject, late.Sequence, 1)
	r.pass(10 * time.Second)
	r.want()
	if len(r.ledger) != 0 {
		t.Errorf("the twin stays in the ledger")
	}
}

// operate has the breaker of a subject be in a state.
func (r *commandRig) operate(id string, to strategies.State) {
	r.s.operate(r.now, breakerKey{"all", "orders." + id}, strategies.Operation{To: to})
	r.step()
}

// What was read before its lane was purged and made anew is not acted on.
func TestCommandForWhatIsGone(t *testing.T) {
	r := newCommandRig(t)
	r.fail("a", 100)
	r.pass(time.Second)
	lane, old := r.entry("a")
	r.pass(102 * time.Second)
	r.want("a")
	c, _ := newTestCommand(false)
	wantConflict(t, r.s.commandEntry(r.now, lane, old, c), "not in the ledger any more")
	r.s.lane(r.now, lane).coming++ // something is being appended there again
	wantConflict(t, r.s.commandEntry(r.now, lane, old, c), "not in the ledger any more")
	r.want("a")
}

func TestCommandHeld(t *testing.T) {
	r := newCommandRig(t)
	r.operate("a", strategies.ForcedOpen)
	r.fail("a", 0)
	r.pass(11 * time.Second)
	if st := r.s.stats(); st.Held != 1 {
		t.Fatalf("%d are held, want 1: %+v", st.Held, st)
	}
	r.refused("a", false, "breaker orders.a holds it: recoveryd breaker probe")
	cancelled := r.command("a", true)
	r.pass(time.Second)
	if st := r.s.stats(); *cancelled != schemas.KindDiscarded || st.Held != 0 {
		t.Errorf("result %q, %d are said to be held", *cancelled, st.Held)
	}
	r.operate("a", strategies.Closed)
	r.pass(time.Minute)
	r.want()
	if len(r.ledger) != 0 {
		t.Errorf("%d messages stay in the ledger", len(r.ledger))
	}
}

// A probe whose target is full can be cancelled: its breaker does not wait for it.
func TestCancelledProbe(t *testing.T) {
	r := newCommandRig(t)
	r.operate("a", strategies.ForcedOpen)
	r.fail("a", 0)
	r.pass(11 * time.Second)
	r.full = true
	r.operate("a", strategies.HalfOpen)
	r.pass(time.Second)
	out := func() int {
		n, _ := r.s.set("all").Snapshot("orders.a")
		return len(n.Leases)
	}
	if out() != 1 {
		t.Fatalf("%d probes are out, want 1", out())
	}
	cancelled := r.command("a", true)
	r.pass(time.Second)
	if *cancelled != schemas.KindDiscarded || out() != 0 {
		t.Errorf("result %q, %d probes are out", *cancelled, out())
	}
	r.pass(time.Minute)
	if len(r.ledger) != 0 {
		t.Errorf("%d messages stay in the ledger", len(r.ledger))
	}
	r.want()
}

// What waits because its target is full can be cancelled.
func TestCommandWhileTheTargetIsFull(t *testing.T) {
	r := newCommandRig(t)
	r.full = true
	r.fail("a", 0)
	r.pass(11 * time.Second)
	c, result := newTestCommand(true)
	if found, err := r.s.commandReport(r.now, 1, c); !found || err != nil {
		t.Fatal(found, err)
	}
	r.step()
	r.pass(time.Second)
	if *result != schemas.KindDiscarded {
		t.Errorf("result %q", *result)
	}
	r.full = false
	r.pass(time.Minute)
	r.want()
	for _, o := range r.outcomes {
		if o.Kind != schemas.KindDiscarded {
			t.Errorf("outcome %s", o.Kind)
		}
	}
}

func TestCommandRefused(t *testing.T) {
	r := newCommandRig(t)
	r.fail("a", 100)
	r.fail("b", 0)
	r.pass(time.Second)
	c, _ := newTestCommand(true)
	lane, e := r.entry("a")
	unreadable := *e
	unreadable.err = errors.New("litter")
	wantConflict(t, r.s.commandEntry(r.now, lane, &unreadable, c), "it becomes a dead letter")
	wantConflict(t, r.s.commandEntry(r.now, simSubjects.Due(0, 1), e, c), "not in the ledger any more")
	for n := range uint64(maxAhead) {
		r.s.ahead.add(aheadEntry{Source: 1000 + n, ID: "x", At: r.now})
	}
	wantConflict(t, r.s.commandEntry(r.now, lane, e, c), "shard 0 keeps 500 entries")
	_, err := r.s.commandReport(r.now, 2, c)
	wantConflict(t, err, "shard 0 keeps 500 entries")
	r.pass(cancelledFor + time.Second) // nobody asks for them any more
	r.want("b", "a")
	r.fail("c", 0)
	c, _ = newTestCommand(true)
	if found, err := r.s.commandReport(r.now, r.sequence, c); !found || err != nil {
		t.Errorf("there is no room: %v, %v", found, err)
	}
}
