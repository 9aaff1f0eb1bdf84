// Package load publishes at a pace, and marks what it publishes.
package load

import (
	"encoding/binary"
	"time"
)

// StampSize is how many bytes of a body the stamp takes.
const StampSize = 16

// Stamp is what a body tells of itself: its number and how long it should wait.
type Stamp struct {
	Index uint64
	Delay time.Duration
}

// Put writes the stamp into the first bytes of a body.
func (s Stamp) Put(body []byte) {
	binary.LittleEndian.PutUint64(body, s.Index)
	binary.LittleEndian.PutUint64(body[8:], uint64(s.Delay))
}

// ReadStamp reads it back; ok says whether the body is long enough.
func ReadStamp(body []byte) (s Stamp, ok bool) {
	if len(body) < StampSize {
		return Stamp{}, false
	}
	return Stamp{Index: binary.LittleEndian.Uint64(body), Delay: time.Duration(binary.LittleEndian.Uint64(body[8:]))}, true
}

// Seen takes note of numbers, and counts those that came twice or should not be.
type Seen struct {
	bits             []uint64
	n                uint64
	Distinct         int
	Twice, Strangers int
}

// NewSeen expects the numbers 0 to n-1.
func NewSeen(n int) *Seen { return &Seen{bits: make([]uint64, (n+63)/64), n: uint64(n)} }

// Add takes note of a number.
func (s *Seen) Add(index uint64) {
	switch word, bit := index/64, uint64(1)<<(index%64); {
	case index >= s.n:
		s.Strangers++
	case s.bits[word]&bit != 0:
		s.Twice++
	default:
		s.bits[word] |= bit
		s.Distinct++
	}
}
