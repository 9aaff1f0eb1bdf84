package deadletter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxHistory      = 4 << 10 // bytes that Encode returns at most
	maxHistoryInput = 8 << 10 // bytes that ParseHistory accepts at most
	lastAttempts    = 9       // kept beside the first

	maxCode   = 64  // encoded bytes of a code
	maxTarget = 256 // encoded bytes of a subject
	minError  = 48  // encoded bytes below which an attempt is dropped rather than its error shortened

	maxCount   = math.MaxInt32
	errorKey   = `,"e":"`
	timeLayout = "2006-01-02T15:04:05.000Z"
)

// Attempt is one failed delivery of a message and what was decided then.
type Attempt struct {
	At      time.Time     // when it failed; milliseconds and UTC when encoded
	Attempt int           // its number, 1 is the original delivery; 0 to 2^31-1
	Error   string        // may be shortened, and then ends in "..."
	Code    string        // at most 64 encoded bytes
	Delay   time.Duration // until the next delivery; milliseconds when encoded, 0 for none
	Target  string        // the fallback subject it was delivered to, if any; at most 256 encoded bytes
	Skipped int           // attempts between the one before and this one that were left out; 0 to 2^31-1
}

// History is what happened to a message, oldest first. Encoded it is a JSON
// array of objects in plain ASCII with the keys
//
//	t  time of the failure, RFC 3339 in UTC with milliseconds (required)
//	a  attempt (required)
//	e  error
//	c  code
//	d  delay in milliseconds
//	f  fallback subject
//	n  attempts left out before this one
//
// where what is empty or zero is omitted.
type History []Attempt

// Append returns the history with one more attempt, of which it keeps the first
// and the last nine. It leaves h as it is.
func (h History) Append(a Attempt) History {
	longer := make(History, 0, len(h)+1)
	return append(append(longer, h...), a).trimmed()
}

// Seen returns the number of attempts there were, those left out included.
func (h History) Seen() int {
	n := len(h)
	for _, a := range h {
		n += count(a.Skipped)
	}
	return n
}

// trimmed may change h.
func (h History) trimmed() History {
	for len(h) > 1+lastAttempts {
		h = h.withoutSecond()
	}
	return h
}

// withoutSecond leaves out the oldest but the first, and counts it.
func (h History) withoutSecond() History {
	h[2].Skipped = count(count(h[2].Skipped) + count(h[1].Skipped) + 1)
	return append(h[:1], h[2:]...)
}

// Encode returns the history as JSON in plain ASCII without line breaks, at
// most 4 KiB. If it is longer, the longest errors are shortened, all to the
// same length; if that leaves less than 48 bytes of each, the oldest attempts
// but the first are left out. Bytes that are not UTF-8 become U+FFFD.
func (h History) Encode() string {
	var buf [maxHistory]byte
	if len(h) <= 1+lastAttempts {
		if text, fits := h.encode(buf[:0], maxHistory); fits {
			return string(text)
		}
	}
	kept := append(History(nil), h...).trimmed()
	for len(kept) > 2 && kept.errorLimit() < minError {
		kept = kept.withoutSecond()
	}
	text, _ := kept.encode(buf[:0], kept.errorLimit())
	return string(text)
}

// errorLimit returns the largest length of errors with which h fits, or 0.
func (h History) errorLimit() int {
	var buf [maxHistory]byte
	bare, fits := h.encode(buf[:0], 0)
	if !fits {
		return 0
	}
	room, long := maxHistory-len(bare), make([]int, 0, len(h))
	for _, a := range h {
		if a.Error != "" {
			room -= len(errorKey) + 1
			long = append(long, encodedLen(a.Error))
		}
	}
	slices.Sort(long)
	for len(long) > 0 && long[0] <= room/len(long) { // these need not be shortened
		room, long = room-long[0], long[1:]
	}
	if len(long) == 0 {
		return maxHistory
	}
	return max(room/len(long), 0)
}

// encode stops when the text does not fit.
func (h History) encode(dst []byte, errorLimit int) ([]byte, bool) {
	dst = append(dst, '[')
	for i, a := range h {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = a.encode(dst, errorLimit)
		if len(dst) >= maxHistory {
			return dst, false
		}
	}
	return append(dst, ']'), true
}

func (a Attempt) encode(dst []byte, errorLimit int) []byte {
	at := a.At.UTC()
	if year := at.Year(); year < 0 || year > 9999 { // beyond RFC 3339
		at = time.Time{}
	}
	dst = append(dst, `{"t":"`...)
	dst = at.AppendFormat(dst, timeLayout)
	dst = append(dst, `","a":`...)
	dst = strconv.AppendInt(dst, int64(count(a.Attempt)), 10)
	dst = appendText(dst, errorKey, a.Error, errorLimit)
	dst = appendText(dst, `,"c":"`, a.Code, maxCode)
	dst = appendNumber(dst, `,"d":`, max(a.Delay.Milliseconds(), 0))
	dst = appendText(dst, `,"f":"`, a.Target, maxTarget)
	dst = appendNumber(dst, `,"n":`, int64(count(a.Skipped)))
	return append(dst, '}')
}

func appendNumber(dst []byte, key string, n int64) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendInt(append(dst, key...), n, 10)
}

// appendText appends what fits into limit encoded bytes, whole characters only,
// and marks a cut with "...".
func appendText(dst []byte, key, text string, limit int) []byte {
	if text == "" || limit < len("...") {
		return dst
	}
	dst = append(dst, key...)
	start := len(dst)
	cut := start // where "..." still fits
	for _, r := range text {
		if isPlain(r) {
			dst = append(dst, byte(r))
		} else {
			dst = appendRune(dst, r)
		}
		if len(dst)-start > limit {
			dst = append(dst[:cut], "..."...)
			break
		}
		if len(dst)-start+len("...") <= limit {
			cut = len(dst)
		}
	}
	return append(dst, '"')
}

func appendRune(dst []byte, r rune) []byte {
	switch {
	case r == '"' || r == '\\':
		return append(dst, '\\', byte(r))
	case isPlain(r):
		return append(dst, byte(r))
	case r == '\n':
		return append(dst, `\n`...)
	case r == '\t':
		return append(dst, `\t`...)
	case r == '\r':
		return append(dst, `\r`...)
	case r > 0xffff: // a surrogate pair, RFC 8259 section 7
		r -= 0x10000
		return appendUnit(appendUnit(dst, 0xd800+r>>10), 0xdc00+r&0x3ff)
	}
	return appendUnit(dst, r)
}

func isPlain(r rune) bool { return r >= ' ' && r < 0x7f && r != '"' && r != '\\' }

// encodedLen need not look beyond what fits.
func encodedLen(text string) int {
	var buf [12]byte
	n := 0
	for _, r := range text {
		if isPlain(r) {
			n++
		} else {
			n += len(appendRune(buf[:0], r))
		}
		if n > maxHistory {
			break
		}
	}
	return n
}

func appendUnit(dst []byte, unit rune) []byte {
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', hex[unit>>12], hex[unit>>8&15], hex[unit>>4&15], hex[unit&15])
}

func count(n int) int { return min(max(n, 0), maxCount) }

// ParseHistory reads what Encode wrote; "" is an empty history. It refuses more
// than 8 KiB, bytes beyond ASCII, unknown keys and values out of range, and says
// which attempt is at fault.
func ParseHistory(text string) (History, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > maxHistoryInput {
		return nil, fmt.Errorf("history: %d bytes, at most %d are read", len(text), maxHistoryInput)
	}
	for i := range len(text) {
		if text[i] < ' ' || text[i] >= 0x7f {
			return nil, fmt.Errorf("history: byte %#02x at %d is not printable ASCII; write it as \\u00XX", text[i], i)
		}
	}
	var entries []entry
	in := json.NewDecoder(strings.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(&entries); err != nil {
		return nil, fmt.Errorf("history: not an array of attempts: %s", clip(err.Error()))
	}
	if entries == nil {
		return nil, errors.New("history: null is not an array of attempts")
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("history: more text after the array, which ends at %d", in.InputOffset())
	}
	h := make(History, 0, len(entries))
	for i, e := range entries {
		a, err := e.attempt()
		if err != nil {
			return nil, fmt.Errorf("history: entry %d: %w", i+1, err)
		}
		h = append(h, a)
	}
	return h, nil
}

// entry is an attempt on the wire.
type entry struct {
	T *string `json:"t"`
	A *int64  `json:"a"`
	E string  `json:"e"`
	C string  `json:"c"`
	D int64   `json:"d"`
	F string  `json:"f"`
	N int64   `json:"n"`
}

func (e entry) attempt() (Attempt, error) {
	const maxDelay = math.MaxInt64 / int64(time.Millisecond)
	switch {
	case e.T == nil:
		return Attempt{}, errors.New("no time t")
	case e.A == nil:
		return Attempt{}, errors.New("no attempt number a")
	case *e.A < 0 || *e.A > maxCount:
		return Attempt{}, fmt.Errorf("attempt number a is %d, not 0 to %d", *e.A, maxCount)
	case e.D < 0 || e.D > maxDelay:
		return Attempt{}, fmt.Errorf("delay d is %d ms, not 0 to %d", e.D, maxDelay)
	case e.N < 0 || e.N > maxCount:
		return Attempt{}, fmt.Errorf("number left out n is %d, not 0 to %d", e.N, maxCount)
	}
	at, err := time.Parse(timeLayout, *e.T)
	if err != nil {
		return Attempt{}, fmt.Errorf("time t is %q, not like %s", clip(*e.T), timeLayout)
	}
	return Attempt{
		At: at, Attempt: int(*e.A), Error: e.E, Code: e.C,
		Delay: time.Duration(e.D) * time.Millisecond, Target: e.F, Skipped: int(e.N),
	}, nil
}

// clip keeps an error message short whatever was sent.
func clip(text string) string {
	const limit = 120
	if short := firstRunes(text, limit); short != text {
		return short + "..."
	}
	return text
}
