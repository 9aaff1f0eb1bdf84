package handlers

import (
	"sync"
	"time"
)

// claims keeps two jobs from acting on the same letter. All jobs are run by one replica, so
// memory is enough: after a crash the message ids of the acts tell a repeat.
//
// A letter that was removed may still come with a read that began before, or from a server
// that lags: it is remembered for a while.
type claims struct {
	mu     sync.Mutex
	held   map[uint64]string // by sequence, the job
	gone   [2]map[uint64]struct{}
	turned time.Time
}

// Bounds of what is remembered of removed letters.
const (
	goneFor = 30 * time.Second // at least
	maxGone = 200_000          // in each half
)

func newClaims() *claims {
	return &claims{held: map[uint64]string{}, gone: [2]map[uint64]struct{}{{}, {}}}
}

// take claims a letter for a job. If it cannot, owner is the job that has it, "" if the
// letter is gone.
func (c *claims) take(sequence uint64, job string) (owner string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, half := range c.gone {
		if _, gone := half[sequence]; gone {
			return "", false
		}
	}
	if owner, held := c.held[sequence]; held && owner != job {
		return owner, false
	}
	c.held[sequence] = job
	return job, true
}

// release gives up letters, which are gone or stay.
func (c *claims) release(now time.Time, gone bool, sequences ...uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.turned) > goneFor || len(c.gone[0]) > maxGone {
		c.gone[0], c.gone[1], c.turned = map[uint64]struct{}{}, c.gone[0], now
	}
	for _, s := range sequences {
		delete(c.held, s)
		if gone {
			c.gone[0][s] = struct{}{}
		}
	}
}

// drop gives up all letters of a job.
func (c *claims) drop(job string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s, owner := range c.held {
		if owner == job {
			delete(c.held, s)
		}
	}
}

// owner is the job that has a letter, "" if none has.
func (c *claims) owner(sequence uint64) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held[sequence]
}
