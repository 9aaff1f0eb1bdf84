package schemas

import (
	"slices"
	"sort"
	"strings"
	"unicode/utf8"
)

// A server refuses headers over 64 KiB and messages over its max_payload; a report was
// accepted with Overhead to spare. What recoveryd adds must never make of it a message
// that cannot be stored, because then it could neither be delivered nor kept.

const (
	maxTruncated = 2 << 10 // of Recovery-Truncated
	sealRoom     = 64      // the version line, and the seal that is added last
)

// fitUser drops the largest headers until the rest takes at most limit bytes, and names
// the dropped in sorted order.
func fitUser(h Header, limit int) (dropped []string) {
	size := h.Size()
	if size <= limit {
		return nil
	}
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	one := func(name string) int { return Header{name: h[name]}.Size() }
	sort.Slice(names, func(i, j int) bool {
		if a, b := one(names[i]), one(names[j]); a != b {
			return a > b
		}
		return names[i] < names[j]
	})
	for _, name := range names {
		if size <= limit {
			break
		}
		size -= one(name)
		delete(h, name)
		dropped = append(dropped, name)
	}
	sort.Strings(dropped)
	return dropped
}

// fit makes the headers h of a message about w storable. What is missed least goes first:
// what was kept aside, most of the error, the history, and the user's own headers last.
func fit(h Header, w *Work) {
	limit := min(MaxHeaders, w.Header.Size()+w.Barred.Size()+Overhead-sealRoom)
	over := func() int { return h.Size() - limit }
	if over() <= 0 {
		return
	}
	drop(h, over(), isAside)
	if e := h.Get(HeaderError); over() > 0 && e != "" {
		h.Set(HeaderError, cutBytes(e, 256))
	}
	if over() > 0 {
		delete(h, HeaderHistory)
	}
	drop(h, over(), func(name string) bool { return !hasPrefixFold(name, HeaderPrefix) && name != HeaderMsgID })
}

// drop removes the largest of some headers until excess bytes and the room for their names
// are gained.
func drop(h Header, excess int, some func(name string) bool) {
	if excess <= 0 {
		return
	}
	rest := make(Header, len(h))
	for name, values := range h {
		if some(name) {
			rest[name] = values
		}
	}
	dropped := fitUser(rest, rest.Size()-excess-maxTruncated)
	for _, name := range dropped {
		delete(h, name)
	}
	noteTruncated(h, dropped)
}

// noteTruncated adds names to Recovery-Truncated, as many as there is room for.
func noteTruncated(h Header, names []string) {
	if len(names) == 0 {
		return
	}
	all := parseTruncated(h)
	for _, name := range names {
		if aside, ok := strings.CutPrefix(name, HeaderOriginalPrefix); ok {
			name = unescapeName(aside)
		}
		all = append(all, name)
	}
	sort.Strings(all)
	size, text := 0, make([]string, 0, len(all))
	for _, name := range slices.Compact(all) {
		name = escapeName(name)
		if size += len(name) + 1; size > maxTruncated-len(HeaderTruncated)-4 {
			break
		}
		text = append(text, name)
	}
	h.Set(HeaderTruncated, strings.Join(text, ","))
}

func parseTruncated(h Header) []string {
	t := h.Get(HeaderTruncated)
	if t == "" {
		return nil
	}
	names := strings.Split(t, ",")
	for i, name := range names {
		names[i] = unescapeName(strings.TrimSpace(name))
	}
	return names
}

func cutBytes(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}
