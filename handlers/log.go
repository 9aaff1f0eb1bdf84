package handlers

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/recoveryd/recoveryd/schemas"
)

// Repeats of a fault are counted and told together.
const (
	repeatEvery = 10 * time.Second
	repeatKeys  = 512 // different faults remembered; what is over it is told as one
)

// Log writes events as lines that name id, subject and policy. Faults come by the thousand
// while something is down: each is written once, and its repeats as a count every 10 s.
type Log struct {
	logger zerolog.Logger
	now    func() time.Time

	mu     sync.Mutex
	faults map[fault]*repeats
}

// fault is what makes two faults the same: not the id, which differs for each message.
type fault struct{ op, subject, text string }

type repeats struct {
	told  time.Time // when the last line was written
	count int       // since then
	last  Event
}

// NewLog writes to logger; now is the clock.
func NewLog(logger zerolog.Logger, now func() time.Time) *Log {
	return &Log{logger: logger, now: now, faults: map[fault]*repeats{}}
}

// Observe implements Observer.
func (l *Log) Observe(e Event) {
	switch e.Kind {
	case EventFailure:
		l.line(zerolog.DebugLevel, e).Str("source", e.Source).Msg("failure reported")
	case EventDuplicate:
		l.line(zerolog.DebugLevel, e).Msg("report read again")
	case EventOutcome:
		l.line(outcomeLevel(e.Outcome.Kind), e).Msg(e.Outcome.Kind)
	case EventBreaker:
		l.breaker(e)
	case EventProbe:
		l.line(zerolog.InfoLevel, e).Str("result", e.Result).Msg("probe settled")
	case EventLate:
		l.line(zerolog.DebugLevel, e).Msg("late outcome")
	case EventFault:
		l.fault(e)
	case EventAdvisory:
		l.advisory(e)
	case EventJob:
		l.line(zerolog.InfoLevel, e).Str("kind", e.Source).Str("state", e.Result).Int64("letters", e.Count).Msg("job")
	case EventAlarm:
		l.line(zerolog.ErrorLevel, e).Str("operation", e.Op).Err(e.Err).Msg("this must not happen, please report it")
	}
}

func outcomeLevel(kind string) zerolog.Level {
	switch kind {
	case schemas.KindDead, schemas.KindRejected:
		return zerolog.WarnLevel
	case schemas.KindFallback:
		return zerolog.InfoLevel
	}
	return zerolog.DebugLevel
}

// line begins a line with what every line has; it is nil, and costs nothing, below the level.
func (l *Log) line(level zerolog.Level, e Event) *zerolog.Event {
	w := l.logger.WithLevel(level)
	if w == nil {
		return nil
	}
	w = texts(w, [2]string{"id", e.ID}, [2]string{"subject", e.Subject}, [2]string{"policy", e.Policy})
	o := e.Outcome
	if o == nil {
		return w
	}
	w = w.Int("shard", e.Shard).Int("attempt", o.Attempt).Int("delivery", o.Delivery)
	return texts(w, [2]string{"reason", o.Reason}, [2]string{"class", o.Class}, [2]string{"code", o.Code}, [2]string{"error", o.Error},
		[2]string{"target", o.Target}, [2]string{"due_at", o.DueAt}, [2]string{"cause", o.Cause})
}

// texts adds the fields that are not empty.
func texts(w *zerolog.Event, fields ...[2]string) *zerolog.Event {
	for _, f := range fields {
		if f[1] != "" {
			w = w.Str(f[0], f[1])
		}
	}
	return w
}

func (l *Log) breaker(e Event) {
	b := e.Breaker
	level := zerolog.InfoLevel
	if b.To == "open" || b.To == "forced_open" {
		level = zerolog.WarnLevel
	}
	w := l.line(level, e)
	if w == nil {
		return
	}
	w = texts(w, [2]string{"key", b.Key}, [2]string{"from", b.From}, [2]string{"to", b.To}, [2]string{"reason", b.Reason},
		[2]string{"open_until", b.OpenUntil}, [2]string{"actor", b.Actor})
	w.Int("held", b.Held).Int("opening", b.Level).Int64("generation", b.Generation).Msg("breaker " + strings.ReplaceAll(b.To, "_", " "))
}

// advisory tells of each message that is lost to recovery. What anybody can bring about by
// forged advisories is told like a fault: once, and then counted.
func (l *Log) advisory(e Event) {
	switch e.Result {
	case adviceGone:
		l.line(zerolog.WarnLevel, e).Err(e.Err).Msg("a consumer gave up a message that cannot be read any more")
	case adviceUnreportable, adviceFailed, adviceRefused, adviceMalformed:
		l.fault(e)
	default:
		l.line(zerolog.DebugLevel, e).Str("source", e.Source).Str("result", e.Result).Msg("advisory")
	}
}

func (l *Log) fault(e Event) {
	key := fault{op: e.Op, subject: e.Subject}
	if e.Err != nil {
		key.text = e.Err.Error()
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.faults[key]
	if r == nil && len(l.faults) >= repeatKeys {
		key = fault{op: "others"}
		r = l.faults[key]
	}
	if r == nil {
		l.faults[key] = &repeats{told: now}
		l.tell(e, 0)
		return
	}
	r.count++
	r.last = e
}

// Sweep writes the repeats that are due and forgets faults that are over. Call it every
// second or so, and once at the end.
func (l *Log) Sweep() {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	var due []*repeats
	for key, r := range l.faults {
		switch {
		case now.Sub(r.told) < repeatEvery:
		case r.count == 0:
			delete(l.faults, key)
		default:
			due = append(due, r)
		}
	}
	slices.SortFunc(due, func(a, b *repeats) int { return a.last.At.Compare(b.last.At) })
	for _, r := range due {
		l.tell(r.last, r.count)
		r.told, r.count = now, 0
	}
}

func (l *Log) tell(e Event, repeated int) {
	level, text := zerolog.ErrorLevel, "failed, will be tried again"
	switch {
	case e.Kind == EventAdvisory && e.Result == adviceUnreportable:
		text = "a message that its consumer gave up cannot be reported, it stays in its stream"
	case e.Kind == EventAdvisory && e.Result != adviceFailed:
		level, text = zerolog.WarnLevel, "advisory passed over"
	}
	w := l.line(level, e).Str("operation", e.Op).Err(e.Err)
	if repeated > 0 {
		w = w.Int("repeated", repeated)
	}
	w.Msg(text)
}
