package handlers

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

// maxImport bounds the letters of one request.
const maxImport = 1000

// importDead stores exported letters again, all or none as far as they can be checked
// before.
func (e *Engine) importDead(ctx context.Context, q schemas.DeadImportRequest) (schemas.DeadImportReply, error) {
	var reply schemas.DeadImportReply
	if len(q.Letters) == 0 || len(q.Letters) > maxImport {
		return reply, badRequest("letters: %d, not 1 to %d", len(q.Letters), maxImport)
	}
	messages := make([]schemas.Message, len(q.Letters))
	var faults []string
	for i := range q.Letters {
		m, err := deadletter.Import(&q.Letters[i], e.Subjects)
		if err == nil && len(m.Body) > e.Dead.MaxBody() {
			err = fmt.Errorf("body: has %d bytes, at most %d can be stored", len(m.Body), e.Dead.MaxBody())
		}
		if err != nil && len(faults) < 20 {
			faults = append(faults, fmt.Sprintf("letters[%d]: %v", i, err))
		}
		messages[i] = m
	}
	if len(faults) > 0 {
		return reply, badRequest("%s", strings.Join(faults, "; "))
	}
	if q.DryRun {
		return reply, nil
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	places := make(chan struct{}, 64)
	for i, m := range messages {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			present, err := e.storeAgain(ctx, m)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				reply.Faults = append(reply.Faults, fmt.Sprintf("letters[%d]: %v", i, err))
			case present:
				reply.Present++
			default:
				reply.Stored++
			}
		})
	}
	wg.Wait()
	return reply, nil
}

// storeAgain stores a letter unless it is in the store. The store remembers message ids for
// some minutes, also of letters that are gone: then the letter gets another id.
func (e *Engine) storeAgain(ctx context.Context, m schemas.Message) (present bool, err error) {
	ack, err := e.store(ctx, m)
	if err != nil || !ack.Duplicate {
		return false, err
	}
	if _, err := e.letterAt(ctx, ack.Sequence); err == nil {
		return true, nil
	}
	_, err = e.store(ctx, deadletter.Anew(m, rand.Text()[:8]))
	return false, err
}

// store publishes a message and waits for its PubAck.
func (e *Engine) store(ctx context.Context, m schemas.Message) (schemas.Ack, error) {
	type answer struct {
		ack schemas.Ack
		err error
	}
	got := make(chan answer, 1)
	e.bus.Publish(m, func(ack schemas.Ack, err error) { got <- answer{ack, err} })
	select {
	case a := <-got:
		return a.ack, a.err
	case <-ctx.Done():
		return schemas.Ack{}, ctx.Err()
	}
}

// exportDead is a page of letters exactly as they are stored.
func (e *Engine) exportDead(ctx context.Context, q schemas.DeadExportRequest) (schemas.DeadExportReply, error) {
	reply := schemas.DeadExportReply{Letters: []schemas.DeadExport{}}
	f, err := e.compileFilter(q.Filter)
	if err != nil {
		return reply, err
	}
	s, began, size := e.scan(f, q.From), e.Now(), 0
	for {
		letters, _, over, err := s.next(ctx, 100)
		if err != nil {
			return reply, err
		}
		for i := range letters {
			m := &letters[i].Stored
			bytes := 200 + len(m.Subject) + 2*m.Header.Size() + 4*len(m.Body)/3
			if bytes > replyBytes {
				reply.TooLarge = append(reply.TooLarge, m.Sequence)
				continue
			}
			if size += bytes; size > replyBytes {
				reply.Next = m.Sequence
				return reply, nil
			}
			reply.Letters = append(reply.Letters, deadletter.Export(m))
		}
		if over {
			return reply, nil
		}
		if e.Now().Sub(began) > pageTime {
			reply.Next = s.at
			return reply, nil
		}
	}
}
