package chaos

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/schemas"
)

// Places where a piece of work can end.
const (
	placeTarget = "target" // a worker succeeded with it
	placeSpare  = "spare"  // it went to a fallback
	placeDead   = "dead"   // it is a dead letter
)

// work is one piece of work whose failure was reported, as reporters and workers know it.
type work struct {
	subject  string
	notUntil map[int]time.Time // by attempt: it must not be stored before
	verdicts map[int]bool      // by delivery: whether the worker succeeded
	failed   int               // reports of failures that have their PubAck
	places   map[string]bool
}

// account is what must have happened to all work.
type account struct {
	mu    sync.Mutex
	works map[string]*work
	open  int           // not in any place yet
	over  bool          // nothing new is reported
	done  chan struct{} // closed when all is in its place and nothing new comes
}

func newAccount() *account { return &account{works: map[string]*work{}, done: make(chan struct{})} }

// reporting takes note of a report that is about to be published.
func (a *account) reporting(id, subject string, attempt int, delay time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.works[id]
	if w == nil {
		w = &work{subject: subject, notUntil: map[int]time.Time{}, verdicts: map[int]bool{}, places: map[string]bool{}}
		a.works[id] = w
		a.open++
	}
	if _, again := w.notUntil[attempt+1]; !again {
		w.notUntil[attempt+1] = time.Now().Add(delay)
	}
}

// reported takes note of the PubAck of a report.
func (a *account) reported(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.works[id].failed++
}

// verdict is the worker's, the same each time it gets the same delivery.
func (a *account) verdict(id string, delivery int, judge func() bool) (ok, again, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.works[id]
	if w == nil {
		return false, false, false
	}
	ok, again = w.verdicts[delivery]
	if !again {
		ok = judge()
		w.verdicts[delivery] = ok
	}
	return ok, again, true
}

// placed takes note that work is where it ends.
func (a *account) placed(id, place string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.works[id]
	if w == nil {
		return
	}
	if len(w.places) == 0 {
		a.open--
	}
	w.places[place] = true
	a.closeIfDone()
}

// end says that nothing new is reported.
func (a *account) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	a.closeIfDone()
}

func (a *account) closeIfDone() {
	select {
	case <-a.done:
	default:
		if a.over && a.open == 0 {
			close(a.done)
		}
	}
}

// Report is what one run found.
type Report struct {
	Seed             uint64
	Lasted           time.Duration
	Faults           map[string]int
	Works            int // ids whose report has a PubAck
	Deliveries       int
	Placed           map[string]int
	Waiting          int // still visible in a stream of recoveryd when time was up
	Lost             int // in no place, and nowhere to be seen
	Astray           int // in more than one place, or with a broken chain of attempts
	Early            int
	Excess           int           // attempts above the maximum
	TargetDuplicates int           // deliveries stored twice
	TerminalTwice    int           // deliveries with two different terminal outcomes
	OutcomeRepeats   int           // the same outcome stored twice
	Alarms           int           // lines of "this must not happen" in the logs
	Latest           time.Duration // how late the latest delivery was that no breaker held
	P99              time.Duration
	Examples         []string
}

// OK says whether all promises were kept.
func (r *Report) OK() bool {
	return r.Lost+r.Astray+r.Early+r.Excess+r.TargetDuplicates+r.TerminalTwice+r.Waiting == 0
}

func (r *Report) example(format string, args ...any) {
	if len(r.Examples) < 12 {
		r.Examples = append(r.Examples, fmt.Sprintf(format, args...))
	}
}

// stored is what the streams hold of one piece of work at the end.
type stored struct {
	deliveries map[int]int // copies by delivery
	dead       int
	spare      int
	terminal   map[int]map[string]bool // kinds by delivery
	waiting    bool
}

// audit reads all streams and holds them against the account.
func (a *account) audit(ctx context.Context, i *installation, maxAttempts int, r *Report) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := map[string]*stored{}
	at := func(id string) *stored {
		s := all[id]
		if s == nil {
			s = &stored{deliveries: map[int]int{}, terminal: map[int]map[string]bool{}}
			all[id] = s
		}
		return s
	}
	var lateness []time.Duration
	id := func(m *jetstream.RawStreamMsg) string { return m.Header.Get(schemas.HeaderID) }
	reads := map[string]func(*jetstream.RawStreamMsg){
		"JOBS": func(m *jetstream.RawStreamMsg) {
			r.Deliveries++
			if late := a.delivery(at, m, maxAttempts, r); !guarded(m.Subject) {
				lateness = append(lateness, late)
			}
		},
		"SPARE":             func(m *jetstream.RawStreamMsg) { at(id(m)).spare++ },
		"RECOVERY_DEAD":     func(m *jetstream.RawStreamMsg) { at(id(m)).dead++ },
		"RECOVERY_FAILED":   func(m *jetstream.RawStreamMsg) { at(id(m)).waiting = true },
		"RECOVERY_OUTCOMES": func(m *jetstream.RawStreamMsg) { outcome(at, m, r) },
	}
	for i := range 2 { // however many shards there are
		reads[fmt.Sprintf("RECOVERY_LEDGER_%d", i)] = func(m *jetstream.RawStreamMsg) {
			entries, _ := schemas.ParseEntries(&schemas.Stored{Message: schemas.Message{Header: schemas.Header(m.Header), Body: m.Data}})
			for i := range entries {
				at(entries[i].ID).waiting = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(reads)) {
		if err := i.read(ctx, name, reads[name]); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
	for id, w := range a.works {
		w.check(id, at(id), r)
	}
	slices.Sort(lateness)
	if n := len(lateness); n > 0 {
		r.Latest, r.P99 = lateness[n-1], lateness[n*99/100]
	}
	return nil
}

// delivery takes one that is stored at the target, and returns how late it was.
func (a *account) delivery(at func(string) *stored, m *jetstream.RawStreamMsg, maxAttempts int, r *Report) (late time.Duration) {
	id := m.Header.Get(schemas.HeaderID)
	attempt, _ := strconv.Atoi(m.Header.Get(schemas.HeaderAttempt))
	number, _ := strconv.Atoi(m.Header.Get(schemas.HeaderDelivery))
	s := at(id)
	if s.deliveries[number]++; s.deliveries[number] > 1 {
		r.TargetDuplicates++
		r.example("%s: delivery %d is stored %d times, the last at %s with sequence %d", id, number, s.deliveries[number], m.Time.Format(time.TimeOnly), m.Sequence)
		return 0
	}
	if attempt > maxAttempts {
		r.Excess++
		r.example("%s: attempt %d of at most %d", id, attempt, maxAttempts)
	}
	w := a.works[id]
	if w == nil {
		r.Astray++
		r.example("%s was never reported", id)
		return 0
	}
	late = m.Time.Sub(w.notUntil[attempt])
	if w.notUntil[attempt].IsZero() || late < 0 {
		r.Early++
		r.example("%s: attempt %d came %s early", id, attempt, -late)
	}
	return late
}

func outcome(at func(string) *stored, m *jetstream.RawStreamMsg, r *Report) {
	o, _, err := schemas.ParseOutcome(m.Data)
	if err != nil || o.ID == "" || !schemas.Terminal(o.Kind) {
		return // a change of a breaker, or on the way
	}
	s := at(o.ID)
	kinds := s.terminal[o.Delivery]
	if kinds == nil {
		kinds = map[string]bool{}
		s.terminal[o.Delivery] = kinds
	}
	if kinds[o.Kind] {
		r.OutcomeRepeats++
	}
	kinds[o.Kind] = true
	if len(kinds) == 2 {
		r.TerminalTwice++
		r.example("%s: delivery %d ended as %v", o.ID, o.Delivery, slices.Sorted(maps.Keys(kinds)))
	}
}

// check holds what the streams hold of one piece of work against what is known of it.
func (w *work) check(id string, s *stored, r *Report) {
	if w.failed == 0 {
		return // its report never got a PubAck
	}
	r.Works++
	succeeded := 0
	for _, ok := range w.verdicts {
		if ok {
			succeeded++
		}
	}
	places := 0
	for place, n := range map[string]int{placeTarget: succeeded, placeDead: s.dead, placeSpare: s.spare} {
		if n > 0 {
			places++
			r.Placed[place]++
		}
	}
	what := fmt.Sprintf("%s on %s: %d reports, deliveries %v, %d succeeded, %d dead, %d spare", id, w.subject, w.failed, s.deliveries, succeeded, s.dead, s.spare)
	switch {
	case places == 0 && s.waiting:
		r.Waiting++
		r.example("still waiting: %s", what)
	case places == 0:
		r.Lost++
		r.example("lost: %s", what)
	case places > 1 || s.dead > 1 || s.spare > 1 || succeeded > 1:
		r.Astray++
		r.example("in several places: %s", what)
	case len(s.deliveries) != len(w.verdicts):
		r.Astray++
		r.example("delivered but not worked on: %s", what)
	}
}
