package console

import (
	"time"

	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

// State is how the daemon is.
type State struct {
	Version    string          `json:"version"`
	Instance   string          `json:"instance"`
	Prefix     string          `json:"prefix"`
	PolicyHash string          `json:"policy_hash"`
	PolicyFile string          `json:"policy_file,omitempty"`
	Policies   []Policy        `json:"policies"`
	Checks     []Check         `json:"checks"`
	Totals     handlers.Totals `json:"totals"`
	Streams    []Stream        `json:"streams"`
	Breakers   []Breaker       `json:"breakers"` // those that are not closed
}

// Policy is a policy in use.
type Policy struct {
	Name     string   `json:"name"`
	Subjects []string `json:"subjects"`
}

// Check is one line of health.
type Check struct {
	Name      string `json:"name"`
	OK        bool   `json:"ok"`
	Essential bool   `json:"essential"` // not ready without it
	Detail    string `json:"detail"`
}

// Mark is what stands before the line of a check in text.
func (c Check) Mark() string {
	switch {
	case c.OK:
		return "[+]"
	case c.Essential:
		return "[-]"
	}
	return "[!]"
}

// Stream is how a stream is filled.
type Stream struct {
	Name     string `json:"name"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	MaxBytes int64  `json:"max_bytes"` // -1 = no limit
}

// Breaker is a breaker that is not closed.
type Breaker struct {
	Policy string    `json:"policy"`
	Key    string    `json:"key"`
	State  string    `json:"state"`
	Since  time.Time `json:"since,omitzero"`
	Until  time.Time `json:"until,omitzero"`
	Reason string    `json:"reason,omitempty"`
	Level  int       `json:"level,omitempty"`
}

// Outcome is a step that this replica took. Numbers rise by one.
type Outcome struct {
	Number uint64    `json:"number"`
	At     time.Time `json:"at"`
	*schemas.Outcome
}

// Dead is the store of dead letters, of which the latest were looked at.
type Dead struct {
	Total  uint64      `json:"total"`
	Looked int         `json:"looked"`
	Groups []DeadGroup `json:"groups"`
}

// DeadGroup is the letters of one cause, with the latest one as a sample.
type DeadGroup struct {
	Cause    string    `json:"cause"`
	Count    int       `json:"count"`
	Reason   string    `json:"reason"`
	Policy   string    `json:"policy"`
	Error    string    `json:"error"`
	Subject  string    `json:"subject"`
	ID       string    `json:"id"`
	Latest   time.Time `json:"latest"`
	Sequence uint64    `json:"sequence"`
}
