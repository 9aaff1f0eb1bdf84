package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
	"github.com/recoveryd/recoveryd/test/bench/internal/load"
)

// calm is a policy with a fixed delay whose breakers count but do not trip: a thousand
// failures of one subject would have to come within half a second.
func (b *run) calm(delay time.Duration) string {
	return fmt.Sprintf(`version: 1
policies:
  - name: bench
    subjects: ["bench.>"]
    retry: {max_attempts: 5, initial_delay: %s, jitter: none, max_hint: 1h}
    breaker: {failure_threshold: 1000, window: 500ms}
    outcomes: %s
`, delay, b.outcomes)
}

// reported is what every failure says of itself.
var reported = schemas.Header{schemas.HeaderError: {"connection refused"}}

// names are the subjects on which failures of a part of a scenario are reported.
func names(part string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = subjects.Failed(fmt.Sprintf("bench.%s.%d", part, i))
	}
	return all
}

// fixed makes n failures (0 = without end) that wait for the delay of the policy.
func fixed(names []string, n int, delay time.Duration, header schemas.Header) load.Make {
	return func(i int, body []byte) (schemas.Message, bool) {
		load.Stamp{Index: uint64(i), Delay: delay}.Put(body)
		return schemas.Message{Subject: names[i%len(names)], Header: header, Body: body}, n == 0 || i < n
	}
}

// spread makes n failures that are due at moments spread evenly over a time from a moment
// on, in no order. None waits for less than least.
func spread(names []string, n int, from time.Time, over, least time.Duration) load.Make {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	return func(i int, body []byte) (schemas.Message, bool) {
		delay := max(least, time.Until(from.Add(time.Duration(random.Int64N(int64(over))))))
		load.Stamp{Index: uint64(i), Delay: delay}.Put(body)
		header := schemas.Header{
			schemas.HeaderError:      reported[schemas.HeaderError],
			schemas.HeaderRetryAfter: {delay.String()},
		}
		return schemas.Message{Subject: names[i%len(names)], Header: header, Body: body}, i < n
	}
}

// follower knows how many messages the target has taken in, 50 times a second. That costs the
// server a little, so it runs only where a window needs it.
type follower struct {
	last atomic.Uint64
	stop chan struct{}
	done chan struct{}
}

func (r *rig) follow() *follower {
	f := &follower{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(f.done)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			// A failed look is repeated; a lasting fault ends the measurement elsewhere.
			if state, err := r.state(target); err == nil {
				f.last.Store(state.LastSeq)
			}
			select {
			case <-ticker.C:
			case <-f.stop:
				return
			}
		}
	}()
	return f
}

func (f *follower) close() {
	close(f.stop)
	<-f.done
}

// stored waits until a stream has taken in messages up to a sequence.
func (r *rig) stored(stream string, sequence uint64) error {
	return r.b.until("messages stored in "+stream, 50*time.Millisecond, func() (uint64, bool, error) {
		state, err := r.state(stream)
		return state.LastSeq, state.LastSeq >= sequence, err
	})
}

// emptied waits until streams hold nothing.
func (r *rig) emptied(streams ...string) error {
	for _, stream := range streams {
		err := r.b.until("messages left in "+stream, 50*time.Millisecond, func() (uint64, bool, error) {
			state, err := r.state(stream)
			return state.Msgs, state.Msgs == 0, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// settled waits until all work that was sent since the target held base was delivered, and
// nothing waits any more.
func (r *rig) settled(base uint64, sent int) error {
	if err := r.stored(target, base+uint64(sent)); err != nil {
		return err
	}
	return r.emptied(failedStream, ledgerStream)
}

func count(n int) string { return strconv.Itoa(n) }
