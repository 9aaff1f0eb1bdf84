package handlers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// States of work that waits.
const (
	stateNear   = "near"
	stateFar    = "far"
	stateHeld   = "held"
	stateParked = "parked"
)

// laneView is what listing needs to know of a lane.
type laneView struct {
	shard   int
	subject string
	state   string
	second  int64
	length  int
	ahead   aheadBook
}

// waitingView is what one shard holds, at one moment.
type waitingView struct {
	near  []schemas.WaitingItem
	lanes []laneView
}

// view copies what waits in memory, at most limit items, and names the lanes.
func (s *shard) viewWaiting(keep func(*schemas.WaitingItem) bool, limit int) waitingView {
	var v waitingView
	for it := range s.nearItems() {
		w := waitingItem(s.index, stateNear, &it.work, it.step, it.due, it.attempt, it.policy)
		w.Handle = fmt.Sprintf("%d:f%d", s.index, it.source)
		w.Key = it.key
		if keep(&w) {
			v.near = append(v.near, w)
		}
	}
	slices.SortFunc(v.near, func(a, b schemas.WaitingItem) int { return cmp.Compare(a.DueAt, b.DueAt) })
	v.near = v.near[:min(limit, len(v.near))]
	ahead := newAheadBook(s.ahead.sorted()) // a copy
	for _, l := range s.lanes {
		if n := l.length(); n > 0 {
			v.lanes = append(v.lanes, laneView{s.index, l.subject, laneState(l.kind), l.second, n, ahead})
		}
	}
	return v
}

// nearItems are those that wait in memory, and are in no lane.
func (s *shard) nearItems() iter.Seq[*item] {
	return func(yield func(*item) bool) {
		for _, w := range s.waiting {
			near := func(it *item) bool { return it.onlyTell || it.lane != nil || yield(it) }
			if !near(w.it) {
				return
			}
			for _, mate := range w.it.page.mates {
				if !near(mate) {
					return
				}
			}
		}
	}
}

func laneState(kind string) string {
	switch kind {
	case schemas.LaneHeld:
		return stateHeld
	case schemas.LaneDead:
		return stateParked
	}
	return stateFar
}

func waitingItem(shard int, state string, w *schemas.Work, step schemas.Step, due time.Time, attempt int, p *Policy) schemas.WaitingItem {
	i := schemas.WaitingItem{
		State: state, ID: w.ID, Subject: schemas.Readable(w.Subject), Step: string(step), Attempt: attempt, DueAt: stamp(due),
		Error: w.Error, Class: w.Class, FirstFailed: stamp(w.FirstFailedAt), Size: len(w.Body), Policy: orphan,
	}
	if p != nil {
		i.Policy, i.MaxAttempts = p.Name, p.Retry.MaxAttempts
	}
	return i
}

func (e *Engine) entryItem(l laneView, m *ledgerEntry) schemas.WaitingItem {
	handle := fmt.Sprintf("%d:%s", l.shard, m.place)
	if m.err != nil {
		return schemas.WaitingItem{Handle: handle, State: l.state, Subject: m.Subject, Error: m.err.Error(), Size: len(m.Body)}
	}
	i := waitingItem(l.shard, l.state, &m.Work, m.Step, m.Due, m.Entry.Attempt, e.Policies().For(m.Subject))
	i.Handle, i.HeldAt, i.Key = handle, stamp(m.HeldAt), m.Key
	return i
}

func (e *Engine) listWaiting(ctx context.Context, q schemas.WaitingRequest) (schemas.WaitingReply, error) {
	if q.Limit == 0 {
		q.Limit = 50
	}
	if q.Limit < 1 || q.Limit > 1000 {
		return schemas.WaitingReply{}, badRequest("limit: %d is not between 1 and 1000", q.Limit)
	}
	if q.Subject != "" {
		if err := schemas.CheckPattern(q.Subject); err != nil {
			return schemas.WaitingReply{}, badRequest("subject: %v", err)
		}
	}
	if !slices.Contains([]string{"", stateNear, stateFar, stateHeld, stateParked}, q.State) {
		return schemas.WaitingReply{}, badRequest("state: %q is none of near, far, held, parked", q.State)
	}
	keep := func(i *schemas.WaitingItem) bool {
		return (q.Subject == "" || schemas.Match(q.Subject, i.Subject)) && (q.Policy == "" || q.Policy == i.Policy)
	}
	reply := schemas.WaitingReply{Items: []schemas.WaitingItem{}}
	var lanes []laneView
	for _, l := range e.running() {
		v, err := inShard(ctx, l, func(s *shard, _ time.Time) waitingView { return s.viewWaiting(keep, q.Limit+1) })
		if err != nil {
			return reply, err
		}
		if q.State == "" || q.State == stateNear {
			reply.Items = append(reply.Items, v.near...)
		}
		lanes = append(lanes, v.lanes...)
	}
	slices.SortFunc(reply.Items, func(a, b schemas.WaitingItem) int { return cmp.Compare(a.DueAt, b.DueAt) })
	reply.Total = e.totalWaiting(q.State)
	slices.SortFunc(lanes, func(a, b laneView) int {
		return cmp.Or(cmp.Compare(a.state, b.state), cmp.Compare(a.second, b.second), cmp.Compare(a.subject, b.subject))
	})
	lanes = slices.DeleteFunc(lanes, func(l laneView) bool { return q.State != "" && q.State != l.state })
	err := e.readLanes(ctx, lanes, func(l laneView, m *ledgerEntry) bool {
		if i := e.entryItem(l, m); keep(&i) {
			reply.Items = append(reply.Items, i)
		}
		return len(reply.Items) <= q.Limit
	})
	reply.More = len(reply.Items) > q.Limit || ctx.Err() != nil
	reply.Items = reply.Items[:min(q.Limit, len(reply.Items))]
	return reply, err
}

func (e *Engine) totalWaiting(state string) int64 {
	var n int64
	for _, st := range e.Stats() {
		for _, part := range []struct {
			state string
			n     int64
		}{{stateNear, int64(st.Near)}, {stateFar, st.Far}, {stateHeld, st.Held}, {stateParked, st.DeadWait}} {
			if state == "" || state == part.state {
				n += part.n
			}
		}
	}
	return n
}

// ledgerEntry is one entry, with its place in the ledger as handles name it: the sequence
// of its message, and which one of its page it is.
type ledgerEntry struct {
	schemas.Entry
	spot  spot
	place string
	err   error // why it cannot be read; then there is no more than the subject of its lane and the body
}

// settled says whether an entry that stands in a lane does not wait any more.
func (l *laneView) settled(m *ledgerEntry) bool { return l.ahead.has(m.spot, m.Source, m.ID) }

// entriesOf are those of a message of the ledger.
func entriesOf(m *schemas.Stored) []ledgerEntry {
	place := strconv.FormatUint(m.Sequence, 10)
	entries, err := schemas.ParseEntries(m)
	if err != nil {
		return []ledgerEntry{{Entry: schemas.Entry{Work: schemas.Work{Subject: m.Subject, Body: m.Body}}, spot: spot{seq: m.Sequence}, place: place, err: err}}
	}
	all := make([]ledgerEntry, len(entries))
	for i, e := range entries {
		all[i] = ledgerEntry{Entry: e, spot: spot{m.Sequence, uint16(i)}, place: place}
		if len(entries) > 1 {
			all[i].place = all[i].spot.String()
		}
	}
	return all
}

// readLanes reads lanes in order until each says stop. What a command has settled already is
// passed over.
func (e *Engine) readLanes(ctx context.Context, lanes []laneView, each func(laneView, *ledgerEntry) bool) error {
	const page = 200
	for _, l := range lanes {
		for from := uint64(1); ; {
			stored, err := e.bus.ReadLane(ctx, l.subject, from, page, 1<<20)
			if err != nil {
				return fmt.Errorf("read %s: %w", l.subject, err)
			}
			for i := range stored {
				from = stored[i].Sequence + 1
				entries := entriesOf(&stored[i])
				for j := range entries {
					if !l.settled(&entries[j]) && !each(l, &entries[j]) {
						return nil
					}
				}
			}
			if len(stored) == 0 {
				break
			}
		}
	}
	return nil
}

// handle names a piece of work that waits: by its id, by its place in the ledger, or by the
// sequence of its report.
type handle struct {
	text   string
	id     string
	shard  int
	report uint64
	spot   spot
}

var handleForm = regexp.MustCompile(`^(\d{1,3}):(?:f(\d{1,20})|(\d{1,20}(?:\.\d{1,3})?))$`)

// parseHandle reads <shard>:<sequence>, <shard>:<sequence>.<number in its page>, or
// <shard>:f<sequence> of a report, unless there is an id.
func parseHandle(id, text string) (h handle, err error) {
	if (id == "") == (text == "") {
		return h, badRequest("give either id or handle")
	}
	if h.id = id; id != "" {
		return h, nil
	}
	m := handleForm.FindStringSubmatch(text)
	if m == nil {
		return h, badRequest("handle: %q is not <shard>:<sequence> as ls prints it", text)
	}
	h.text = text
	h.shard, _ = strconv.Atoi(m[1]) // three digits at most
	if m[2] != "" {
		h.report, err = strconv.ParseUint(m[2], 10, 64)
	} else {
		h.spot, err = parseSpot(m[3])
	}
	if err != nil {
		return h, badRequest("handle: %q: %v", text, err)
	}
	return h, nil
}

// found is a piece of work that waits, and where.
type found struct {
	item   schemas.WaitingItem
	loop   *loop
	report uint64 // in memory, by the sequence of its report; 0 = in the ledger
	spot   spot
}

// showWaiting finds one item by its handle, or by its id among everything that waits.
func (e *Engine) showWaiting(ctx context.Context, q schemas.HandleRequest) (schemas.WaitingItem, error) {
	h, err := parseHandle(q.ID, q.Handle)
	if err != nil {
		return schemas.WaitingItem{}, err
	}
	f, err := e.findWaiting(ctx, h)
	return f.item, err
}

// findWaiting looks in memory first, then in the ledger.
func (e *Engine) findWaiting(ctx context.Context, h handle) (found, error) {
	var lanes []laneView
	owners := map[int]*loop{}
	for _, l := range e.running() {
		if h.id == "" && l.shard.index != h.shard {
			continue
		}
		near, err := inShard(ctx, l, func(s *shard, _ time.Time) *found { return s.find(h) })
		if err != nil {
			return found{}, err
		}
		if near != nil {
			near.loop = l
			return *near, nil
		}
		v, err := inShard(ctx, l, func(s *shard, _ time.Time) waitingView {
			return s.viewWaiting(func(*schemas.WaitingItem) bool { return false }, 0)
		})
		if err != nil {
			return found{}, err
		}
		if h.spot.seq != 0 {
			return e.findEntry(ctx, l, v.lanes, h)
		}
		lanes = append(lanes, v.lanes...)
		owners[l.shard.index] = l
	}
	var hit found
	err := e.readLanes(ctx, lanes, func(l laneView, m *ledgerEntry) bool {
		// A report's handle was printed while the work was near.
		if h.id != "" && m.ID == h.id || h.report != 0 && m.Source == h.report {
			hit = e.foundEntry(owners[l.shard], l, m)
		}
		return hit.loop == nil
	})
	if err == nil && hit.loop == nil {
		err = h.missing()
	}
	return hit, err
}

// findEntry looks up an entry by its place.
func (e *Engine) findEntry(ctx context.Context, loop *loop, lanes []laneView, h handle) (found, error) {
	m, err := e.bus.ReadEntry(ctx, h.shard, h.spot.seq)
	if errors.Is(err, schemas.ErrNotFound) {
		return found{}, h.missing()
	}
	if err != nil {
		return found{}, err
	}
	at := slices.IndexFunc(lanes, func(l laneView) bool { return l.subject == m.Subject })
	entries := entriesOf(&m)
	if at < 0 || int(h.spot.part) >= len(entries) || lanes[at].settled(&entries[h.spot.part]) {
		return found{}, h.missing()
	}
	return e.foundEntry(loop, lanes[at], &entries[h.spot.part]), nil
}

func (e *Engine) foundEntry(loop *loop, l laneView, m *ledgerEntry) found {
	i := e.entryItem(l, m)
	i.History, i.Headers, i.Body = m.History, m.Header, m.Body
	return found{item: i, loop: loop, spot: m.spot}
}

func (h handle) missing() error {
	what := "id"
	if h.text != "" {
		what = "handle"
	}
	return notFound("nothing that waits here has the %s %q: it may have been delivered already (recoveryd outcomes --id), or be a dead letter (recoveryd dlq ls --id)", what, h.text+h.id)
}

// find looks for work in memory.
func (s *shard) find(h handle) *found {
	for it := range s.nearItems() {
		if !(h.id != "" && it.work.ID == h.id || h.report != 0 && it.source == h.report) {
			continue
		}
		w := waitingItem(s.index, stateNear, &it.work, it.step, it.due, it.attempt, it.policy)
		w.Handle, w.Key = fmt.Sprintf("%d:f%d", s.index, it.source), it.key
		w.History, w.Headers, w.Body = it.work.History, it.work.Header, it.work.Body
		return &found{item: w, report: it.source}
	}
	return nil
}
