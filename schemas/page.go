package schemas

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Bounds of a page.
const (
	MaxPageEntries = 256
	MaxPageBytes   = 64 << 10
	maxPaged       = 8 << 10 // bytes of an entry that is worth storing together with others
)

// Page is entries of the ledger that are due about the same time, stored as one message. It
// costs the server and whoever reads it about as much as a single one.
//
// The body of a page is, for each entry: its state as in HeaderEntry, the error, the history,
// the headers, those that must not travel, and the body, each as a length (varint) and so
// many bytes; headers are the number of their values, and then a name and a value for each.
type Page struct {
	entries int
	body    []byte
	state   []byte
	names   []string
}

// NewPage makes a page for about so many bytes, of which Work.Stored tells.
func NewPage(bytes int) *Page { return &Page{body: make([]byte, 0, bytes)} }

// FitsPage says whether work is small enough to share a message with others.
func (w *Work) FitsPage() bool { return w.Stored() <= maxPaged }

// Add puts one more entry on the page.
func (p *Page) Add(e *Entry) {
	p.entries++
	h := e.header()
	p.state = h.appendJSON(p.state[:0])
	p.body = append(binary.AppendUvarint(p.body, uint64(len(p.state))), p.state...)
	p.text(e.Error)
	p.text(e.History)
	p.header(e.Header)
	p.header(e.Barred)
	p.body = append(binary.AppendUvarint(p.body, uint64(len(e.Body))), e.Body...)
}

func (p *Page) text(s string) {
	p.body = append(binary.AppendUvarint(p.body, uint64(len(s))), s...)
}

func (p *Page) header(h Header) {
	n := 0
	p.names = p.names[:0]
	for name, values := range h {
		n += len(values)
		p.names = append(p.names, name)
	}
	slices.Sort(p.names) // the same entries are the same page
	p.body = binary.AppendUvarint(p.body, uint64(n))
	for _, name := range p.names {
		for _, value := range h[name] {
			p.text(name)
			p.text(value)
		}
	}
}

// Message is how the page is stored on a lane. It carries no message id, as Entry.Message.
func (p *Page) Message(lane string) Message {
	return Message{Subject: lane, Header: Header{HeaderPage: {strconv.Itoa(p.entries)}}, Body: p.body}
}

// PageEntries is how many entries a message of the ledger says that it holds.
func PageEntries(h Header) int {
	n, err := strconv.Atoi(h.Get(HeaderPage))
	if err != nil || n < 1 || n > MaxPageEntries {
		return 1
	}
	return n
}

// ParseEntries reads all entries of a message of the ledger: of a page, or the only one.
// Those of a page hold nothing of the message.
func ParseEntries(m *Stored) ([]Entry, error) {
	if _, ok := m.Header[HeaderPage]; !ok {
		e, err := ParseEntry(m)
		if err != nil {
			return nil, err
		}
		return []Entry{e}, nil
	}
	r := pageReader{rest: m.Body}
	n := PageEntries(m.Header)
	entries := make([]Entry, 0, n)
	for r.err == nil && len(r.rest) > 0 {
		entries = append(entries, r.entry())
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

func (r *pageReader) entry() Entry {
	state, text, history := r.text(), r.text(), r.text()
	header, barred := r.header(), r.header()
	body := bytes.Clone(r.bytes())
	if r.err != nil {
		return Entry{}
	}
	e, err := parseState(state)
	if err != nil {
		r.err = err
		return Entry{}
	}
	if header == nil {
		header = Header{}
	}
	e.Error, e.History, e.Header, e.Barred, e.Body = text, history, header, barred, body
	return e
}

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
	part := r.rest[:n]
	r.rest = r.rest[n:]
	return part
}

func (r *pageReader) text() string { return string(r.bytes()) }

// header is nil if it has no values.
func (r *pageReader) header() (h Header) {
	for n := r.number(); n > 0 && r.err == nil; n-- {
		if h == nil {
			h = make(Header, min(n, 16))
		}
		name := r.text()
		h[name] = append(h[name], r.text())
	}
	return h
}
