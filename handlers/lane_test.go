package handlers

import (
	"slices"
	"testing"

	"github.com/recoveryd/recoveryd/schemas"
)

// A slot is read by sequence only if that cannot pass over anything, and is worth it.
func TestWhichMessagesAreLookedUp(t *testing.T) {
	t.Parallel()
	apart := []uint64{100, 200, 300}
	for name, c := range map[string]struct {
		lane lane
		most int
		want []uint64
	}{
		"all are known":          {lane{known: apart, unread: 3}, 10, apart},
		"no more than asked for": {lane{known: apart, unread: 3}, 2, apart[:2]},
		"one was not followed":   {lane{known: apart, unread: 4}, 10, nil},
		"some were only counted": {lane{known: apart, unread: 3, counted: true}, 10, nil},
		"close together":         {lane{known: []uint64{100, 110, 120}, unread: 3}, 10, nil},
		"nothing is known":       {lane{unread: 3}, 10, nil},
	} {
		if got := c.lane.lookUp(c.most, 32); !slices.Equal(got, c.want) {
			t.Errorf("%s: looks up %v, want %v", name, got, c.want)
		}
	}
}

func TestWhatIsKnownOfLanesIsBounded(t *testing.T) {
	t.Parallel()
	s := &shard{known: maxKnown - 1}
	l := &lane{kind: schemas.LaneDue, read: 5}
	for _, seq := range []uint64{5, 6, 7} { // read already, the last that is kept, one too many
		s.know(l, seq)
	}
	if !slices.Equal(l.known, []uint64{6}) || s.known != maxKnown {
		t.Errorf("knows %v, %d in all", l.known, s.known)
	}
	if l.forget(6); l.known != nil {
		t.Errorf("still knows %v", l.known)
	}
}
