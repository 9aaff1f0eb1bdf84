package handlers

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var bookParts = [][]string{{"recovery.intake.1.>"}}

func bookTime(seq uint64) time.Time { return time.Unix(1_900_000_000, int64(seq)).UTC() }

// inherit is what the next owner knows of a book.
func inherit(t interface{ Fatal(...any) }, b *intakeBook) *intakeBook {
	c := checkpoint{books: []*intakeBook{b}, since: time.Unix(7, 0)}
	r, err := parseIntakeRecord(c.record(nil))
	if err != nil {
		t.Fatal(err)
	}
	return books(bookParts, r)[0]
}

// A book against a model of the stream: whatever is read, settled, checkpointed, removed
// and handed over in whatever order, no report that is not settled is removed or passed
// over, and none that a checkpoint calls settled is done again by its next owner.
func TestIntakeBook(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := books(bookParts, intakeRecord{})[0]
		stored, settled, stream := inherit(t, b), map[uint64]bool{}, []uint64(nil)
		known, checkpointed := map[uint64]bool{}, map[uint64]bool{} // to be settled, by this owner and by the next
		held, last, next := map[uint64]bool{}, uint64(0), 0
		begin := func() { b.seen, next = 0, 0 }
		t.Repeat(map[string]func(*rapid.T){
			"store": func(t *rapid.T) {
				last += uint64(rapid.IntRange(1, 5).Draw(t, "distance")) // others are of other shards
				stream = append(stream, last)
			},
			"read": func(t *rapid.T) {
				if next == len(stream) {
					t.Skip()
				}
				seq := stream[next]
				next++
				fresh, err := b.arrive(seq, bookTime(seq))
				switch {
				case err != nil:
					t.Fatalf("report %d: %v", seq, err)
				case fresh && (held[seq] || checkpointed[seq]):
					t.Fatalf("report %d is done twice", seq)
				case !fresh && !held[seq] && !settled[seq]:
					t.Fatalf("report %d is passed over", seq)
				case fresh:
					held[seq] = true
				}
			},
			"settle": func(t *rapid.T) {
				for _, seq := range slices.Sorted(maps.Keys(held)) {
					if !known[seq] && rapid.Bool().Draw(t, "this one") {
						settled[seq], known[seq] = true, true
						b.settle(seq)
					}
				}
			},
			"checkpoint": func(t *rapid.T) {
				stored, checkpointed = inherit(t, b), maps.Clone(known)
			},
			"read anew": func(*rapid.T) { begin() },
			"another owner": func(*rapid.T) {
				b, held, known = stored, map[uint64]bool{}, maps.Clone(checkpointed)
				stored = inherit(t, b)
				begin()
			},
			"remove": func(t *rapid.T) {
				floor := b.floor()
				for len(stream) > 0 && stream[0] <= floor {
					if !settled[stream[0]] {
						t.Fatalf("report %d is removed and not settled", stream[0])
					}
					stream, next = stream[1:], next-1
				}
			},
		})
	})
}

// After a power cut the stream may have lost its end, while the checkpoint has not: new
// reports come in the place of those that were settled, and are no less new.
func TestIntakeBookOfALostEnd(t *testing.T) {
	t.Parallel()
	b := books(bookParts, intakeRecord{})[0]
	for seq := uint64(1); seq <= 10; seq++ {
		if _, err := b.arrive(seq, bookTime(seq)); err != nil {
			t.Fatal(err)
		}
		if seq != 4 {
			b.settle(seq)
		}
	}
	young := bookTime(1000)
	if fresh, err := b.arrive(9, young); fresh || !errors.Is(err, errLostEnd) {
		t.Errorf("a younger report in the place of one that was read: %v, %v", fresh, err)
	}
	if floor := b.floor(); floor != 0 {
		t.Errorf("reports up to %d would be removed by what is known of others", floor)
	}
	b = inherit(t, b)
	for seq, fresh := range map[uint64]bool{3: false, 4: true} {
		if got, err := b.arrive(seq, bookTime(seq)); got != fresh || err != nil {
			t.Errorf("report %d: fresh %v, %v", seq, got, err)
		}
	}
	for _, seq := range []uint64{9, 10, 11} {
		if fresh, err := b.arrive(seq, young); !fresh || err != nil {
			t.Errorf("new report %d: fresh %v, %v", seq, fresh, err)
		}
	}
}

// The server's clock may be set back: what was read before is no newcomer then.
func TestIntakeBookOfAClockSetBack(t *testing.T) {
	t.Parallel()
	b := books(bookParts, intakeRecord{})[0]
	at := map[uint64]time.Time{1: bookTime(100), 2: bookTime(50), 3: bookTime(51)}
	for seq := uint64(1); seq <= 3; seq++ {
		if fresh, err := b.arrive(seq, at[seq]); !fresh || err != nil {
			t.Errorf("report %d: fresh %v, %v", seq, fresh, err)
		}
		b.settle(seq)
	}
	for what, again := range map[string]*intakeBook{"the same owner": b, "the next": inherit(t, b)} {
		for seq := uint64(1); seq <= 3; seq++ {
			if fresh, err := again.arrive(seq, at[seq]); fresh || err != nil {
				t.Errorf("%s reads report %d again: fresh %v, %v", what, seq, fresh, err)
			}
		}
	}
}

func TestIntakeRecordIsBounded(t *testing.T) {
	t.Parallel()
	b := books(bookParts, intakeRecord{})[0]
	for seq := uint64(10); len(b.marks) < 50_000; seq += 300 {
		if _, err := b.arrive(seq, bookTime(seq)); err != nil {
			t.Fatal(err)
		}
	}
	if r := b.record(); r.High != 9 || len(r.Open) != 0 {
		t.Errorf("with 50,000 open reports it says up to %d, and %d bytes of what is open", r.High, len(r.Open))
	}
	for _, m := range b.marks[1:] {
		b.settle(m.seq)
	}
	if r := b.record(); r.High != b.last || len(r.Open) != 1 {
		t.Errorf("with one open report it says up to %d, and %d bytes of what is open", r.High, len(r.Open))
	}
	if seq, is := b.pinned(); !is || seq != 10 {
		t.Errorf("pinned by %d, %v", seq, is)
	}
}

func TestIntakeRecordThatIsBroken(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]any{
		"no object":      7,
		"beyond its end": intakeRecord{Parts: []partRecord{{High: 5, Open: []byte{6}}}},
		"cut off":        intakeRecord{Parts: []partRecord{{High: 5, Open: []byte{0x80}}}},
		"twice the same": intakeRecord{Parts: []partRecord{{High: 5, Open: []byte{1, 0}}}},
	} {
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseIntakeRecord(data); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
}
