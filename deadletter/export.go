package deadletter

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// Export is a stored letter as one line of an export: nothing is left out or encoded anew.
func Export(m *schemas.Stored) schemas.DeadExport {
	x := schemas.DeadExport{Subject: m.Subject, Body: m.Body, Sequence: m.Sequence, StoredAt: absolute(m.Time), Headers: [][]string{}}
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		x.Headers = append(x.Headers, append([]string{name}, m.Header[name]...))
	}
	return x
}

// Import is the message that stores an exported letter again, as it was. It refuses what is
// no dead letter, and headers that would change what the server does with it.
func Import(x *schemas.DeadExport, subjects schemas.Subjects) (schemas.Message, error) {
	m := schemas.Message{Subject: x.Subject, Header: make(schemas.Header, len(x.Headers)), Body: x.Body}
	for i, h := range x.Headers {
		if len(h) < 2 {
			return m, fmt.Errorf("headers[%d]: is no name with values", i)
		}
		name, values := h[0], h[1:]
		if _, twice := m.Header[name]; twice {
			return m, fmt.Errorf("headers[%d]: %q was given before", i, clip(name))
		}
		for _, v := range values {
			if err := schemas.CheckStoredHeader(name, v); err != nil {
				return m, fmt.Errorf("headers[%d]: %w", i, err)
			}
		}
		m.Header[name] = values
	}
	l := Read(schemas.Stored{Message: m, Time: time.Unix(0, 0)}, subjects)
	cause := m.Header.Get(schemas.HeaderCause)
	switch {
	case l.Fault != nil:
		return m, l.Fault
	case !schemas.CheckID(l.ID):
		return m, fmt.Errorf("headers: %s: %q is no id", schemas.HeaderID, clip(l.ID))
	case !causePattern.MatchString(cause):
		return m, fmt.Errorf("headers: %s: %q is no cause", schemas.HeaderCause, clip(cause))
	case m.Subject != subjects.Dead(cause, l.Subject) && m.Subject != subjects.DeadRefused(cause, l.Subject):
		return m, fmt.Errorf("subject: %q is not where letters with this cause and subject are stored", clip(m.Subject))
	case len(m.Subject) > 2*schemas.MaxSubject:
		return m, errors.New("subject: too long")
	}
	return m, nil
}

// Anew is an imported letter under another message id, for when the store still remembers
// the one it had but not the letter.
func Anew(m schemas.Message, nonce string) schemas.Message {
	m.Header = m.Header.Clone()
	m.Header.Set(schemas.HeaderMsgID, strings.TrimSpace(m.Header.Get(schemas.HeaderMsgID)+"-"+nonce))
	return m
}
