package handlers

import (
	"errors"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/strategies"
)

// evidenceReply is how the success of a request is known.
const evidenceReply = "reply"

// Headers of a reply that say how it went, as NATS micro services set them.
const (
	headerServiceError     = "Nats-Service-Error"
	headerServiceErrorCode = "Nats-Service-Error-Code"
)

// Codes of requests that got no reply.
const (
	codeNoResponders = "no_responders"
	codeTimeout      = "timeout"
)

// sendUnstored sends work in the modes in which no stream stores it. There is no message
// id that a target could recognise: after a crash the same delivery may be sent again.
func (s *shard) sendUnstored(it *item, m schemas.Message) {
	it.tries++
	s.flying++
	e := effect{kind: effCore, item: it, message: m}
	if it.policy.Deliver.Mode == schemas.DeliverRequest {
		request := m
		it.event = &request
		e.kind, e.timeout = effRequest, it.policy.Deliver.Timeout
	}
	s.emit(e)
}

// replied takes the reply to a request. A success ends the work; a failure is reported to
// the intake like a worker's, so that it takes the same way.
func (s *shard) replied(now time.Time, it *item, reply schemas.Message, err error) {
	s.flying--
	defer s.look(now)
	if errors.Is(err, schemas.ErrNotSent) || errors.Is(err, schemas.ErrClosed) {
		s.fault(now, "redeliver", it, err)
		s.again(now, it)
		return
	}
	it.lateness = max(0, now.Sub(it.due))
	if code, text, class, failed := verdictOf(reply, err); failed {
		report := s.reportOf(it, reply, code, text, class)
		it.report = &report
		it.event = nil
		s.start(now, it, moveReport)
		return
	}
	k := breakerKey{it.policy.Name, it.key}
	if it.step == schemas.StepFallback {
		k.key = it.target
	}
	if s.subjects.Partition(k.key, s.shards) == s.index {
		s.step(now, k, strategies.Input{
			Kind: strategies.InSuccess, ID: it.work.ID, Delivery: it.number, Generation: it.generation,
			OccurredAt: now.UnixNano(), Probe: it.probe, Lane: s.laneLength(k),
		})
	} else {
		s.emit(effect{kind: effSignal, breaker: k, success: &schemas.Success{
			Subject: it.work.Subject, ID: it.work.ID, Delivery: it.number, Generation: it.generation, Probe: it.probe, At: now,
		}})
	}
	s.conclude(now, it, schemas.KindRecovered)
}

// verdictOf reads how a request went.
func verdictOf(reply schemas.Message, err error) (code, text, class string, failed bool) {
	switch {
	case errors.Is(err, schemas.ErrNoStream):
		return codeNoResponders, "nobody listens on the subject of the request", schemas.ClassTransient, true
	case errors.Is(err, schemas.ErrTimeout):
		return codeTimeout, "no reply in time", schemas.ClassTimeout, true
	case err != nil:
		return "", err.Error(), schemas.ClassTransient, true
	}
	code, text = reply.Header.Get(headerServiceErrorCode), reply.Header.Get(headerServiceError)
	return code, text, reply.Header.Get(schemas.HeaderClass), code != "" || text != ""
}

// reportOf is the failure report of a request: its sealed headers echoed, with the error.
func (s *shard) reportOf(it *item, reply schemas.Message, code, text, class string) schemas.Message {
	h := it.event.Header.Clone()
	delete(h, schemas.HeaderMsgID)
	h.Set(schemas.HeaderError, text)
	h.Set(schemas.HeaderCode, code)
	h.Set(schemas.HeaderClass, class)
	if after := reply.Header.Get(schemas.HeaderRetryAfter); after != "" {
		h.Set(schemas.HeaderRetryAfter, after)
	}
	for _, name := range []string{schemas.HeaderCode, schemas.HeaderClass} {
		if h.Get(name) == "" {
			delete(h, name)
		}
	}
	return schemas.Message{Subject: s.subjects.Failed(it.target), Header: h, Body: it.work.Body}
}
