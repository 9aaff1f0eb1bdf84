package integration

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

// patience is far longer than anything takes: a busy machine must not fail a test.
const patience = 2 * time.Minute

// record collects what comes, and lets a test wait until what it needs is there.
type record[T any] struct {
	mu      sync.Mutex
	all     []T
	changed chan struct{}
}

func newRecord[T any]() *record[T] { return &record[T]{changed: make(chan struct{})} }

func (r *record[T]) add(v T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, v)
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *record[T]) now() ([]T, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clip(r.all), r.changed
}

// list is what has come so far.
func (r *record[T]) list() []T {
	all, _ := r.now()
	return all
}

// where picks what has come so far and fits.
func (r *record[T]) where(fits func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(r.list()), func(v T) bool { return !fits(v) })
}

// until waits until enough has come, and fails the test if it does not.
func (r *record[T]) until(t *testing.T, what string, enough func([]T) bool) []T {
	t.Helper()
	late := time.After(patience)
	for {
		all, changed := r.now()
		if enough(all) {
			return all
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%s: not within %s, after %d", what, patience, len(all))
		}
	}
}

// atLeast waits for n.
func (r *record[T]) atLeast(t *testing.T, what string, n int) []T {
	t.Helper()
	return r.until(t, what, func(all []T) bool { return len(all) >= n })
}

// watch collects the messages of a stream.
func (r *rig) watch(stream string) *record[jetstream.Msg] {
	r.t.Helper()
	all := newRecord[jetstream.Msg]()
	r.consume(stream, all.add)
	return all
}

// told is an outcome with the subject it was published on.
type told struct {
	schemas.Outcome
	on string
}

// watchOutcomes collects the outcomes and the changes of breakers, as subscribers see them.
func (r *rig) watchOutcomes() (*record[told], *record[schemas.BreakerEvent]) {
	r.t.Helper()
	outcomes, breakers := newRecord[told](), newRecord[schemas.BreakerEvent]()
	r.consume("RECOVERY_OUTCOMES", func(m jetstream.Msg) {
		if strings.HasPrefix(m.Subject(), subjects.Prefix+".breakers.") {
			b, _, err := schemas.ParseBreakerEvent(m.Data())
			if err != nil {
				r.t.Errorf("breaker event on %s: %v", m.Subject(), err)
			}
			breakers.add(b)
			return
		}
		o, _, err := schemas.ParseOutcome(m.Data())
		if err != nil {
			r.t.Errorf("outcome on %s: %v", m.Subject(), err)
		}
		outcomes.add(told{o, m.Subject()})
	})
	return outcomes, breakers
}

// of picks the outcomes of some work, of one kind if a kind is given.
func of(all []told, id, kind string) []told {
	return slices.DeleteFunc(slices.Clone(all), func(o told) bool { return o.ID != id || kind != "" && o.Kind != kind })
}

// outcome waits for the first outcome of a kind of some work.
func outcome(t *testing.T, all *record[told], id, kind string) told {
	t.Helper()
	got := all.until(t, kind+" of "+id, func(all []told) bool { return len(of(all, id, kind)) > 0 })
	return of(got, id, kind)[0]
}

// letters reads all dead letters.
func (r *rig) letters() []schemas.DeadLetter {
	r.t.Helper()
	var all []schemas.DeadLetter
	for from := uint64(1); ; {
		stored, err := r.bus.ReadDead(r.t.Context(), from, 500, "")
		if err != nil {
			r.t.Fatal(err)
		}
		for i := range stored {
			letter, err := schemas.ParseDeadLetter(&stored[i])
			if err != nil {
				r.t.Errorf("letter on %s: %v", stored[i].Subject, err)
			}
			all = append(all, letter)
			from = stored[i].Sequence + 1
		}
		if len(stored) == 0 {
			return all
		}
	}
}

// letterOf is the only dead letter of some work.
func (r *rig) letterOf(id string) schemas.DeadLetter {
	r.t.Helper()
	all := slices.DeleteFunc(r.letters(), func(l schemas.DeadLetter) bool { return l.ID != id })
	if len(all) != 1 {
		r.t.Fatalf("%d letters of %s, want 1", len(all), id)
	}
	return all[0]
}

// stored is how many messages a stream holds.
func (r *rig) stored(stream string) uint64 {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), stream)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// inLedger is how many entries the streams of all shards hold.
func (r *rig) inLedger() (n uint64) {
	r.t.Helper()
	for i := range min(r.bus.Partitions(), 2) {
		n += r.stored(fmt.Sprintf("RECOVERY_LEDGER_%d", i))
	}
	return n
}

// settled waits until every report is settled and removed, and nothing is left in the ledger.
func (r *rig) settled() {
	r.t.Helper()
	eventually(r.t, "no report and no ledger entry is left", func() bool {
		return r.stored("RECOVERY_FAILED") == 0 && r.inLedger() == 0
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == handlers.EventAlarm {
			r.t.Errorf("alarm: %s %s: %v", e.Op, e.Subject, e.Err)
		}
	}
}

// eventually looks a few times a second at what no event tells.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	late := time.After(patience)
	for !so() {
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// witness sees everything that anybody publishes in the account.
type witness struct {
	mu   sync.Mutex
	seen map[string]int
	nc   *nats.Conn
}

func (r *rig) witness() *witness {
	r.t.Helper()
	w := &witness{seen: map[string]int{}, nc: connect(r.t, r.server.URL())}
	sub, err := w.nc.Subscribe(">", func(m *nats.Msg) {
		if strings.HasPrefix(m.Reply, "$JS.ACK.") {
			return // a stream's delivery to an inbox, shown under the subject it was stored with
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen[m.Subject]++
	})
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err == nil {
		err = w.nc.Flush()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return w
}

// count is how often something was published on a subject.
func (w *witness) count(subject string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[subject]
}

// own is where recoveryd, the test and the server themselves publish all the time.
var own = []string{
	"recovery.failed.>", "recovery.succeeded.>", "recovery.ledger.*.>", "recovery.outcomes.>", "recovery.breakers.>", "recovery.dead.*.>",
	"$KV.RECOVERY_STATE.>", "$JS.ACK.RECOVERY_SUCCEEDED.>", "$JS.FC.>", "$JS.EVENT.>",
	"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*",
	"$JS.API.STREAM.MSG.GET.*", "$JS.API.STREAM.MSG.DELETE.*", "$JS.API.STREAM.PURGE.*",
	"$JS.API.DIRECT.GET.>", "$JS.API.CONSUMER.>",
}

// strangers are the subjects on which something was published that should not be.
func (w *witness) strangers(allowed ...string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []string
	for subject := range w.seen {
		isInbox := strings.HasPrefix(subject, "_INBOX.") && strings.Count(subject, ".") >= 1 && len(subject) > 20
		fits := func(pattern string) bool { return schemas.Match(pattern, subject) }
		if !isInbox && !slices.ContainsFunc(own, fits) && !slices.ContainsFunc(allowed, fits) {
			found = append(found, subject)
		}
	}
	slices.Sort(found)
	return found
}
