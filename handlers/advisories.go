package handlers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// Which consumers' messages are recovered without a word of their workers.
const (
	AdvisoriesOff   = "off"
	AdvisoriesWatch = "watch" // those that are watched
	AdvisoriesAll   = "all"   // and every other one with max_deliver
)

const (
	maxAdvising  = 16          // messages worked on at the same time
	sweepAfter   = time.Minute // between two sweeps
	opAdvisories = "advisories"
)

// adapter turns advisories into reports of failure, on the one replica whose turn it is.
type adapter struct {
	e       *Engine
	store   AdvisoryStore
	watches *watches
	memory  *adviceMemory
	states  *consumerStates
}

// readAdvisories serves advisories until ctx ends.
func (e *Engine) readAdvisories(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := &adapter{
		e: e, store: e.Advisories, memory: newAdviceMemory(),
		watches: &watches{e: e, all: map[consumerName]bool{}, absent: map[consumerName]time.Time{}},
		states:  &consumerStates{store: e.Advisories, now: e.Now, all: map[consumerName]*consumerLook{}},
	}
	unfollow, err := a.watches.follow(ctx)
	if err != nil {
		return fmt.Errorf("watches: %w", err)
	}
	defer unfollow()
	defer e.setFault(opAdvisories, nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	places := make(chan struct{}, maxAdvising)
	stop, err := a.store.Advisories(ctx, func(n schemas.Notice) {
		e.clock.Saw(n.Time, time.Now())
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			n.Later(0) // the next owner gets it at once
			return
		}
		wg.Go(func() {
			defer func() { <-places }()
			a.take(ctx, n)
		})
	}, func(err error) { e.setFault(opAdvisories, err) })
	if err != nil {
		return err
	}
	defer stop()
	defer cancel() // before, as what is read may wait for its turn here
	a.sweeps(ctx)
	return nil
}

// take does all there is to do for one advisory.
func (a *adapter) take(ctx context.Context, n schemas.Notice) {
	v, said := advice{}, advisory{}
	said, v.why = parseAdvisory(&n.Stored)
	if v.why != nil {
		v.result = adviceMalformed
	} else {
		v = a.advise(ctx, &said, n.Deliveries > 1)
	}
	switch {
	case v.result != "" && v.result != adviceFailed:
		n.Settle()
	case ctx.Err() != nil:
		n.Later(0)
		return
	default:
		n.Later(adviceBackoff(n.Deliveries - 1))
	}
	a.tell(&said, said.kind, v)
}

// advise recovers the message of an advisory if it shall be. again says that an earlier try
// was made, perhaps by another owner.
func (a *adapter) advise(ctx context.Context, said *advisory, again bool) advice {
	failed := func(err error) advice { return advice{adviceFailed, err} }
	if said.byServer() {
		return advice{result: adviceDeleted}
	}
	watched, err := a.watches.has(ctx, said.consumer, said.at)
	if err != nil {
		return failed(err)
	}
	if !watched && a.e.AdvisoryMode != AdvisoriesAll {
		return advice{result: adviceUnwatched}
	}
	state, v, err := a.identify(ctx, said)
	switch {
	case err != nil:
		return failed(err)
	case !watched && (state == nil || state.Own || state.MaxDeliver < 1):
		return advice{result: adviceUnwatched}
	case v.result != "":
		return v
	}
	v = a.recover(ctx, said, state)
	if v.result == adviceGone && again && said.kind == advisoryMaxDeliveries && state.Retention != schemas.RetentionLimits {
		return advice{result: adviceRepeated} // it was settled, and the word on that was lost
	}
	return v
}

// identify judges an advisory. It is refused only by a state that is not older than it.
func (a *adapter) identify(ctx context.Context, said *advisory) (state *schemas.ConsumerState, v advice, err error) {
	for _, fresh := range []bool{false, true} {
		if state, err = a.states.get(ctx, said.consumer, fresh); err != nil {
			return nil, v, err
		}
		if v = judgeAdvisory(said, state); v.result == "" {
			break
		}
	}
	return state, v, nil
}

// recover reports a message that was given up, and then settles it.
func (a *adapter) recover(ctx context.Context, said *advisory, state *schemas.ConsumerState) advice {
	k := adviceKey{said.consumer, state.StreamCreated.UnixNano(), state.Created.UnixNano(), said.sequence, said.deliveries}
	got := a.memory.begin(k)
	switch got {
	case adviceDone:
		return advice{result: adviceRepeated}
	case adviceBusy:
		return advice{} // whoever is at it may fail
	}
	v := advice{result: adviceReported}
	if got == adviceNew {
		v = a.report(ctx, said)
		got = adviceStored
		if v.result != adviceReported {
			got = adviceNew
		}
	}
	if v.result == adviceReported {
		v = a.settle(ctx, said)
		if v.result == adviceReported {
			got = adviceDone
		}
	}
	a.memory.note(k, got)
	if v.result == adviceFailed {
		a.states.failed(said.consumer, v.why)
	}
	return v
}

// settle takes a reported message off its consumer. What a worker terminated is off already.
func (a *adapter) settle(ctx context.Context, said *advisory) advice {
	if said.kind == advisoryMaxDeliveries {
		if err := a.store.AckFor(ctx, said.origin()); err != nil {
			return advice{adviceFailed, err}
		}
	}
	return advice{result: adviceReported}
}

// report publishes the report of a message as its worker would have done.
func (a *adapter) report(ctx context.Context, said *advisory) advice {
	m, err := a.store.ReadMessage(ctx, said.consumer.stream, said.sequence)
	if errors.Is(err, schemas.ErrNotFound) {
		return advice{adviceGone, fmt.Errorf("message %d of stream %s is not there any more, %s", said.sequence, said.consumer.stream, said.whyGone())}
	}
	if err != nil {
		return advice{adviceFailed, err}
	}
	if v := judgeMessage(&m, said.at, a.e.Subjects, a.e.Policies()); v.result != "" {
		return v
	}
	err = a.store.ReportGivenUp(ctx, &schemas.GivenUp{
		Message: m.Message, Origin: said.origin(), At: said.at, Error: said.text(), Permanent: said.kind == advisoryTerminated,
	})
	switch {
	case errors.Is(err, schemas.ErrTooLarge):
		return advice{adviceUnreportable, err}
	case err != nil:
		return advice{adviceFailed, err}
	}
	return advice{result: adviceReported}
}

func (a *advisory) whyGone() string {
	if a.kind == advisoryTerminated {
		return "as a work queue removes what its worker terminates: have the worker report such failures itself, or use a stream with limits retention"
	}
	return "limits of the stream or somebody removed it: raise the limits if it was needed"
}

// tell observes what became of an advisory, or of what a sweep found.
func (a *adapter) tell(said *advisory, source string, v advice) {
	if v.result == "" {
		return
	}
	e := Event{Kind: EventAdvisory, At: a.e.clock.Now(), Source: source, Result: v.result, Op: "recover what a consumer gave up", Err: v.why}
	if said.sequence > 0 {
		e.ID = fmt.Sprintf("%s/%s:%d", said.consumer.stream, said.consumer.name, said.sequence)
	}
	switch v.result {
	case adviceFailed:
		a.e.setFault(opAdvisories, v.why)
	case adviceReported, adviceRepeated, adviceGone, adviceUnreportable:
		a.e.setFault(opAdvisories, nil)
	}
	a.e.observer.Observe(e)
}
