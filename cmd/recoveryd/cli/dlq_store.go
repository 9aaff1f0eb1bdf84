package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

// identity tells letters apart: where one is stored, and its message id without what an
// import added to it.
func identity(subject string, h schemas.Header) string {
	id, _, _ := strings.Cut(h.Get(schemas.HeaderMsgID), "-")
	return subject + " " + id
}

// fewSubjects is how many subjects are read one by one rather than the whole store.
const fewSubjects = 20

// known finds out which letters of an import the store has already.
func (c *client) known(ctx context.Context, wanted map[string]bool, subjects map[string]bool) error {
	filters := []string{""}
	if len(subjects) <= fewSubjects {
		filters = slices.Sorted(maps.Keys(subjects))
	}
	for _, filter := range filters {
		for at := uint64(1); ; {
			stored, err := c.ReadDead(ctx, at, 1000, filter)
			if err != nil {
				return err
			}
			if len(stored) == 0 {
				break
			}
			for i := range stored {
				if id := identity(stored[i].Subject, stored[i].Header); has(wanted, id) {
					wanted[id] = true
				}
			}
			at = stored[len(stored)-1].Sequence + 1
		}
	}
	return nil
}

func has(m map[string]bool, key string) bool { _, ok := m[key]; return ok }

// storeAgain stores a letter. The store remembers message ids for a moment, also of letters
// that are gone: then the letter gets another one.
func (c *client) storeAgain(ctx context.Context, m schemas.Message) error {
	ack, err := c.store(ctx, m)
	if err != nil || !ack.Duplicate {
		return err
	}
	found, err := c.ReadDead(ctx, ack.Sequence, 1, m.Subject)
	if err != nil || len(found) > 0 && found[0].Sequence == ack.Sequence {
		return err
	}
	_, err = c.store(ctx, deadletter.Anew(m, rand.Text()[:8]))
	return err
}

// storeTries is how often a letter is sent that nobody confirms.
const storeTries = 5

func (c *client) store(ctx context.Context, m schemas.Message) (ack schemas.Ack, err error) {
	for try := range storeTries {
		done := make(chan struct{})
		c.Publish(m, func(a schemas.Ack, e error) { ack, err = a, e; close(done) })
		<-done
		if err == nil || errors.Is(err, schemas.ErrNoStream) || errors.Is(err, schemas.ErrTooLarge) || errors.Is(err, schemas.ErrClosed) || ctx.Err() != nil {
			return ack, err
		}
		time.Sleep(time.Duration(try+1) * 200 * time.Millisecond)
	}
	return ack, err
}
