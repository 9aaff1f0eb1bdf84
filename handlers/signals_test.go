package handlers

import (
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// collector is signals whose pause ends when the test says so.
func collector() (s *signals, sent *[]*signal, pause func()) {
	sent = new([]*signal)
	var due []func()
	s = newSignals(func(_ time.Duration, do func()) { due = append(due, do) }, func(p *signal) { *sent = append(*sent, p) })
	return s, sent, func() {
		for _, do := range due {
			do()
		}
		due = nil
	}
}

func TestSignalsAreCollectedByKey(t *testing.T) {
	t.Parallel()
	s, sent, pause := collector()
	a, b := breakerKey{"p", "a"}, breakerKey{"p", "b"}
	settled := 0
	done := func(ok bool) {
		if ok {
			settled++
		}
	}
	at := time.Unix(100, 0)
	for n := range 3 {
		s.add(a, &schemas.Success{Subject: "a", ID: "x", At: at.Add(time.Duration(n))}, false, done)
		s.add(b, &schemas.Success{Subject: "b", ID: "x", At: at}, true, done)
	}
	s.add(a, &schemas.Success{Subject: "a", ID: "probe", Delivery: 3, Generation: 7, Probe: true, At: at}, false, done)
	if len(*sent) != 0 {
		t.Fatal("it did not wait")
	}
	pause()
	if len(*sent) != 2 {
		t.Fatalf("sent %d signals, want one for each key", len(*sent))
	}
	first, second := (*sent)[0], (*sent)[1]
	if first.Plain != 1 || first.At != at.Add(2).UnixNano() || len(first.Each) != 1 || first.Each[0].ID != "probe" || first.Each[0].Generation != 7 {
		t.Errorf("a: %+v, want the latest plain one and the probe", first.Signals)
	}
	if second.Plain != 3 || len(second.Each) != 0 {
		t.Errorf("b: %+v, want three, as rates count them", second.Signals)
	}
	for _, p := range *sent {
		for _, done := range p.done {
			done(true)
		}
	}
	if settled != 7 {
		t.Errorf("%d reports were settled, want 7", settled)
	}
}

func TestFullSignalsGoAtOnce(t *testing.T) {
	t.Parallel()
	s, sent, pause := collector()
	for n := range maxSignals + 1 {
		s.add(breakerKey{"p", "a"}, &schemas.Success{Generation: 1, Delivery: n}, false, func(bool) {})
	}
	if len(*sent) != 1 || len((*sent)[0].Each) != maxSignals {
		t.Fatalf("sent %d signals before the pause was over, want one full one", len(*sent))
	}
	pause()
	if len(*sent) != 2 || len((*sent)[1].Each) != 1 {
		t.Errorf("sent %d signals, want the rest in a second one", len(*sent))
	}
}

func TestBothPartsSettleAReport(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]bool{{true, true, true}, {true, false, false}, {false, true, false}} {
		var got []bool
		part := both(func(settle bool) { got = append(got, settle) })
		part(c[0])
		if len(got) != 0 {
			t.Fatal("one part was enough")
		}
		part(c[1])
		if len(got) != 1 || got[0] != c[2] {
			t.Errorf("%v and %v: %v, want one %v", c[0], c[1], got, c[2])
		}
	}
}
