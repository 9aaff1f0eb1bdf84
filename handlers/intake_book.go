package handlers

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// intakeBook keeps which reports of one part of the intake stream are settled. Reports are
// read in the order of their sequences and settled in any order. Whenever reading begins
// anew it begins with the first that is in the stream: one that is younger than it can be
// at its sequence came in the place of another, which the stream has lost.
type intakeBook struct {
	filters []string  // subjects of the part
	last    uint64    // the latest that was read
	lastAt  time.Time // none that was read is younger; clocks may be set back
	seen    uint64    // the latest that was read since reading began anew
	lost    bool      // sequences mean others now: nothing more is taken
	marks   []mark    // of what was read, from the first that is not settled on
	open    int       // of the marks
	high    uint64    // up to here former owners settled everything
	highAt  time.Time // that is not younger than this
	unread  []uint64  // but these, of which the later ones were not read again yet
	trimmed uint64    // up to here reports were removed from the stream
}

// errLostEnd means that sequences of reports were given to others.
var errLostEnd = errors.New("the stream of failures lost its end, or was made anew: the shard begins anew, and what it did is recognised")

type mark struct {
	seq     uint64
	settled bool
}

// arrive takes note of a report that was read. If it is not fresh nothing is to be done
// for it: a former owner settled it, or it was read before.
func (b *intakeBook) arrive(seq uint64, at time.Time) (fresh bool, err error) {
	if b.lost || seq <= b.last && at.After(b.lastAt) {
		b.lost, b.seen = true, 0 // nothing may be removed by what is known
		return false, errLostEnd
	}
	if seq <= b.last {
		b.seen = max(b.seen, seq)
		return false, nil
	}
	b.last, b.lastAt, b.seen = seq, later(b.lastAt, at), seq
	n, open := slices.BinarySearch(b.unread, seq)
	b.unread = b.unread[n:] // what was passed over is not in the stream any more
	if open {
		b.unread = b.unread[1:]
	} else if seq <= b.high && !at.After(b.highAt) {
		return false, nil
	}
	b.marks = append(b.marks, mark{seq: seq})
	b.open++
	return true, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// settle says that everything that follows from a report is stored.
func (b *intakeBook) settle(seq uint64) {
	at, found := slices.BinarySearchFunc(b.marks, seq, func(m mark, seq uint64) int { return cmp.Compare(m.seq, seq) })
	if !found || b.marks[at].settled {
		return
	}
	b.marks[at].settled = true
	b.open--
	n := 0
	for n < len(b.marks) && b.marks[n].settled {
		n++
	}
	if b.marks = b.marks[n:]; len(b.marks) == 0 {
		b.marks = nil
	}
}

// floor is the sequence up to which all reports in the stream are settled.
func (b *intakeBook) floor() uint64 {
	if len(b.marks) > 0 {
		return min(b.seen, b.marks[0].seq-1)
	}
	return b.seen
}

// pinned says whether one report has kept many settled ones in the stream, and which.
func (b *intakeBook) pinned() (seq uint64, is bool) {
	const many = 1024
	if len(b.marks) < many || len(b.marks) < 16*b.open {
		return 0, false
	}
	return b.marks[0].seq, true
}

// maxOpen bounds what is listed as open in a checkpoint, in bytes.
const maxOpen = 64 << 10

// record is what the next owner must know. If too much is open it lists nothing: then all
// that was read after the first open one is done again, and recognised.
func (b *intakeBook) record() partRecord {
	r := partRecord{High: max(b.last, b.high), At: later(b.lastAt, b.highAt)}
	previous := uint64(0)
	open := func(seq uint64) {
		r.Open = binary.AppendUvarint(r.Open, seq-previous)
		previous = seq
	}
	for _, m := range b.marks {
		if !m.settled {
			open(m.seq)
		}
	}
	for _, seq := range b.unread {
		open(seq)
	}
	if len(r.Open) > maxOpen {
		first, _ := binary.Uvarint(r.Open)
		r.High, r.Open = first-1, nil
	}
	return r
}

// intakeRecord is the checkpoint of a shard, as the state store keeps it: which reports
// need not be read again. Only the latest owner can write it, by compare-and-set.
type intakeRecord struct {
	Since time.Time    `json:"since"` // when who wrote it became the owner
	Parts []partRecord `json:"parts,omitempty"`
	Far   int64        `json:"far,omitempty"` // entries that wait for their time, of whose pages a new owner knows only the number

	Ahead []aheadEntry `json:"ahead,omitempty"`
}

// partRecord says that all reports up to High, none of which is younger than At, are
// settled but those in Open, whose distances stand there as varints, in order.
type partRecord struct {
	High uint64    `json:"high"`
	At   time.Time `json:"at,omitzero"`
	Open []byte    `json:"open,omitempty"`
}

// intakeKey is the key of a shard's checkpoint in the state store.
func intakeKey(shard int) string { return fmt.Sprintf("intake.%d", shard) }

func parseIntakeRecord(data []byte) (r intakeRecord, err error) {
	if err := json.Unmarshal(data, &r); err != nil {
		return intakeRecord{}, fmt.Errorf("checkpoint of a shard: %w", err)
	}
	for i := range r.Parts {
		if _, err := r.Parts[i].open(); err != nil {
			return intakeRecord{}, err
		}
	}
	for _, e := range r.Ahead {
		if _, err := parseSpot(e.Spot); err != nil && e.Lane != "" {
			return intakeRecord{}, fmt.Errorf("checkpoint of a shard: %w", err)
		}
	}
	return r, nil
}

func (r *partRecord) open() (open []uint64, err error) {
	previous := uint64(0)
	for rest := r.Open; len(rest) > 0; {
		distance, n := binary.Uvarint(rest)
		if n <= 0 || distance == 0 || distance > r.High-previous {
			return nil, fmt.Errorf("checkpoint of a shard: what is open ends or goes astray after %d", previous)
		}
		previous += distance
		open, rest = append(open, previous), rest[n:]
	}
	return open, nil
}

// books are those of a shard's parts, as the latest checkpoint left them.
func books(parts [][]string, r intakeRecord) []*intakeBook {
	all := make([]*intakeBook, len(parts))
	for i, filters := range parts {
		all[i] = &intakeBook{filters: filters}
		if i < len(r.Parts) {
			all[i].high, all[i].highAt = r.Parts[i].High, r.Parts[i].At
			all[i].unread, _ = r.Parts[i].open() // it was parsed before
		}
	}
	return all
}
