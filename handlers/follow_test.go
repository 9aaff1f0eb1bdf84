package handlers

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/recoveryd/recoveryd/schemas"
)

// followModel is a ledger whose owner loses answers, and a follower that lags.
type followModel struct {
	s       *shard
	now     time.Time
	last    uint64          // stored
	signals map[uint64]bool // of what is stored
	secret  []uint64        // stored, and nobody has an answer
	flying  []followAppend
	counted map[uint64]int

	telling, all bool
	next         uint64  // message to tell of
	asked        *effect // the follower is to be exchanged
}

type followAppend struct {
	era uint8
	seq uint64 // 0 = not stored yet
}

func newFollowModel(former bool) *followModel {
	m := &followModel{s: &shard{}, now: time.Unix(1_900_000_000, 0), signals: map[uint64]bool{}, counted: map[uint64]int{}, telling: true, all: former, next: 1}
	m.s.following.begin(m.now, 0, former)
	return m
}

func (m *followModel) store() uint64 {
	m.last++
	return m.last
}

// tell has the follower tell the next message that it tells of.
func (m *followModel) tell() (more bool) {
	for m.telling && m.next <= m.last {
		seq := m.next
		m.next++
		if m.all || m.signals[seq] {
			if !m.s.following.hear(seq) {
				m.counted[seq]++
			}
			return true
		}
	}
	return false
}

// answer takes the answer to an append that is stored, or loses it.
func (m *followModel) answer(i int, lost bool) {
	a, f := m.flying[i], &m.s.following
	m.flying = slices.Delete(m.flying, i, i+1)
	switch {
	case lost:
		m.secret = append(m.secret, a.seq)
		f.unsure(m.now)
	case !f.stored(a.seq):
		m.counted[a.seq]++
	}
	f.answered(a.era)
}

// exchange takes the next step of exchanging the follower, if it is to be.
func (m *followModel) exchange() {
	switch {
	case m.asked == nil:
		m.s.exchange(m.now)
		if len(m.s.out) > 0 {
			m.asked, m.s.out = &m.s.out[0], nil
		}
	case m.telling:
		if !m.asked.all {
			m.asked.from = m.next
		}
		m.telling, m.all, m.next = false, m.asked.all, m.asked.from
		m.s.exchanged(m.all, m.next)
	default:
		m.telling, m.asked = true, nil
		m.s.attached(m.now)
	}
}

// Whatever answers are lost: each message is counted once, and in the end so is every one
// that was stored without an answer.
func TestFollowing(t *testing.T) {
	t.Parallel()
	for range 100 { // what is rare takes more than a hundred cases, and they are short
		if rapid.Check(t, checkFollowing); t.Failed() {
			return
		}
	}
}

func checkFollowing(t *rapid.T) {
	m := newFollowModel(rapid.Bool().Draw(t, "former"))
	// An action on an append does nothing if there is none in that state.
	first := func(stored bool, do func(i int)) {
		if i := slices.IndexFunc(m.flying, func(a followAppend) bool { return (a.seq != 0) == stored }); i >= 0 {
			do(i)
		}
	}
	t.Repeat(map[string]func(*rapid.T){
		"send":     func(*rapid.T) { m.flying = append(m.flying, followAppend{era: m.s.following.sent()}) },
		"store":    func(*rapid.T) { first(false, func(i int) { m.flying[i].seq = m.store() }) },
		"answer":   func(t *rapid.T) { first(true, func(i int) { m.answer(i, rapid.Float64().Draw(t, "lost") < 0.3) }) },
		"signal":   func(*rapid.T) { m.signals[m.store()] = true },
		"tell":     func(*rapid.T) { m.tell() },
		"exchange": func(*rapid.T) { m.exchange() },
		"later": func(*rapid.T) {
			for m.tell() { // it lags less
			}
			m.now = m.now.Add(20 * time.Second)
		},
		"": func(t *rapid.T) {
			for seq, n := range m.counted {
				if n > 1 {
					t.Fatalf("message %d was counted %d times", seq, n)
				}
			}
		},
	})
	for range 3 { // the exchange under way, and one more
		m.exchange()
	}
	for m.asked != nil {
		m.exchange()
	}
	for m.tell() {
	}
	for _, seq := range m.secret {
		if m.counted[seq] != 1 {
			t.Fatalf("message %d was counted %d times: %+v", seq, m.counted[seq], m.s.following)
		}
	}
}

// An append that may be stored all the same has everything followed; one that is certainly
// not stored does not.
func TestOnlyDoubtHasEverythingFollowed(t *testing.T) {
	t.Parallel()
	for want, errs := range map[bool][]error{
		true:  {schemas.ErrTimeout, schemas.ErrClosed, errors.New("anything else")},
		false: {schemas.ErrTooLarge, schemas.ErrStoreFull, schemas.ErrNoStream, schemas.ErrNotSent, errors.Join(schemas.ErrTimeout, schemas.ErrNotSent)},
	} {
		for _, err := range errs {
			now := time.Unix(1_900_000_000, 0)
			s := &shard{}
			s.following.begin(now, 7, false)
			it := &item{into: &lane{kind: schemas.LaneDue, coming: 1}, era: s.following.sent()}
			s.unappended(now, it, err)
			s.exchange(now)
			if got := len(s.out) == 1 && s.out[0].kind == effFollow && s.out[0].all && s.out[0].from == 8; got != want {
				t.Errorf("%v: everything is followed: %v, want %v", err, got, want)
			}
			if it.into.counted != want || it.into.coming != 0 {
				t.Errorf("%v: the lane is %+v", err, it.into)
			}
		}
	}
}
