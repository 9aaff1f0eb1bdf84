package handlers

import (
	"errors"
	"fmt"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// target is what is known of a subject whose publishes fail.
type target struct {
	asking  bool
	asked   time.Time // when the last answer came
	unowned time.Time // since when no stream stores it; zero = one does, as far as known
}

// A subject is undeliverable when no stream stored it at two looks this far apart: during
// a leader election a subject can seem unowned for a moment.
const (
	unownedFor = 10 * time.Second
	askEvery   = 2 * time.Second
)

// undelivered decides about an item that its target did not store.
func (s *shard) undelivered(now time.Time, it *item, err error) {
	switch {
	case errors.Is(err, schemas.ErrTooLarge):
		s.undeliverable(now, it, fmt.Sprintf("%s: with the headers of recoveryd it is too large for the stream of %q", err, it.target))
		return
	case errors.Is(err, schemas.ErrNoStream), errors.Is(err, schemas.ErrTimeout):
		t := s.targets[it.target]
		if t == nil {
			t = &target{}
			s.forgetTargets(now)
			s.targets[it.target] = t
		}
		if !t.unowned.IsZero() && t.asked.Sub(t.unowned) >= unownedFor && now.Sub(t.asked) < unownedFor {
			s.undeliverable(now, it, fmt.Sprintf("no stream stores %q: create one, or set deliver.mode to core or request", it.target))
			return
		}
		if !t.asking && now.Sub(t.asked) >= askEvery {
			t.asking = true
			s.emit(effect{kind: effOwner, subject: it.target})
		}
	}
	s.fault(now, "redeliver", it, err)
	s.again(now, it)
	if it.wake.Sub(now) > askEvery {
		it.wake = now.Add(askEvery)
		s.waiting.fix(it)
	}
}

// owned takes the answer to the question which stream stores a subject.
func (s *shard) owned(now time.Time, subject string, owned bool, err error) {
	t := s.targets[subject]
	if t == nil {
		return
	}
	t.asking = false
	switch {
	case err != nil:
		s.observe(Event{Kind: EventFault, At: now, Op: "look for the stream", Subject: subject, Err: err})
		return
	case owned:
		t.unowned = time.Time{}
	case t.unowned.IsZero():
		t.unowned = now
	}
	t.asked = now
}

func (s *shard) targetOK(subject string) {
	if len(s.targets) > 0 {
		delete(s.targets, subject)
	}
}

// forgetTargets bounds what is known of failing subjects; what is forgotten is asked again.
func (s *shard) forgetTargets(now time.Time) {
	const most = 10_000
	if len(s.targets) < most {
		return
	}
	for subject, t := range s.targets {
		if !t.asking && now.Sub(t.asked) > unownedFor {
			delete(s.targets, subject)
		}
	}
	if len(s.targets) >= most {
		clear(s.targets)
	}
}

// undeliverable sends work on to the next fallback, or makes it a letter.
func (s *shard) undeliverable(now time.Time, it *item, what string) {
	it.work.Error, it.reason = what, schemas.ReasonUndeliverable
	it.work.LastFailedAt = now
	if it.step == schemas.StepFallback {
		it.number++ // another message, another id
	}
	it.step = schemas.StepFallback
	s.start(now, it, moveDeliver)
}
