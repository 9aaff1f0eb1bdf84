package strategies

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

const golden = 0x9E3779B97F4A7C15

// fnv1a64 is the 64 bit FNV-1a hash; written out because hash/fnv wants a []byte and a heap object.
func fnv1a64(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// splitmix64 is the finaliser of S. Vigna's generator of that name: every input bit changes about half of the output.
func splitmix64(x uint64) uint64 {
	x += golden
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// keyed mixes a name and a number. Equal arguments give equal results in every process and on every replica.
func keyed(name string, n int64) uint64 {
	return splitmix64(fnv1a64(name) ^ uint64(n)*golden)
}

// uniform turns a hash into a number in [0, 1) by its upper 53 bits, all that a float64 can hold.
func uniform(h uint64) float64 { return float64(h>>11) / (1 << 53) }

// saturate converts nanoseconds without ever wrapping or going below zero.
func saturate(ns float64) time.Duration {
	switch {
	case ns >= math.MaxInt64:
		return math.MaxInt64
	case ns > 0:
		return time.Duration(ns)
	}
	return 0
}

// Hash stands for an id, or for one delivery of it, where keeping the text would cost too much. As JSON it is a
// string of hex digits, because JSON numbers lose bits in many readers.
type Hash uint64

func idHash(id string) Hash                 { return Hash(fnv1a64(id)) }
func workHash(id string, delivery int) Hash { return Hash(keyed(id, int64(delivery))) }

// MarshalText writes 16 hex digits.
func (h Hash) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(h)), nil }

// UnmarshalText reads hex digits.
func (h *Hash) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil {
		return fmt.Errorf("hash %q is not a number of up to 16 hex digits: %w", text, err)
	}
	*h = Hash(n)
	return nil
}
