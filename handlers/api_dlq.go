package handlers

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

// Bounds of one answer: a reply must fit into a message of the server.
const (
	replyBytes = 512 << 10
	chunkBytes = 256 << 10 // of one payload; base64 makes 4 bytes of 3
	pageTime   = 500 * time.Millisecond
	groupTime  = 15 * time.Second // for counting what the subjects do not tell
)

// addDead adds what is asked about dead letters; any replica answers.
func (e *Engine) addDead(all map[string]endpoint) {
	if e.Dead == nil {
		return
	}
	for name, f := range map[string]APIFunc{
		"dlq.ls":     answer(e.listDead),
		"dlq.show":   answer(e.showDead),
		"dlq.groups": answer(e.groupDead),
		"dlq.export": answer(e.exportDead),
		"dlq.import": answer(e.importDead),
	} {
		all[name] = endpoint{public: f, local: f}
	}
	e.addJobs(all)
}

func (e *Engine) listDead(ctx context.Context, q schemas.DeadListRequest) (schemas.DeadListReply, error) {
	reply := schemas.DeadListReply{Letters: []schemas.DeadLetterItem{}}
	limit := cmp.Or(q.Limit, 50)
	if limit < 1 || limit > 1000 {
		return reply, badRequest("limit: %d is not between 1 and 1000", limit)
	}
	f, err := e.compileFilter(q.Filter)
	if err != nil {
		return reply, err
	}
	state, err := e.Dead.DeadState(ctx)
	if err != nil {
		return reply, err
	}
	reply.Total = state.Messages
	s, began, size := e.scan(f, q.From), e.Now(), 0
	for {
		letters, scanned, over, err := s.next(ctx, limit-len(reply.Letters))
		if err != nil {
			return reply, err
		}
		reply.Scanned += scanned
		for i := range letters {
			item, bytes := e.deadItem(&letters[i], q.Details, q.Payload, replyBytes-size)
			if size += bytes; size > replyBytes && len(reply.Letters) > 0 {
				reply.Next = letters[i].Stored.Sequence
				return reply, nil
			}
			reply.Letters = append(reply.Letters, item)
		}
		switch {
		case over:
			return reply, nil
		case len(reply.Letters) == limit, e.Now().Sub(began) > pageTime:
			reply.Next = s.at
			return reply, nil
		}
	}
}

// deadItem describes a letter, and says about how many bytes it takes in a reply. A payload
// that does not fit into room is left out and can be read in chunks.
func (e *Engine) deadItem(l *deadletter.Letter, details, payload bool, room int) (schemas.DeadLetterItem, int) {
	i := schemas.DeadLetterItem{
		Sequence: l.Stored.Sequence, StoredAt: stamp(l.Stored.Time), ID: l.ID, Subject: l.Subject, Cause: l.Cause, Reason: l.Reason,
		Error: l.Error, Code: l.Code, Class: l.Class, Policy: l.Policy, Attempt: l.Attempt, Delivery: l.Delivery, Replay: l.Replay,
		FirstFailedAt: stamp(l.FirstFailedAt), LastFailedAt: stamp(l.LastFailedAt), DeadAt: stamp(l.DeadAt), Origin: l.Origin,
		Size: len(l.Body), Job: e.ownerOf(l.Stored.Sequence), Truncated: l.Truncated, Hidden: !payload,
	}
	if l.Fault != nil {
		i.Fault = l.Fault.Error()
	}
	size := 600 + len(l.Error) + len(l.Subject)
	if details {
		i.History, i.Headers, i.Aside = l.History, l.Header, l.Barred
		size += len(l.History) + l.Header.Size() + l.Barred.Size()
	}
	if payload {
		if i.Partial = size+4*len(l.Body)/3 > room; !i.Partial {
			i.Body = l.Body
			size += 4 * len(l.Body) / 3
		}
	}
	return i, size
}

func (e *Engine) showDead(ctx context.Context, q schemas.DeadShowRequest) (schemas.DeadLetterItem, error) {
	var none schemas.DeadLetterItem
	if (q.ID == "") == (q.Sequence == 0) {
		return none, badRequest("sequence: give either this or id")
	}
	if q.Offset < 0 || q.Length < 0 || q.Length > chunkBytes {
		return none, badRequest("length: %d bytes from %d cannot be shown, at most %d at once", q.Length, q.Offset, chunkBytes)
	}
	var l deadletter.Letter
	var err error
	if q.ID != "" {
		l, err = e.newestWith(ctx, q.ID)
	} else {
		l, err = e.letterAt(ctx, q.Sequence)
	}
	if err != nil {
		return none, gone(err)
	}
	item, _ := e.deadItem(&l, true, false, 0)
	if q.Hide {
		return item, nil
	}
	from := min(q.Offset, len(l.Body))
	to := min(len(l.Body), from+cmp.Or(q.Length, chunkBytes))
	item.Body, item.Offset, item.Hidden, item.Partial = l.Body[from:to], from, false, to-from < len(l.Body)
	return item, nil
}

func (e *Engine) groupDead(ctx context.Context, q schemas.DeadGroupsRequest) (schemas.DeadGroupsReply, error) {
	var none schemas.DeadGroupsReply
	limit := cmp.Or(q.Limit, 50)
	if limit < 1 || limit > 500 {
		return none, badRequest("limit: %d is not between 1 and 500", limit)
	}
	if q.Offset < 0 {
		return none, badRequest("offset: is negative")
	}
	f, err := e.compileFilter(q.Filter)
	if err != nil {
		return none, err
	}
	groups, err := deadletter.NewGroups(q.By)
	if err != nil {
		return none, badRequest("%s", err)
	}
	state, err := e.Dead.DeadState(ctx)
	if err != nil {
		return none, err
	}
	if f.BySubject() && q.Filter.LastSequence == 0 {
		if err = e.countSubjects(ctx, f, groups); err == nil {
			err = e.describeGroups(ctx, f, groups, q.Offset, limit)
		}
	} else {
		err = e.countLetters(ctx, f, groups)
	}
	reply := groups.Reply(q.Offset, limit)
	reply.LastSequence = state.LastSeq
	return reply, err
}

// countSubjects groups by what the server counts, without reading a letter.
func (e *Engine) countSubjects(ctx context.Context, f *deadletter.Filter, groups *deadletter.Groups) error {
	before := e.Subjects.Prefix + ".dead."
	return e.Dead.DeadCounts(ctx, f.Pattern(e.Subjects), func(subject string, n uint64) {
		cause, filed, _ := strings.Cut(strings.TrimPrefix(subject, before), ".")
		if f.Files(cause, filed) {
			groups.Count(cause, filed, n)
		}
	})
}

// describeGroups looks at the first and the last letter of the groups that are shown.
func (e *Engine) describeGroups(ctx context.Context, f *deadletter.Filter, groups *deadletter.Groups, offset, limit int) error {
	type look struct {
		cause, subject, pattern string
		letters                 []deadletter.Letter
	}
	var looks []*look
	groups.Each(offset, limit, func(cause, subject string) {
		pattern := e.Subjects.Dead(cmp.Or(cause, "*"), cmp.Or(subject, f.Spec().Subject, ">"))
		looks = append(looks, &look{cause: cause, subject: subject, pattern: pattern})
	})
	const lanes = 8
	var wg sync.WaitGroup
	faults := make([]error, lanes)
	for lane := range lanes {
		wg.Go(func() {
			for i := lane; i < len(looks) && faults[lane] == nil; i += lanes {
				looks[i].letters, faults[lane] = e.ends(ctx, looks[i].pattern)
			}
		})
	}
	wg.Wait()
	for _, l := range looks {
		for i := range l.letters {
			groups.See(l.cause, l.subject, &l.letters[i])
		}
	}
	return errors.Join(faults...)
}

// ends are the first and the last letter on a pattern, none if there are none any more.
func (e *Engine) ends(ctx context.Context, pattern string) ([]deadletter.Letter, error) {
	first, err := e.Dead.ReadDead(ctx, 1, 1, pattern)
	if err != nil || len(first) == 0 {
		return nil, err
	}
	last, err := e.Dead.LastDead(ctx, pattern)
	if errors.Is(err, schemas.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []deadletter.Letter{deadletter.Read(first[0], e.Subjects), deadletter.Read(last, e.Subjects)}, nil
}

// countLetters groups by looking at every letter that may be selected.
func (e *Engine) countLetters(ctx context.Context, f *deadletter.Filter, groups *deadletter.Groups) error {
	s, began := e.scan(f, 1), e.Now()
	for {
		letters, _, over, err := s.next(ctx, maxScan)
		if err != nil {
			return err
		}
		for i := range letters {
			groups.Add(&letters[i])
		}
		if over {
			return nil
		}
		if e.Now().Sub(began) > groupTime {
			groups.Interrupt()
			return nil
		}
	}
}
