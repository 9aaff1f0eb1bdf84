package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size, written as a number of bytes or with the unit KiB, MiB, GiB, TiB or PiB.
type Bytes int64

var units = [...]string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}

// UnmarshalText reads a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	digits := strings.TrimRight(s, "BKMGTPi ")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is no size like 1048576, 96MiB or 2GiB", s)
	}
	unit := strings.TrimSpace(s[len(digits):])
	for i, name := range units {
		if unit == name || unit == "" {
			if n > math.MaxInt64>>(10*i) {
				return fmt.Errorf("%q is too large", s)
			}
			*b = Bytes(n << (10 * i))
			return nil
		}
	}
	return fmt.Errorf("%q has the unknown unit %q; use KiB, MiB, GiB", s, unit)
}

// String writes the size in the largest unit that keeps it whole.
func (b Bytes) String() string {
	n, i := int64(b), 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	if i == 0 {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n, 10) + units[i]
}

// Secret is a text that no print, log or encoding shows.
type Secret string

// String masks the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "********"
}

// GoString masks the secret in %#v too.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText masks the secret in JSON too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal is the secret itself.
func (s Secret) Reveal() string { return string(s) }
