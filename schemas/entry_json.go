package schemas

import (
	"strconv"
	"strings"
)

// appendJSON writes what json.Marshal of h writes.
func (h *entryHeader) appendJSON(b []byte) []byte {
	w := object{append(b, '{')}
	w.text("id", h.ID)
	w.text("s", h.Subject)
	w.number("a", int64(h.Failed))
	w.number("d", int64(h.Delivery))
	w.numberIf("r", int64(h.Replay))
	w.number("f", int64(h.Fallback))
	w.number("t0", h.First)
	w.number("t1", h.Last)
	w.numberIf("h", h.Held)
	w.textIf("c", h.Code)
	w.textIf("cl", h.Class)
	if o := &h.Origin; *o != (Origin{}) {
		w.name("o")
		w.b = append(w.b, '{')
		w.textIf("stream", o.Stream)
		w.textIf("consumer", o.Consumer)
		w.countIf("sequence", o.Sequence)
		w.countIf("deliveries", o.Deliveries)
		w.b = append(w.b, '}')
	}
	w.text("st", string(h.Step))
	w.number("due", h.Due)
	w.number("na", int64(h.Attempt))
	w.number("nd", int64(h.Number))
	w.textIf("k", h.Key)
	w.textIf("p", h.Policy)
	w.textIf("re", h.Reason)
	w.numberIf("ha", h.HeldAt)
	w.countIf("src", h.Source)
	if r := h.Record; r != nil {
		w.name("rec")
		w.b = append(w.b, '{')
		w.number("occurred_at", r.OccurredAt)
		w.number("at", r.At)
		w.numberIf("generation", r.Generation)
		w.text("class", r.Class)
		w.numberIf("hint", r.Hint)
		w.trueIf("probe", r.Probe)
		w.trueIf("success", r.Success)
		w.b = append(w.b, '}')
	}
	return append(w.b, '}')
}

func (h *entryHeader) read(text string) error {
	if h.readPlain(text) {
		return nil
	}
	*h = entryHeader{}
	// Unknown fields are passed over: during a rolling upgrade an older replica reads what
	// a newer one wrote.
	return decode([]byte(text), h, unknownPass)
}

// readPlain reads the JSON of an entry as recoveryd writes it, faster than encoding/json
// does: an entry is read when it is due. It is false, and h is of no use, for whatever it
// does not know, for example a string with an escape: then encoding/json must read it.
func (h *entryHeader) readPlain(text string) bool {
	rest, ok := h.plainObject(text, true, (*entryHeader).set)
	return ok && rest == ""
}

// plainObject reads an object off the head of text, whose fields are set one by one. The
// outer one may hold an origin.
func (h *entryHeader) plainObject(text string, outer bool, set func(h *entryHeader, name, value string, quoted bool) bool) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(text, "{")
	for ok {
		var name, value string
		var quoted bool
		if name, rest, ok = plainString(rest); !ok {
			return rest, false
		}
		if rest, ok = strings.CutPrefix(rest, ":"); !ok {
			return rest, false
		}
		if outer && name == "o" && strings.HasPrefix(rest, "{") {
			rest, ok = h.plainObject(rest, false, (*entryHeader).setOrigin)
		} else if value, rest, quoted, ok = plainValue(rest); ok {
			ok = set(h, name, value, quoted)
		}
		if !ok {
			return rest, false
		}
		if after, end := strings.CutPrefix(rest, "}"); end {
			return after, true
		}
		rest, ok = strings.CutPrefix(rest, ",")
	}
	return rest, false
}

// plainValue cuts a string without escapes or a number off.
func plainValue(text string) (value, rest string, quoted, ok bool) {
	if strings.HasPrefix(text, `"`) {
		value, rest, ok = plainString(text)
		return value, rest, true, ok
	}
	end := strings.IndexAny(text, ",}")
	if end < 0 {
		return value, text, false, false
	}
	return text[:end], text[end:], false, true
}

func plainString(text string) (value, rest string, ok bool) {
	if text, ok = strings.CutPrefix(text, `"`); !ok {
		return value, rest, false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"':
			return text[:i], text[i+1:], true
		case c == '\\' || c < ' ' || c > '~':
			return value, rest, false
		}
	}
	return value, rest, false
}

func (h *entryHeader) set(name, value string, quoted bool) bool {
	var text *string
	switch name {
	case "id":
		text = &h.ID
	case "s":
		text = &h.Subject
	case "c":
		text = &h.Code
	case "cl":
		text = &h.Class
	case "st":
		text = (*string)(&h.Step)
	case "k":
		text = &h.Key
	case "p":
		text = &h.Policy
	case "re":
		text = &h.Reason
	case "src":
		n, err := strconv.ParseUint(value, 10, 64)
		h.Source = n
		return err == nil && !quoted && value[0] != '0'
	default:
		return !quoted && h.setNumber(name, value)
	}
	*text = strings.Clone(value) // the rest of the header need not stay in memory
	return quoted
}

func (h *entryHeader) setOrigin(name, value string, quoted bool) bool {
	o := &h.Origin
	switch name {
	case "stream":
		o.Stream = strings.Clone(value)
	case "consumer":
		o.Consumer = strings.Clone(value)
	case "sequence", "deliveries":
		n, err := strconv.ParseUint(value, 10, 64)
		if name == "sequence" {
			o.Sequence = n
		} else {
			o.Deliveries = n
		}
		return err == nil && !quoted && plainNumber(value)
	default:
		return false
	}
	return quoted
}

func (h *entryHeader) setNumber(name, value string) bool {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || strconv.IntSize < 64 || !plainNumber(value) {
		return false
	}
	switch name {
	case "a":
		h.Failed = int(n)
	case "d":
		h.Delivery = int(n)
	case "r":
		h.Replay = int(n)
	case "f":
		h.Fallback = int(n)
	case "t0":
		h.First = n
	case "t1":
		h.Last = n
	case "h":
		h.Held = n
	case "due":
		h.Due = n
	case "na":
		h.Attempt = int(n)
	case "nd":
		h.Number = int(n)
	case "ha":
		h.HeldAt = n
	default:
		return false
	}
	return true
}

// plainNumber leaves out what ParseInt takes and JSON does not: a sign, leading zeros.
func plainNumber(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	return digits != "" && digits[0] != '+' && (digits[0] != '0' || len(digits) == 1)
}
