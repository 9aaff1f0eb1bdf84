package handlers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// stubStore notes what is done, and fails at what it is told to.
type stubStore struct {
	AdvisoryStore
	mu     sync.Mutex
	done   []string
	faults map[string]error
	takes  time.Duration // of a look
	state  schemas.ConsumerState
}

func (s *stubStore) do(what string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = append(s.done, what)
	return s.faults[what]
}

// took is what was done since the last call.
func (s *stubStore) took() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := s.done
	s.done = nil
	return done
}

func (s *stubStore) ConsumerState(context.Context, string, string) (*schemas.ConsumerState, error) {
	time.Sleep(s.takes)
	if err := s.do("look"); err != nil {
		return nil, err
	}
	state := s.state
	return &state, nil
}

func (s *stubStore) ReadMessage(context.Context, string, uint64) (schemas.Stored, error) {
	return schemas.Stored{Message: schemas.Message{Subject: "orders.x"}}, s.do("read")
}

func (s *stubStore) ReportGivenUp(context.Context, *schemas.GivenUp) error { return s.do("report") }
func (s *stubStore) AckFor(context.Context, schemas.Origin) error          { return s.do("ack for it") }

// advising is an adapter of a store, which watches the consumer of storedAdvisory.
func advising(s *stubStore) *adapter {
	now := func() time.Time { return time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC) }
	e := &Engine{
		Config: Config{Now: time.Now, Subjects: schemas.Subjects{Prefix: "recovery"}, AdvisoryMode: AdvisoriesWatch},
		clock:  NewClock(now), observer: Observers{}, faults: map[string]string{},
	}
	e.policies.Store(DefaultPolicies())
	s.state = schemas.ConsumerState{Stream: "S", Consumer: "W", AckPolicy: "explicit", MaxDeliver: 5, Delivered: 100, Redelivered: 1, Retention: schemas.RetentionWorkQueue}
	return &adapter{
		e: e, store: s, memory: newAdviceMemory(), watches: &watches{e: e, all: map[consumerName]bool{{"S", "W"}: true}},
		states: &consumerStates{store: s, now: time.Now, all: map[consumerName]*consumerLook{}},
	}
}

// notice delivers an advisory for the nth time.
func (s *stubStore) notice(n uint64, change map[string]any) schemas.Notice {
	return schemas.Notice{
		Stored: *storedAdvisory(maxDeliverSubject, change), Deliveries: n,
		Settle: func() { _ = s.do("settle") }, Later: func(after time.Duration) { _ = s.do("later " + after.String()) },
	}
}

// Nothing is settled before what follows from it is stored, nothing is reported twice because
// of what failed after it, and what fails comes again.
func TestAdvisoriesStepByStep(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		faults map[string]error
		first  []string
		again  []string // with nothing broken any more
	}{
		"all is well": {nil, []string{"look", "read", "report", "ack for it", "settle"}, []string{"settle"}},
		"no look":     {map[string]error{"look": broken}, []string{"look", "later 1s"}, []string{"later 2s"}},
		"no read":     {map[string]error{"read": broken}, []string{"look", "read", "later 1s"}, []string{"read", "report", "ack for it", "settle"}},
		"no report":   {map[string]error{"report": schemas.ErrStoreFull}, []string{"look", "read", "report", "later 1s"}, []string{"read", "report", "ack for it", "settle"}},
		"no ack":      {map[string]error{"ack for it": broken}, []string{"look", "read", "report", "ack for it", "later 1s"}, []string{"ack for it", "settle"}},
		"too large":   {map[string]error{"report": schemas.ErrTooLarge}, []string{"look", "read", "report", "settle"}, []string{"read", "report", "ack for it", "settle"}},
		"gone":        {map[string]error{"read": schemas.ErrNotFound}, []string{"look", "read", "settle"}, []string{"read", "report", "ack for it", "settle"}},
		"timeout":     {map[string]error{"read": fmt.Errorf("read: %w", schemas.ErrTimeout)}, []string{"look", "read", "later 1s"}, []string{"later 2s"}},
	} {
		s := &stubStore{faults: test.faults}
		a := advising(s)
		for i, want := range [][]string{test.first, test.again} {
			a.take(t.Context(), s.notice(uint64(i+1), nil))
			if got := s.took(); !slices.Equal(got, want) {
				t.Errorf("%s, try %d: %q, want %q", name, i+1, got, want)
			}
			s.faults = nil
		}
	}
}

// What ends in the middle is the next owner's at once.
func TestAdvisoriesWhenTheirOwnerEnds(t *testing.T) {
	t.Parallel()
	s := &stubStore{faults: map[string]error{"read": context.Canceled}}
	a := advising(s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.take(ctx, s.notice(1, nil))
	if got, want := s.took(), []string{"look", "read", "later 0s"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A consumer that cannot be looked at is asked for once, not for each of its messages, and is
// asked for again later.
func TestConsumersThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stubStore{faults: map[string]error{"look": schemas.ErrTimeout}, takes: 10 * time.Second}
		a := advising(s)
		began := time.Now()
		var wg sync.WaitGroup
		for n := range 50 {
			wg.Go(func() { a.take(t.Context(), s.notice(1, map[string]any{"stream_seq": n + 1})) })
		}
		wg.Wait()
		looks := func() int { return len(slices.DeleteFunc(s.took(), func(what string) bool { return what != "look" })) }
		if n := looks(); n != 1 || time.Since(began) != 10*time.Second {
			t.Errorf("%d looks in %s", n, time.Since(began))
		}
		time.Sleep(consumerFailed + time.Second)
		s.faults = nil
		a.take(t.Context(), s.notice(2, nil))
		if n := looks(); n != 1 {
			t.Errorf("%d looks later", n)
		}
	})
}

// A state that is a moment old is believed when it fits, not when it does not.
func TestConsumersAreLookedAtAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stubStore{}
		a := advising(s)
		s.state.Delivered = 6
		for i, want := range []string{adviceRefused, adviceReported, adviceReported} {
			said, err := parseAdvisory(storedAdvisory(maxDeliverSubject, map[string]any{"stream_seq": 7 + i}))
			if err != nil {
				t.Fatal(err)
			}
			if v := a.advise(t.Context(), &said, false); v.result != want {
				t.Errorf("advisory %d: %s %v, want %s", i, v.result, v.why, want)
			}
			s.state.Delivered = 100
		}
		if got := slices.DeleteFunc(s.took(), func(what string) bool { return what != "look" }); len(got) != 3 {
			t.Errorf("%d looks, want 3: one, one anew, and again anew as it did not fit", len(got))
		}
	})
}
