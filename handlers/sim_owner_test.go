package handlers

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// simOwner runs one shard as its loop does, in virtual time: it takes what happened, lets
// the shard decide and executes the effects.
type simOwner struct {
	w      *simWorld
	shard  int
	loop   *loop
	alive  bool   // a dead owner hears nothing any more
	leased bool   // it may tick; a deposed owner still hears the answers to what it began
	fed    bool   // it reads the reports of its shard
	read   uint64 // up to which sequence
	name   int

	turning bool
	timer   uint64
	spins   int
	spunAt  time.Time
	settles int
}

// simKey seals the deliveries of the simulator.
var simKey = []byte("the key of the simulated seals..")

func newSimEngine(w *simWorld) *Engine {
	clock := NewClock(func() time.Time { return w.now })
	clock.Saw(w.now, w.now)
	sealer := schemas.NewSealer(simKey)
	e := &Engine{
		Config: Config{Subjects: simSubjects, Shards: w.cfg.shards}, bus: simBus{w: w}, clock: clock, sealer: sealer,
		reader: &schemas.Reader{Subjects: simSubjects, Sealer: sealer, Created: w.start},
		view:   newView(), loops: map[int]*loop{}, faults: map[string]string{}, observer: Observers{},
	}
	e.signals = newSignals(w.after, e.sendSignal)
	e.policies.Store(w.cfg.policies)
	e.signals = newSignals(w.after, e.sendSignal)
	return e
}

// own boots a new owner of a shard, as loop.run does. What it reads is read at different
// moments, so that whatever a former owner still does comes in between.
func (w *simWorld) own(index int) {
	w.zombies++
	o := &simOwner{w: w, shard: index, alive: true, leased: true, name: w.zombies}
	w.owners[index] = o
	ended, end := context.WithCancel(context.Background())
	end() // the pauses of chores are real time and end at once
	o.loop = &loop{
		bus: simBus{w: w, faulty: true}, clock: w.engine.clock, observer: w.engine.observer, reader: w.engine.reader,
		mail: mailbox{signal: make(chan struct{}, 1)}, tidyStop: ended, lease: Lease{Shard: index, Since: w.now.Add(time.Duration(w.zombies))},
		purges: make(oneByOne, 1), lose: func(error) { o.lost() },
		shard: newShard(shardConfig{
			index: index, shards: w.cfg.shards, subjects: simSubjects, sealer: w.engine.sealer, near: w.cfg.near,
			memory: w.cfg.memory, maxNear: w.cfg.maxNear, inflight: w.cfg.inflight, sparse: w.cfg.sparse,
			view: w.engine.view,
		}, w.engine.policies.Load()),
	}
	w.tracef("shard %d: owner %d takes over", index, o.name)
	w.after(w.latency(), func() { w.claim(o) })
}

// claim goes on once the shard is claimed.
func (w *simWorld) claim(o *simOwner) {
	if !o.alive {
		return
	}
	index := o.shard
	intake, err := o.loop.claim(context.Background())
	if errors.Is(err, schemas.ErrConflict) {
		o.lost()
		return
	}
	if err != nil {
		w.after(time.Second, func() { w.claim(o) })
		return
	}
	counts, last := w.streams.ledger.counts(index)
	w.after(w.latency(), func() {
		states, err := o.loop.states(context.Background())
		if err != nil {
			w.check.failf("", "read breakers: %v", err)
		}
		w.after(w.latency(), func() {
			if !o.alive {
				return
			}
			if !w.chance(w.cfg.remote) {
				w.engine.loops[index] = o.loop
			}
			o.fed = true
			w.readers = append(slices.DeleteFunc(w.readers, func(o *simOwner) bool { return !o.alive }), o)
			o.do(func(s *shard, now time.Time) { s.boot(now, intake, counts, last, states) })
			w.streams.ledger.follow(o, o.loop.shard.following.all, last+1)
		})
	})
}

// do lets the shard hear of something, if anybody listens.
func (o *simOwner) do(letter func(*shard, time.Time)) {
	if !o.alive {
		return
	}
	letter(o.loop.shard, o.w.now)
	o.execute()
	o.wake()
}

// wake has the loop turn as soon as everything of this moment was heard.
func (o *simOwner) wake() {
	if o.alive && !o.turning {
		o.turning = true
		o.w.after(0, o.turn)
	}
}

// simSpins is how often the loop may turn at one moment.
const simSpins = 5_000

func (o *simOwner) turn() {
	o.turning = false
	if !o.alive {
		return
	}
	w, s := o.w, o.loop.shard
	if !w.now.Equal(o.spunAt) {
		o.spins, o.spunAt = 0, w.now
	}
	if o.spins++; o.spins > simSpins {
		w.check.failf("", "shard %d spins: next is %v", o.shard, s.next(w.now))
		return
	}
	letters := o.loop.mail.take()
	for i := range letters {
		o.loop.open(&letters[i], w.now)
	}
	o.feed()
	if o.leased {
		s.tick(w.now)
	}
	o.execute()
	w.check.shard(o)
	if s.stopping && s.flying == 0 && !s.storing() {
		o.end()
		return
	}
	next := s.next(w.now)
	o.timer++
	if next.IsZero() || !o.leased {
		return
	}
	timer := o.timer
	w.after(next.Sub(w.now), func() {
		if timer == o.timer {
			o.wake()
		}
	})
}

// feed takes reports as long as there is room for them.
func (o *simOwner) feed() {
	for range batch {
		if !o.fed || o.loop.shard.full() || o.loop.shard.stopping {
			return
		}
		m, ok := o.w.streams.intake[o.shard].next(o.read + 1)
		if !ok {
			return
		}
		o.read = m.Sequence
		f := o.loop.reader.Failure(&m)
		if err := o.loop.shard.failure(o.w.now, 0, &f); err != nil {
			o.w.check.failf("", "shard %d: %v", o.shard, err)
		}
	}
	o.wake()
}

// end takes the owner away at once.
func (o *simOwner) end() {
	o.alive, o.fed = false, false
	o.unlist()
	o.w.tracef("shard %d: owner %d ends", o.shard, o.name)
	if o.w.owners[o.shard] == o {
		o.w.after(o.w.between(0, o.w.cfg.takeover), func() { o.w.own(o.shard) })
	}
}

// unlist has the engine forget the loop, as when it has ended.
func (o *simOwner) unlist() {
	o.loop.mail.close()
	if o.w.engine.loops[o.shard] == o.loop {
		delete(o.w.engine.loops, o.shard)
	}
}

// lost is how an owner learns that another one has its shard.
func (o *simOwner) lost() {
	o.w.tracef("shard %d: owner %d learns of a later one", o.shard, o.name)
	o.fed, o.leased = false, false
}

// depose lets another owner take over while this one goes on for a while. One that does
// not know of it keeps acting; one that does only hears answers.
func (o *simOwner) depose(d time.Duration, knows bool) {
	o.fed, o.leased = !knows, !knows
	o.unlist()
	o.w.own(o.shard)
	o.w.after(d, func() { o.alive = false })
}

func (o *simOwner) execute() {
	for {
		effects := o.loop.shard.effects()
		if len(effects) == 0 {
			return
		}
		for i := range effects {
			o.effect(effects[i])
		}
	}
}

// effect does what loop.do does, in virtual time.
func (o *simOwner) effect(e effect) {
	w := o.w
	switch e.kind {
	case effPublish:
		w.check.publishing(o, &e)
		w.faults.publish(e.message, func(ack schemas.Ack, err error) {
			o.do(func(s *shard, now time.Time) { s.published(now, e.item, ack, err) })
		})
	case effObserve:
		w.check.observe(o, e.event)
	case effCheckpoint:
		o.chore(false, func(ctx context.Context) (func(*shard, time.Time), error) {
			return o.loop.saveCheckpoint(ctx, e.data, e.revision), nil
		})
	case effTrim:
		o.chore(false, func(ctx context.Context) (func(*shard, time.Time), error) {
			return o.loop.trimIntake(ctx, e), nil
		})
	case effFollow:
		o.exchange(e.all, e.from)
	case effRead:
		o.chore(false, func(ctx context.Context) (func(*shard, time.Time), error) {
			return o.loop.readLane(ctx, e), nil
		})
	case effPurge:
		o.chore(true, func(ctx context.Context) (func(*shard, time.Time), error) {
			n, err := o.loop.bus.PurgeLane(ctx, e.lane.subject, e.before)
			return func(s *shard, now time.Time) { s.purged(now, e, int(n), err) }, err
		})
	case effRemove:
		o.chore(true, func(ctx context.Context) (func(*shard, time.Time), error) {
			err := o.loop.bus.DeleteEntry(ctx, o.loop.shard.index, e.sequence)
			return func(s *shard, now time.Time) { s.removed(now, e.sequence, err) }, err
		})
	case effOwner:
		o.chore(false, func(ctx context.Context) (func(*shard, time.Time), error) {
			_, err := o.loop.bus.Owner(ctx, e.subject)
			owned := err == nil
			if errors.Is(err, schemas.ErrNotFound) {
				err = nil
			}
			return func(s *shard, now time.Time) { s.owned(now, e.subject, owned, err) }, nil
		})
	case effAnswer:
		e.command.done(e.command.kind)
	case effStore:
		o.chore(false, func(ctx context.Context) (func(*shard, time.Time), error) {
			return o.loop.storeState(ctx, &e), nil
		})
	default:
		w.check.failf("", "unknown effect %d", e.kind)
	}
}

// exchange has another follower tell of the ledger, as the loop's does.
func (o *simOwner) exchange(all bool, from uint64) {
	w := o.w
	w.check.counts["followers exchanged"]++
	w.after(w.latency(), func() {
		next := w.streams.ledger.unfollow(o)
		if !all {
			from = next
		}
		o.do(func(s *shard, _ time.Time) { s.exchanged(all, from) })
		w.after(w.latency()+w.faults.lag(), func() {
			if !o.alive {
				return
			}
			w.streams.ledger.follow(o, all, from)
			w.after(w.latency(), func() { o.do(func(s *shard, now time.Time) { s.attached(now) }) })
		})
	})
}

// chore runs a request at the server and posts what it found after a while; a failed one
// that pauses is heard of a second later.
func (o *simOwner) chore(pauses bool, do func(context.Context) (func(*shard, time.Time), error)) {
	w := o.w
	w.after(w.latency(), func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // the pauses of chores are real time and end at once
		letter, err := do(ctx)
		back := w.latency()
		if err != nil && pauses {
			back += time.Second
		}
		w.after(back, func() { o.do(letter) })
	})
}

// simBus is the part of Bus that requests and publishes of the loop use.
type simBus struct {
	Bus
	w      *simWorld
	faulty bool
}

func (b simBus) Publish(m schemas.Message, done func(schemas.Ack, error)) {
	b.w.faults.publish(m, done)
}

// try runs a request unless a fault prevents it, or has its answer get lost.
func (b simBus) try(request func() error) error {
	if !b.faulty {
		return request()
	}
	before, after := b.w.faults.chore()
	if before != nil {
		return before
	}
	return errors.Join(request(), after)
}

func (b simBus) Owner(_ context.Context, subject string) (string, error) {
	return "WORK", b.try(func() error {
		if b.w.faults.active(faultNoStream, subject) {
			return schemas.ErrNotFound
		}
		return nil
	})
}

func (b simBus) ReadLane(_ context.Context, subject string, from uint64, most, bytes int) (found []schemas.Stored, err error) {
	err = b.try(func() error {
		found = b.w.streams.ledger.read(subject, from, most, bytes)
		return nil
	})
	return found, err
}

func (b simBus) ReadEntries(_ context.Context, subject string, sequences []uint64, bytes int) (found []schemas.Stored, err error) {
	err = b.try(func() error {
		for _, seq := range sequences {
			if bytes <= 0 {
				return nil
			}
			for _, m := range b.w.streams.ledger.read(subject, seq, 1, 1) {
				if m.Sequence == seq {
					found, bytes = append(found, m), bytes-len(m.Body)
				}
			}
		}
		b.w.check.counts["reads by sequence"]++
		return nil
	})
	return found, err
}

func (b simBus) ReadEntry(_ context.Context, shard int, sequence uint64) (m schemas.Stored, err error) {
	err = b.try(func() error {
		for subject, lane := range b.w.streams.ledger.lanes {
			for _, stored := range lane {
				if parsed, err := simSubjects.ParseLedger(subject); err == nil && parsed.Shard == shard && stored.Sequence == sequence {
					m = stored
					return nil
				}
			}
		}
		return schemas.ErrNotFound
	})
	return m, err
}

func (b simBus) PurgeLane(_ context.Context, subject string, before uint64) (n uint64, err error) {
	err = b.try(func() error {
		n = b.w.streams.ledger.purge(subject, before)
		return nil
	})
	return n, err
}

func (b simBus) DeleteEntry(_ context.Context, _ int, sequence uint64) error {
	return b.try(func() error {
		b.w.streams.ledger.remove(sequence)
		return nil
	})
}

func (b simBus) PurgeIntake(_ context.Context, filters []string, before uint64) error {
	return b.try(func() error {
		for shard, q := range b.w.streams.intake {
			if slices.Contains(filters, simSubjects.Intake(shard, ">")) {
				q.purge(before)
			}
		}
		return nil
	})
}

func (b simBus) StateList(_ context.Context, filter string, each func(string, []byte, uint64)) error {
	for _, key := range b.w.streams.state.keys() {
		if strings.HasPrefix(key, strings.TrimSuffix(filter, ">")) {
			v := b.w.streams.state.values[key]
			each(key, v.data, v.revision)
		}
	}
	return nil
}

func (b simBus) StateGet(_ context.Context, key string) ([]byte, uint64, error) {
	v, ok := b.w.streams.state.values[key]
	if !ok {
		return nil, 0, schemas.ErrNotFound
	}
	return v.data, v.revision, nil
}

func (b simBus) StatePut(_ context.Context, key string, data []byte, revision uint64) (next uint64, err error) {
	err = b.try(func() error {
		next, err = b.w.streams.state.put(key, data, revision)
		if err == nil && strings.HasPrefix(key, "breaker.") {
			b.w.check.stored(key, data)
		}
		return err
	})
	return next, err
}

func (b simBus) StateDelete(_ context.Context, key string, revision uint64) error {
	return b.try(func() error { return b.w.streams.state.delete(key, revision) })
}

// simAckWait is when a success report that was not settled comes again.
const simAckWait = 90 * time.Second

// succeeded hands a success report to the engine; it comes again until it is settled.
func (w *simWorld) succeeded(m schemas.Stored) {
	w.check.success(&m)
	w.engine.succeeded(schemas.Report{Stored: m}, func(settle bool) {
		if !settle {
			w.after(simAckWait, func() { w.succeeded(m) })
		}
	})
	for _, o := range w.owners {
		if o != nil {
			o.wake()
		}
	}
}
