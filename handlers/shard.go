package handlers

import (
	"fmt"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// shardConfig is what a shard is told once.
type shardConfig struct {
	index    int
	shards   int
	subjects schemas.Subjects
	sealer   *schemas.Sealer
	near     time.Duration // waits up to this stay in memory, and their reports in the stream
	memory   int64         // bytes that items may take
	maxNear  int           // reports that may wait in memory
	inflight int           // publishes without an answer
	sparse   uint64        // messages of a slot are looked up by their sequences if they are so far apart on average
	view     *view
}

// shard owns one part of the failures and of the ledger. It is a pure state machine: its
// methods take what happened and the time (the server's clock), change the state and leave
// effects in out. It reads no clock, does no I/O and is used by one goroutine.
type shard struct {
	shardConfig
	policies *Policies
	cache    map[string]*Policy // by subject; nil = none serves it

	waiting  waiting
	bySource map[uint64]*item // in memory, by the sequence of their report
	bytes    int64
	reserved int64 // bytes that reads of the ledger may bring, over all lanes
	flying   int   // publishes without an answer
	behind   bool  // something is due and must wait until one has its answer
	crowded  bool  // a slot cannot be read for want of memory
	near     int   // reports that are not settled

	intake checkpoint

	lanes    map[string]*lane // by subject
	slots    calendar         // not yet near
	slotRead time.Time        // when one of them became near
	wanting  []*lane          // lanes to be read as soon as there is room, slots in order
	pages    map[int64]*item  // by slot, the first item of the page that others may still join
	held     map[breakerKey]*lane
	unnamed  int   // held lanes whose key is not known yet
	unseen   int64 // entries of inherited pages besides the first of each, until they are read

	ahead    aheadBook
	commands []*command // that are settled, but not in a checkpoint

	following following
	inherited uint64 // last sequence when the shard was taken over
	forgotten uint64 // highest sequence that was read of a lane that was forgotten
	known     int    // sequences that all lanes know

	sets     map[string]*strategies.BreakerSet
	dirty    []breakerKey // breakers to look at before the step ends
	evictAt  time.Time    // when it is worth looking again for what can leave memory
	records  map[breakerKey]*stateRecord
	targets  map[string]*target
	acks     *ackBook
	causes   causeBook
	faults   map[string]string // what is wrong now, by operation
	deadFull bool
	expiring bool // some policy bounds how long messages may be held

	stopping bool
	out      []effect
	spare    []effect
}

func newShard(c shardConfig, p *Policies) *shard {
	s := &shard{
		shardConfig: c,
		bySource:    map[uint64]*item{},
		lanes:       map[string]*lane{},
		ahead:       newAheadBook(nil),
		pages:       map[int64]*item{},
		held:        map[breakerKey]*lane{},
		sets:        map[string]*strategies.BreakerSet{},
		records:     map[breakerKey]*stateRecord{},
		targets:     map[string]*target{},
		acks:        newAckBook(),
		causes:      causeBook{},
		faults:      map[string]string{},
	}
	s.reload(p)
	return s
}

// reload takes new policies. Work that was decided on keeps its decision; breakers keep
// their state.
func (s *shard) reload(p *Policies) {
	s.policies = p
	s.cache = map[string]*Policy{}
	s.expiring = false
	for _, policy := range p.All() {
		s.expiring = s.expiring || policy.HeldMaxAge > 0
		if set := s.sets[policy.Name]; set != nil {
			set.Configure(s.share(policy.Breaker))
		}
	}
}

// share is the part of a policy's breaker limits that falls to one shard.
func (s *shard) share(c strategies.BreakerConfig) strategies.BreakerConfig {
	c.MaxKeys = max(1, c.MaxKeys/s.shards)
	return c
}

// maxCache bounds the subjects whose policy is remembered.
const maxCache = 10_000

func (s *shard) policyFor(subject string) *Policy {
	p, ok := s.cache[subject]
	if !ok {
		p = s.policies.For(subject)
		if len(s.cache) >= maxCache {
			clear(s.cache)
		}
		s.cache[subject] = p
	}
	return p
}

// effects takes what the last steps want done. It is valid until the call after the next:
// two buffers take turns.
func (s *shard) effects() []effect {
	out := s.out
	clear(s.spare)
	s.out, s.spare = s.spare[:0], out
	return out
}

func (s *shard) emit(e effect) { s.out = append(s.out, e) }

func (s *shard) observe(e Event) {
	e.Shard = s.index
	s.emit(effect{kind: effObserve, event: e})
}

// fault says that something went wrong with an item and is being tried again.
func (s *shard) fault(now time.Time, op string, it *item, err error) {
	s.observe(Event{Kind: EventFault, At: now, Op: op, Subject: it.work.Subject, ID: it.work.ID, Policy: it.policyName(), Err: err})
}

func (s *shard) alarm(now time.Time, op, subject string, err error) {
	s.observe(Event{Kind: EventAlarm, At: now, Op: op, Subject: subject, Err: err})
}

// failure takes a report from a part of the intake stream. An error means that what is
// known of the stream is not so any more.
func (s *shard) failure(now time.Time, part int, f *schemas.Failure) error {
	book := s.intake.books[part]
	known := book.lost
	fresh, err := book.arrive(f.Sequence, f.At)
	if err != nil && !known {
		s.alarm(now, "read failures", f.Intake, err)
	}
	if !fresh {
		return err
	}
	if it := s.bySource[f.Sequence]; it != nil && it.work.LastFailedAt.Equal(f.LastFailedAt) {
		// A former owner moved it to the ledger, and its entry is being handled already.
		s.settled(now, book, f.Sequence)
		s.observe(Event{Kind: EventDuplicate, At: now, Policy: it.policyName(), Subject: it.work.Subject, ID: it.work.ID})
		return nil
	}
	p := s.policyFor(f.Subject)
	if f.Sealed && !delivers(p, &f.Work, f.Intake) {
		f.Unseal()
		p = s.policyFor(f.Subject)
	}
	it := &item{
		work: f.Work, policy: p, book: book, source: f.Sequence, index: -1, next: f.Fallback,
		number: f.Delivery + 1, faults: f.Faults, truncated: f.Truncated, kind: schemas.KindDead, due: f.At,
	}
	s.account(it)
	s.claim(it)
	s.near++
	s.admit(now, it, f)
	s.look(now)
	return nil
}

// admit decides what follows from a report.
func (s *shard) admit(now time.Time, it *item, f *schemas.Failure) {
	p := it.policy
	err := s.subjects.CheckTarget(f.Intake)
	if err == nil && p == nil {
		err = fmt.Errorf("no policy serves %q", f.Intake)
	}
	if err != nil {
		it.kind = schemas.KindRejected
		s.refuse(now, it, schemas.ReasonRefused, err)
		return
	}
	if f.Malformed != "" {
		s.refuse(now, it, schemas.ReasonMalformed, fmt.Errorf("%s", f.Malformed))
		return
	}
	if f.Attempt == schemas.LastAttempt {
		f.Attempt = p.Retry.MaxAttempts
		f.Delivery = max(f.Delivery, f.Attempt)
		it.work.Attempt, it.work.Delivery, it.number = f.Attempt, f.Delivery, f.Delivery+1
	}
	class := classify(p, f)
	it.work.Class = string(class)
	v := decide(p, f, class)
	it.step, it.due, it.attempt, it.reason = v.step, v.due, v.attempt, v.reason
	target := ""
	if f.Fallback != schemas.NoFallback {
		target = f.Intake
	}
	remember(&it.work, v.delay, target)
	it.key = breakerKeyOf(p, f)
	o := s.describe(now, it, v.delay)
	it.record = &schemas.Record{
		OccurredAt: f.OccurredAt.UnixNano(), At: f.At.UnixNano(), Generation: f.Generation,
		Class: string(class), Hint: int64(f.Hint), Probe: f.Probe,
	}
	if !p.Breaker.Disabled && s.subjects.Partition(it.key, s.shards) != s.index {
		s.start(now, it, moveOver)
		return
	}
	s.reported(now, it)
	s.count(now, it)
	s.proceed(now, it, o)
}

// breakerKeyOf is the key that a failure counts for: a fallback has a breaker of its own.
func breakerKeyOf(p *Policy, f *schemas.Failure) string {
	if f.Fallback != schemas.NoFallback {
		return f.Intake
	}
	return p.BreakerKey(&f.Work)
}

// refuse makes a letter of a report that cannot be served.
func (s *shard) refuse(now time.Time, it *item, reason string, err error) {
	remember(&it.work, 0, "")
	s.describe(now, it, 0)
	s.letter(now, it, reason, err.Error())
}

// describe tells the observer what a report said.
func (s *shard) describe(now time.Time, it *item, delay time.Duration) *schemas.Outcome {
	o := it.outcome("")
	s.observe(Event{Kind: EventFailure, At: now, Policy: it.policyName(), Source: "intake", Outcome: &o, Delay: delay, Subject: o.Subject, ID: o.ID})
	return &o
}

// proceed tells that a retry was decided, then lets the item wait. o describes its report;
// nil if it came by way of another shard, which told.
func (s *shard) proceed(now time.Time, it *item, o *schemas.Outcome) {
	it.record = nil
	if it.step == schemas.StepDiscard {
		it.move = moveDrop
		s.moved(now, it, schemas.Ack{})
		return
	}
	if it.step == schemas.StepRetry {
		if o == nil {
			described := it.outcome("")
			o = &described
		}
		delay := it.due.Sub(it.work.LastFailedAt)
		o.Kind, o.DueAt, o.DelayMS, o.Reason = schemas.KindScheduled, it.due.UTC().Format(time.RFC3339Nano), delay.Milliseconds(), ""
		s.observe(Event{Kind: EventOutcome, At: now, Policy: it.policyName(), Outcome: o, Delay: delay, Subject: o.Subject, ID: o.ID,
			FailedAt: it.work.LastFailedAt, Trace: schemas.Traceparent(it.work.Header)})
		if schemas.Published(it.policy.Outcomes, o.Kind) {
			it.untold, it.stage = o, stageAnnouncing
			s.tell(now, it)
			return
		}
	}
	s.place(now, it)
}

// place lets an item wait where its due time belongs: near ones in memory, far ones in a
// slot of the ledger.
func (s *shard) place(now time.Time, it *item) {
	it.stage = stageWaiting
	near := s.shardConfig.near
	if it.lane != nil {
		near = max(near, warmUp+readAhead+2*time.Second) // what was read ahead of its slot must not go back there
	}
	if it.due.Sub(now) > near {
		s.later(now, it)
		return
	}
	it.wake = it.due
	s.waiting.add(it)
}

// start begins a move as soon as a publish may be sent.
func (s *shard) start(now time.Time, it *item, m move) {
	it.stage, it.move, it.tries = stageMoving, m, 0
	it.wake = now
	s.waiting.add(it)
}

// account counts the memory that an item takes.
func (s *shard) account(it *item) {
	it.bytes = int64(it.work.Size() + it.pinned)
	s.bytes += it.bytes
}

// claim makes an item the one that stands for its report.
func (s *shard) claim(it *item) {
	if it.source != 0 {
		s.bySource[it.source] = it
	}
}

// finish settles an item's source: everything that follows from it is stored.
func (s *shard) finish(now time.Time, it *item) {
	left, echoes := it.leaving(), it.echoes
	s.commandDone(now, it)
	s.bytes -= it.bytes
	if it.source != 0 && s.bySource[it.source] == it {
		delete(s.bySource, it.source)
	}
	if l := it.lane; l != nil {
		if !it.ahead && l.settle(it) {
			s.emit(effect{kind: effRemove, sequence: it.seq})
		}
		s.trim(l)
		s.touch(l)
	} else if it.book != nil {
		s.near--
		s.settled(now, it.book, it.source)
		it.book = nil
	}
	it.stage, it.echoes = stageSettled, nil
	it.forget()
	for _, e := range echoes {
		if !left || e.lane == it.lane && e.spot() == it.spot() {
			s.finish(now, e)
			continue
		}
		s.enter(now, e) // it may be the very entry that the item became
		s.touch(e.lane)
	}
}

// tick does what is due: slots are read, items woken, breakers looked at.
func (s *shard) tick(now time.Time) {
	if !s.stopping {
		s.openSlots(now)
		s.readWanted(now)
		s.wakeBreakers(now)
		s.judgeAcks(now)
		s.evict(now)
		s.unpin(now)
		s.closePages(now)
		s.save(now)
		s.exchange(now)
	}
	s.look(now)
	s.pump(now)
	s.look(now)
}

// pump wakes what is due as long as publishes may be sent, the oldest first.
func (s *shard) pump(now time.Time) {
	for {
		it := s.waiting.first()
		s.behind = it != nil && !it.wake.After(now) && s.flying >= s.inflight
		if it == nil || it.wake.After(now) || s.behind {
			return
		}
		s.waiting.remove(it)
		if s.stopping && it.stage == stageWaiting {
			continue // it is not settled: the next owner reads it again
		}
		s.wake(now, it)
	}
}

func (s *shard) wake(now time.Time, it *item) {
	switch it.stage {
	case stageWaiting:
		s.release(now, it)
	case stageMoving:
		s.send(now, it)
	case stageAnnouncing, stageTelling:
		s.tell(now, it)
	}
}

// next is when tick must be called again, zero for not before something happens.
func (s *shard) next(now time.Time) time.Time {
	var at time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if it := s.waiting.first(); it != nil && s.flying < s.inflight {
		sooner(it.wake)
	}
	if s.stopping {
		return at
	}
	if len(s.slots) > 0 {
		sooner(s.opens(s.slots[0]))
	}
	for _, l := range s.wanting {
		if !l.reading && s.room(l) {
			sooner(l.retry)
			if l.retry.IsZero() {
				sooner(now)
			}
		}
	}
	if t, _ := s.nextExpiry(); !t.IsZero() {
		sooner(t)
	}
	sooner(s.nextAck())
	sooner(s.nextSave())
	sooner(s.following.nextExchange())
	for _, set := range s.sets {
		if n := set.Next(); n != 0 {
			sooner(time.Unix(0, n))
		}
	}
	return at
}
