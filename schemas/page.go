package schemas

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Entries of the ledger that are due about the same time are stored together, as one
// message: a page. It costs the server and whoever reads it about as much as a single one.

// Bounds of a page.
const (
	MaxPageEntries = 256
	MaxPageBytes   = 64 << 10
	maxPaged       = maxDetached // bytes of a body that is worth copying out of its page
)

// FitsPage says whether work is small enough to share a message with others.
func (w *Work) FitsPage() bool { return len(w.Body) <= maxPaged }

// PageMessage stores entries, as Entry.Message makes them, together on a lane. The body of
// a page is, for each entry, the number of its header values, names and values, and the
// body, each as a length (varint) and so many bytes.
func PageMessage(lane string, entries []Message) Message {
	size := 0
	for i := range entries {
		size += len(entries[i].Body) + entries[i].Header.Size() + 16
	}
	body := make([]byte, 0, size)
	for i := range entries {
		h := entries[i].Header
		n := 0
		for _, values := range h {
			n += len(values)
		}
		body = binary.AppendUvarint(body, uint64(n))
		for _, name := range slices.Sorted(maps.Keys(h)) {
			for _, value := range h[name] {
				body = appendPart(appendPart(body, name), value)
			}
		}
		body = appendPart(body, string(entries[i].Body))
	}
	return Message{Subject: lane, Header: Header{HeaderPage: {strconv.Itoa(len(entries))}}, Body: body}
}

func appendPart(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// PageEntries is how many entries a message of the ledger says that it holds.
func PageEntries(h Header) int {
	n, err := strconv.Atoi(h.Get(HeaderPage))
	if err != nil || n < 1 || n > MaxPageEntries {
		return 1
	}
	return n
}

// ReadPage takes the entries of a message of the ledger apart; each has the place of the
// message. One that is no page is its only entry.
func ReadPage(m Stored) ([]Stored, error) {
	if _, ok := m.Header[HeaderPage]; !ok {
		return []Stored{m}, nil
	}
	r := pageReader{rest: m.Body}
	n := PageEntries(m.Header)
	entries := make([]Stored, 0, n)
	for r.err == nil && len(r.rest) > 0 {
		e := Stored{Message: Message{Subject: m.Subject}, Sequence: m.Sequence, Time: m.Time}
		values := r.number()
		e.Header = make(Header, min(values, 16))
		for ; values > 0 && r.err == nil; values-- {
			name := string(r.bytes())
			e.Header[name] = append(e.Header[name], string(r.bytes()))
		}
		e.Body = r.bytes()
		entries = append(entries, e)
	}
	if r.err == nil && len(entries) != n {
		r.err = fmt.Errorf("%d entries, %s says %q", len(entries), HeaderPage, m.Header.Get(HeaderPage))
	}
	if r.err != nil {
		return nil, fmt.Errorf("page of %s sequence %d: %w", m.Subject, m.Sequence, r.err)
	}
	return entries, nil
}

// pageReader reads the parts of a page until one is not there.
type pageReader struct {
	rest []byte
	err  error
}

var errPageEnds = errors.New("it ends too early")

func (r *pageReader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.rest, r.err = nil, errPageEnds
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *pageReader) bytes() []byte {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.rest, r.err = nil, errPageEnds
	}
	if r.err != nil {
		return nil
	}
	part := r.rest[:n:n]
	r.rest = r.rest[n:]
	return part
}
