package deadletter

import (
	"strings"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// Letter is a dead letter as it is stored.
type Letter struct {
	schemas.DeadLetter
	Filed  string // subject it is filed under: its own, or _refused.<hash>
	Stored schemas.Stored
	Fault  error // why it cannot be read; then only what was readable is set
}

// Read reads what the store of dead letters holds. Cause and Filed are those of the subject
// it is stored on, by which the server counts it.
func Read(m schemas.Stored, subjects schemas.Subjects) Letter {
	l := Letter{Stored: m}
	l.DeadLetter, l.Fault = schemas.ParseDeadLetter(&m)
	rest := strings.TrimPrefix(m.Subject, subjects.Prefix+".dead.")
	l.Cause, l.Filed, _ = strings.Cut(rest, ".")
	return l
}

// At is when the work was given up.
func (l *Letter) At() time.Time {
	if l.DeadAt.IsZero() {
		return l.Stored.Time
	}
	return l.DeadAt
}
