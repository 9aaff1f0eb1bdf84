package handlers

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// pageWait is how long work that is far from due waits for others of its slot. Until its
// page is stored its report, or the entry it was read from, stays where it is.
const pageWait = 250 * time.Millisecond

// duePage is what an item that is being written to a slot of the ledger takes with it.
type duePage struct {
	slot  int64 // second
	bytes int   // of all entries
	mates []*item
}

// later has an item written to the slot of its due time.
func (s *shard) later(now time.Time, it *item) {
	it.stage, it.move, it.tries = stageMoving, moveLater, 0
	slot, size := slotSecond(it.due.UnixNano(), now.UnixNano()), it.work.Stored()
	if !it.work.FitsPage() {
		it.page = duePage{slot: slot, bytes: size}
		it.wake = now
		s.waiting.add(it)
		return
	}
	first := s.pages[slot]
	if first != nil && first.page.bytes+size > schemas.MaxPageBytes {
		s.closePage(now, first)
		first = nil
	}
	if first == nil {
		it.page = duePage{slot: slot, bytes: size}
		it.wake = now.Add(pageWait)
		s.pages[slot] = it
		s.waiting.add(it)
		return
	}
	first.page.mates = append(first.page.mates, it)
	first.page.bytes += size
	if len(first.page.mates)+1 == schemas.MaxPageEntries {
		s.closePage(now, first)
	}
}

// closePage has a page stored as it is.
func (s *shard) closePage(now time.Time, first *item) {
	delete(s.pages, first.page.slot)
	first.wake = now
	s.waiting.fix(first)
}

// closePages has what waits for others stored when memory is wanted: it stays in memory
// until it is.
func (s *shard) closePages(now time.Time) {
	if len(s.pages) == 0 || s.bytes <= s.memory/2 {
		return
	}
	for _, slot := range slices.Sorted(maps.Keys(s.pages)) {
		s.closePage(now, s.pages[slot])
	}
}

// pageMessage is how an item is written to a slot, with those that go with it.
func (s *shard) pageMessage(now time.Time, it *item) schemas.Message {
	if s.pages[it.page.slot] == it {
		delete(s.pages, it.page.slot)
	}
	it.into = s.lane(now, s.subjects.Due(s.index, it.page.slot))
	it.into.coming += it.paged()
	it.era = s.following.sent()
	e := it.entry()
	if len(it.page.mates) == 0 {
		return e.Message(it.into.subject)
	}
	p := schemas.NewPage(it.page.bytes)
	p.Add(&e)
	for _, mate := range it.page.mates {
		e = mate.entry()
		p.Add(&e)
	}
	return p.Message(it.into.subject)
}

// paged is how many entries an item writes.
func (it *item) paged() int { return 1 + len(it.page.mates) }

// finishPage goes on with all items of a page that is stored.
func (s *shard) finishPage(now time.Time, it *item) {
	mates := it.page.mates
	it.page.mates = nil
	s.finish(now, it)
	for _, mate := range mates {
		s.finish(now, mate)
	}
}

// tearPage has each item of a page written by itself if the server takes no message so
// large.
func (s *shard) tearPage(now time.Time, it *item, err error) (torn bool) {
	if len(it.page.mates) == 0 || !errors.Is(err, schemas.ErrTooLarge) {
		return false
	}
	for _, mate := range it.page.mates {
		mate.page = duePage{slot: it.page.slot}
		mate.wake = now
		s.waiting.add(mate)
	}
	it.page.mates = nil
	it.wake = now
	s.waiting.add(it)
	return true
}
