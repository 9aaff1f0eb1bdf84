package handlers

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// spot is where an entry stands in the ledger.
type spot struct {
	seq  uint64 // of its message
	part uint16 // of the page, from 0
}

func (a spot) String() string {
	return strconv.FormatUint(a.seq, 10) + "." + strconv.Itoa(int(a.part)+1)
}

// parseSpot reads <sequence>.<number>, or <sequence> of the first or only entry.
func parseSpot(text string) (spot, error) {
	sequence, number, paged := strings.Cut(text, ".")
	seq, err := strconv.ParseUint(sequence, 10, 64)
	n := 1
	if err == nil && paged {
		n, err = strconv.Atoi(number)
	}
	if err != nil || n < 1 || n > schemas.MaxPageEntries {
		return spot{}, fmt.Errorf("%q is no place in the ledger", text)
	}
	return spot{seq, uint16(n - 1)}, nil
}

func (it *item) spot() spot { return spot{it.seq, it.part} }

// aheadBook keeps what commands took out of turn. An entry of the ledger stays where it is
// until its lane is read and purged, as it may share a message with others that stay. Until
// then the checkpoint says that it is settled, so that neither this owner nor the next does it
// again. What was cancelled is known by its report, as it may have been stored twice.
type aheadBook struct {
	taken     map[spot]*item // being settled, before their lanes were read
	released  map[spot]aheadEntry
	cancelled map[uint64]aheadEntry // by the sequence of the report
}

// aheadEntry is a settled entry, as a checkpoint tells of it.
type aheadEntry struct {
	Lane   string    `json:"lane,omitempty"` // none if it waited in memory
	Spot   string    `json:"spot,omitempty"`
	Source uint64    `json:"source,omitempty"` // of what was cancelled: the sequence of its report
	ID     string    `json:"id,omitempty"`     // and its id: sequences begin anew with the stream
	At     time.Time `json:"at"`

	spot spot
}

const (
	// maxAhead bounds the entries that a checkpoint tells of.
	maxAhead = 500
	// cancelledFor is how long what was cancelled is known at least: longer than an append of
	// a former owner, or one without an answer, can be on its way.
	cancelledFor = 2 * time.Minute
)

func newAheadBook(known []aheadEntry) aheadBook {
	b := aheadBook{taken: map[spot]*item{}, released: map[spot]aheadEntry{}, cancelled: map[uint64]aheadEntry{}}
	for _, e := range known {
		e.spot, _ = parseSpot(e.Spot) // it was parsed before
		b.add(e)
	}
	return b
}

func (b *aheadBook) add(e aheadEntry) {
	if e.Source != 0 {
		b.cancelled[e.Source] = e
	} else {
		b.released[e.spot] = e
	}
}

func (b *aheadBook) size() int { return len(b.taken) + len(b.released) + len(b.cancelled) }

// has says whether an entry is settled.
func (b *aheadBook) has(at spot, source uint64, id string) bool {
	if _, is := b.released[at]; is {
		return true
	}
	e, is := b.cancelled[source]
	return is && e.ID == id
}

// settle notes that a command has settled an item.
func (b *aheadBook) settle(now time.Time, it *item) {
	e := aheadEntry{At: now}
	if it.lane != nil {
		e.Lane, e.spot, e.Spot = it.lane.subject, it.spot(), it.spot().String()
	}
	if it.commanded.cancel {
		e.Source, e.ID = it.source, it.work.ID
	}
	if e.Source != 0 || e.Lane != "" {
		b.add(e)
	}
	if it.ahead {
		delete(b.taken, e.spot)
	}
}

// sorted lists what is settled, always in the same order.
func (b *aheadBook) sorted() []aheadEntry {
	if len(b.released)+len(b.cancelled) == 0 {
		return nil
	}
	all := slices.AppendSeq(slices.Collect(maps.Values(b.released)), maps.Values(b.cancelled))
	slices.SortFunc(all, func(a, b aheadEntry) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Spot, b.Spot), cmp.Compare(a.Source, b.Source))
	})
	return all
}

// passOver handles an item that was read although it is settled, or is being settled, by a
// command.
func (s *shard) passOver(now time.Time, it *item) bool {
	if s.ahead.size() == 0 {
		return false
	}
	twin := s.ahead.taken[it.spot()]
	switch {
	case twin != nil:
		it.stage = stageEcho
		twin.echoes = append(twin.echoes, it)
	case s.ahead.has(it.spot(), it.source, it.work.ID):
		s.finish(now, it)
	default:
		return false
	}
	return true
}

// forgetAhead drops what nobody will read any more.
func (s *shard) forgetAhead(now time.Time) {
	gone := func(e aheadEntry) bool {
		l := s.lanes[e.Lane]
		return l == nil || e.spot.seq < l.purged
	}
	maps.DeleteFunc(s.ahead.released, func(_ spot, e aheadEntry) bool { return gone(e) })
	maps.DeleteFunc(s.ahead.cancelled, func(_ uint64, e aheadEntry) bool { return gone(e) && now.Sub(e.At) >= cancelledFor })
}

// unreadAhead counts the settled entries that stand in lanes as if they waited.
func (s *shard) unreadAhead() map[*lane]int64 {
	n := map[*lane]int64{}
	for _, e := range s.ahead.sorted() {
		if l := s.lanes[e.Lane]; l != nil && e.spot.seq > l.read {
			n[l]++
		}
	}
	return n
}
