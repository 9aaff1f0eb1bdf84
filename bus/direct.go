package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/recoveryd/recoveryd/schemas"
)

// maxBatch bounds the messages of one read.
const maxBatch = 10000

// batch asks a stream for messages by subject and sequence, without a consumer.
type batch struct {
	From     uint64 `json:"seq"`
	Filter   string `json:"next_by_subj,omitempty"`
	Count    int    `json:"batch"`
	MaxBytes int    `json:"max_bytes,omitempty"`
}

// read returns what a stream holds on filter from a sequence on, in sequence order. The
// server stops after the message that reaches maxBytes (0 = its own limit), so at least
// one is returned if there is one. On a replicated stream any replica may answer, and one
// that lags may omit the newest; only an empty answer is confirmed by the leader.
func (b *Bus) read(ctx context.Context, stream string, req batch) ([]schemas.Stored, error) {
	ctx, cancel := b.reads.bind(ctx, 2*b.cfg.PublishTimeout)
	defer cancel()
	req.From, req.Count, req.MaxBytes = max(req.From, 1), min(max(req.Count, 1), maxBatch), max(req.MaxBytes, 0)
	out, err := b.directGet(ctx, stream, req)
	if err != nil {
		return nil, fmt.Errorf("read %s of stream %s from %d: %w", req.Filter, stream, req.From, err)
	}
	if len(out) > 0 || !b.mayLag() {
		return out, nil
	}
	return b.leaderGet(ctx, stream, req)
}

func (b *Bus) mayLag() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.replicated
}

func (b *Bus) directGet(ctx context.Context, stream string, req batch) ([]schemas.Stored, error) {
	data, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	inbox := b.bulk.NewInbox()
	msgs := make(chan *nats.Msg, req.Count+1) // and the end
	sub, err := b.bulk.ChanSubscribe(inbox, msgs)
	if err != nil {
		return nil, clientError(err)
	}
	defer sub.Unsubscribe()
	if err := b.bulk.PublishRequest(b.api+"DIRECT.GET."+stream, inbox, data); err != nil {
		return nil, clientError(err)
	}
	var out []schemas.Stored
	for {
		select {
		case m := <-msgs:
			if m.Header.Get(headerSequence) == "" {
				return out, endOfBatch(m)
			}
			previous, err := strconv.ParseUint(last(m.Header, headerLast), 10, 64)
			if err != nil {
				return nil, unreadable(err)
			}
			stored, err := direct(m, headersOfBatch)
			if err != nil {
				return nil, err
			}
			if len(out) > 0 && previous != out[len(out)-1].Sequence {
				return nil, fmt.Errorf("%w: a part of the answer was lost", schemas.ErrTimeout)
			}
			out = append(out, stored)
		case <-ctx.Done():
			return nil, clientError(ctx.Err())
		}
	}
}

// lookUpAhead is how many questions for single messages are open at once: more would not be
// answered faster, and each may bring a message that is more than was asked for.
const lookUpAhead = 32

// lookUp gets messages by their sequences, without those that are gone. Once they are
// maxBytes or more it asks for no others.
func (b *Bus) lookUp(ctx context.Context, stream string, sequences []uint64, maxBytes int) (found []schemas.Stored, err error) {
	inbox := b.bulk.NewInbox()
	answers := make(chan *nats.Msg, lookUpAhead)
	sub, err := b.bulk.ChanSubscribe(inbox+".*", answers)
	if err != nil {
		return nil, clientError(err)
	}
	defer sub.Unsubscribe()
	found = make([]schemas.Stored, len(sequences))
	asked, bytes := 0, 0
	for answered := 0; ; answered++ {
		for asked < len(sequences) && asked < answered+lookUpAhead && bytes < max(maxBytes, 1) {
			question := fmt.Appendf(nil, `{"seq":%d}`, sequences[asked])
			if err := b.bulk.PublishRequest(b.api+"DIRECT.GET."+stream, inbox+"."+strconv.Itoa(asked), question); err != nil {
				return nil, clientError(err)
			}
			asked++
		}
		if answered == asked {
			found = slices.DeleteFunc(found[:asked], func(s schemas.Stored) bool { return s.Sequence == 0 })
			return found, nil
		}
		select {
		case m := <-answers:
			i, err := strconv.Atoi(m.Subject[len(inbox)+1:])
			if err != nil || i >= asked {
				return nil, fmt.Errorf("an answer came to %s", m.Subject)
			}
			if found[i], err = b.lookedUp(ctx, stream, sequences[i], m); err != nil {
				return nil, err
			}
			bytes += len(found[i].Body) + found[i].Header.Size()
		case <-ctx.Done():
			return nil, clientError(ctx.Err())
		}
	}
}

// lookedUp reads the answer for one sequence. That a message is gone is believed of the
// leader only: a replica may lag.
func (b *Bus) lookedUp(ctx context.Context, stream string, sequence uint64, m *nats.Msg) (schemas.Stored, error) {
	if m.Header.Get(headerSequence) != "" {
		return direct(m, headersOfOne)
	}
	if err := endOfBatch(m); err != nil || !b.mayLag() {
		return schemas.Stored{}, err
	}
	found, err := b.leaderGet(ctx, stream, batch{From: sequence})
	if err != nil || len(found) == 0 {
		return schemas.Stored{}, err
	}
	return found[0], nil
}

// endOfBatch reads the message that ends a batch.
func endOfBatch(m *nats.Msg) error {
	switch status := m.Header.Get("Status"); status {
	case "204", "404":
		return nil
	case "503":
		return fmt.Errorf("%w: direct get is not served, is the stream gone or without a leader?", ErrNoResponders)
	default:
		return fmt.Errorf("direct get: status %s %s", status, m.Header.Get("Description"))
	}
}

// Headers that the server appends to a message got directly.
const (
	headerStream   = "Nats-Stream"
	headerSubject  = "Nats-Subject"
	headerSequence = "Nats-Sequence"
	headerTime     = "Nats-Time-Stamp"
	headerPending  = "Nats-Num-Pending"
	headerLast     = "Nats-Last-Sequence"
)

var (
	headersOfOne   = []string{headerStream, headerSubject, headerSequence, headerTime}
	headersOfBatch = append(slices.Clone(headersOfOne), headerPending, headerLast)
)

// direct turns an answer back into the stored message. The server appends its headers
// after any of the same name in the message, so the last value is the true one.
func direct(m *nats.Msg, appended []string) (s schemas.Stored, err error) {
	h := m.Header
	var faults [2]error
	s.Subject = last(h, headerSubject)
	s.Sequence, faults[0] = strconv.ParseUint(last(h, headerSequence), 10, 64)
	s.Time, faults[1] = time.Parse(time.RFC3339Nano, last(h, headerTime))
	if err := errors.Join(faults[:]...); err != nil {
		return s, unreadable(err)
	}
	for _, name := range appended {
		if v := h[name]; len(v) > 1 {
			h[name] = v[:len(v)-1]
		} else {
			delete(h, name)
		}
	}
	s.Header, s.Body = schemas.Header(h), m.Data
	return s, nil
}

func unreadable(err error) error {
	return fmt.Errorf("direct get: the server is too old or its answer unreadable: %w", err)
}

func last(h nats.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// leaderGet asks the leader for the next message on a subject, or for the one with exactly
// that sequence if no subject is given: the word on whether there is none.
func (b *Bus) leaderGet(ctx context.Context, stream string, req batch) ([]schemas.Stored, error) {
	m, err := b.getMessage(ctx, stream, req.single())
	if errors.Is(err, schemas.ErrNotFound) && codeOf(err) == codeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []schemas.Stored{m}, nil
}

// getMessage asks the leader for one message.
func (b *Bus) getMessage(ctx context.Context, stream string, req any) (s schemas.Stored, err error) {
	var got struct {
		Message struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	if err := b.request(ctx, "STREAM.MSG.GET."+stream, req, &got); err != nil {
		return s, err
	}
	m := got.Message
	s.Sequence, s.Time, s.Subject, s.Body = m.Sequence, m.Time, m.Subject, m.Data
	if len(m.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(m.Header)
		if err != nil {
			return s, fmt.Errorf("headers of message %d in stream %s: %w", m.Sequence, stream, err)
		}
		s.Header = schemas.Header(h)
	}
	return s, nil
}

// single is the request for one message, in which the server allows no batch.
func (r batch) single() any {
	return struct {
		From   uint64 `json:"seq"`
		Filter string `json:"next_by_subj,omitempty"`
	}{r.From, r.Filter}
}

// purge removes what stream holds on filter below a sequence, and says how much it was.
func (b *Bus) purge(ctx context.Context, stream, filter string, before uint64) (uint64, error) {
	if filter == "" || before <= 1 {
		return 0, nil // the server takes 0 for no limit and would remove everything
	}
	var done struct {
		Purged uint64 `json:"purged"`
	}
	req := struct {
		Filter string `json:"filter"`
		Before uint64 `json:"seq"`
	}{filter, before}
	if err := b.request(ctx, "STREAM.PURGE."+stream, req, &done); err != nil {
		return 0, fmt.Errorf("purge %s below %d: %w", filter, before, err)
	}
	return done.Purged, nil
}

// remove deletes one message. One that is gone already is no error.
func (b *Bus) remove(ctx context.Context, stream string, sequence uint64) error {
	req := struct {
		Sequence uint64 `json:"seq"`
		NoErase  bool   `json:"no_erase"`
	}{sequence, true}
	err := b.request(ctx, "STREAM.MSG.DELETE."+stream, req, &struct{}{})
	switch code := codeOf(err); {
	case code == codeNotFound, code == codeNoSequence, code == codeDeleteFailed && isGone(err):
		return nil
	case err != nil:
		return fmt.Errorf("delete message %d of stream %s: %w", sequence, stream, err)
	}
	return nil
}
