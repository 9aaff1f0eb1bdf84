package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// maxWatches bounds the consumers that are watched: each is looked at by every sweep.
const maxWatches = 500

// Bounds of looks at consumers for an answer. What the daemon may not ask gets no answer at all.
const (
	watchLook  = 5 * time.Second
	watchLooks = 16 // at the same time
)

// addWatch adds what is asked about watches; any replica answers.
func (e *Engine) addWatch(all map[string]endpoint) {
	if e.Advisories == nil {
		return
	}
	for name, f := range map[string]APIFunc{
		"watch.ls": answer(e.listWatches), "watch.add": answer(e.putWatch), "watch.rm": answer(e.removeWatch),
	} {
		all[name] = endpoint{public: f, local: f}
	}
}

func (e *Engine) listWatches(ctx context.Context, _ schemas.WatchListRequest) (schemas.WatchListReply, error) {
	reply := schemas.WatchListReply{Mode: e.AdvisoryMode, Watches: []schemas.WatchStatus{}}
	all, err := e.readWatches(ctx)
	if err != nil {
		return reply, err
	}
	reply.Watches = make([]schemas.WatchStatus, len(all))
	var wg sync.WaitGroup
	places := make(chan struct{}, watchLooks)
	for i, w := range all {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			reply.Watches[i] = e.watchStatus(ctx, w)
		})
	}
	wg.Wait()
	return reply, nil
}

// watchStatus says how the consumer of a watch is now, as far as it can be looked at.
func (e *Engine) watchStatus(ctx context.Context, w schemas.Watch) schemas.WatchStatus {
	state, err := e.lookAtConsumer(ctx, w.Stream, w.Consumer)
	if err == nil {
		err = unfit(state)
	}
	s := e.statusOf(w, state)
	if err != nil {
		s.Fault = err.Error()
	}
	return s
}

func (e *Engine) lookAtConsumer(ctx context.Context, stream, consumer string) (*schemas.ConsumerState, error) {
	ctx, cancel := context.WithTimeout(ctx, watchLook)
	defer cancel()
	state, err := e.Advisories.ConsumerState(ctx, stream, consumer)
	if errors.Is(err, schemas.ErrTimeout) {
		err = fmt.Errorf("%w: is the daemon allowed to look at it? see recoveryd permissions daemon --watch %s/%s", err, stream, consumer)
	}
	return state, err
}

func (e *Engine) statusOf(w schemas.Watch, c *schemas.ConsumerState) schemas.WatchStatus {
	s := schemas.WatchStatus{Stream: w.Stream, Consumer: w.Consumer, AddedAt: w.Added, Actor: w.Actor, Reason: w.Reason, Warnings: []string{}}
	if c == nil {
		return s
	}
	s.Exists, s.Retention, s.MaxDeliver, s.Waiting, s.AckPending = true, c.Retention, c.MaxDeliver, c.Waiting, c.AckPending
	if c.AckPending == 0 && c.MaxDeliver > 1 {
		s.Exhausted = &c.Redelivered
	}
	s.Warnings = append(s.Warnings, warnings(c)...)
	if e.AdvisoryMode == AdvisoriesOff {
		s.Warnings = append(s.Warnings, "nothing is recovered while RECOVERYD_ADVISORIES is off")
	}
	return s
}

// warnings says what will not work as somebody may expect.
func warnings(c *schemas.ConsumerState) (all []string) {
	if c.Retention != schemas.RetentionLimits {
		all = append(all, fmt.Sprintf("stream %s has %s retention: a message that a worker terminates is gone before it can be read", c.Stream, c.Retention))
	}
	if c.Retention != schemas.RetentionWorkQueue && c.Consumers > 1 {
		all = append(all, fmt.Sprintf("stream %s has %d consumers: a redelivery reaches all that hear its subject, unless the policy has deliver.to", c.Stream, c.Consumers))
	}
	return all
}

// checkWatch reads a request that names a consumer.
func checkWatch(q schemas.WatchRequest) error {
	if err := schemas.CheckName(q.Stream); err != nil {
		return badRequest("stream: %v", err)
	}
	if err := schemas.CheckName(q.Consumer); err != nil {
		return badRequest("consumer: %v", err)
	}
	return nil
}

// putWatch watches a consumer. To watch it again changes who and why.
func (e *Engine) putWatch(ctx context.Context, q schemas.WatchRequest) (schemas.WatchStatus, error) {
	w := schemas.Watch{Stream: q.Stream, Consumer: q.Consumer, Actor: oneLine(q.Actor, 200), Reason: oneLine(q.Reason, 500)}
	if err := checkWatch(q); err != nil {
		return schemas.WatchStatus{}, err
	}
	state, err := e.lookAtConsumer(ctx, q.Stream, q.Consumer)
	switch {
	case errors.Is(err, schemas.ErrNotFound):
		return schemas.WatchStatus{}, notFound("%v", err)
	case errors.Is(err, schemas.ErrTimeout):
		return schemas.WatchStatus{}, &schemas.APIError{Code: 503, Message: err.Error()}
	case err != nil:
		return schemas.WatchStatus{}, err
	case state.Own:
		return schemas.WatchStatus{}, badRequest("stream: %s is recoveryd's own, which is never recovered: watch consumers of streams of the application", q.Stream)
	}
	if err := unfit(state); err != nil {
		return schemas.WatchStatus{}, badRequest("consumer: %v", err)
	}
	if q.DryRun {
		return e.statusOf(w, state), nil
	}
	w.Added = stamp(e.clock.Now())
	return e.statusOf(w, state), e.storeWatch(ctx, w)
}

func (e *Engine) storeWatch(ctx context.Context, w schemas.Watch) error {
	all, err := e.readWatches(ctx)
	if err != nil {
		return err
	}
	key := schemas.WatchKey(w.Stream, w.Consumer)
	_, revision, err := e.bus.StateGet(ctx, key)
	switch {
	case errors.Is(err, schemas.ErrNotFound):
		if len(all) >= maxWatches {
			return conflict("%d consumers are watched, more cannot be: remove some with recoveryd watch rm, or set RECOVERYD_ADVISORIES=all", len(all))
		}
	case err != nil:
		return err
	}
	data, err := json.Marshal(w)
	if err != nil {
		return err
	}
	_, err = e.bus.StatePut(ctx, key, data, revision)
	return changedMeanwhile(err)
}

// removeWatch watches a consumer no more. What was reported goes on its way.
func (e *Engine) removeWatch(ctx context.Context, q schemas.WatchRequest) (schemas.WatchStatus, error) {
	if err := checkWatch(q); err != nil {
		return schemas.WatchStatus{}, err
	}
	key := schemas.WatchKey(q.Stream, q.Consumer)
	data, revision, err := e.bus.StateGet(ctx, key)
	if errors.Is(err, schemas.ErrNotFound) {
		return schemas.WatchStatus{}, notFound("%s is not watched: recoveryd watch ls shows what is", consumerName{q.Stream, q.Consumer})
	}
	if err != nil {
		return schemas.WatchStatus{}, err
	}
	w, err := parseWatch(key, data)
	if err != nil { // remove what cannot be read, too
		w = schemas.Watch{Stream: q.Stream, Consumer: q.Consumer}
	}
	status := e.watchStatus(ctx, w)
	if q.DryRun {
		return status, nil
	}
	status.AddedAt = ""
	return status, changedMeanwhile(e.bus.StateDelete(ctx, key, revision))
}

func changedMeanwhile(err error) error {
	if errors.Is(err, schemas.ErrConflict) {
		return conflict("the watch was changed by somebody else at this moment: look again")
	}
	return err
}
