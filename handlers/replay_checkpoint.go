package handlers

import (
	"context"
	"errors"

	"github.com/recoveryd/recoveryd/schemas"
)

// checkpoint notes everything done so far; the letters that it names are removed after it.
func (x *run) checkpoint(ctx context.Context, done []uint64) error {
	if err := x.removed(); err != nil {
		return err
	}
	x.job.Removing = done
	if err := x.save(ctx); err != nil {
		return err
	}
	if len(done) == 0 {
		return nil
	}
	answer := make(chan error, 1)
	x.removing = answer
	go func() {
		err := x.e.Dead.DeleteDead(context.WithoutCancel(ctx), done...)
		x.claims.release(x.e.Now(), err == nil, done...)
		answer <- err
	}()
	return nil
}

// removed waits until the letters of the last checkpoint are removed.
func (x *run) removed() error {
	if x.removing == nil {
		return nil
	}
	err := <-x.removing
	x.removing = nil
	return err
}

// save stores the job. A conflict is an operator's wish, or another replica that runs it.
func (x *run) save(ctx context.Context) error {
	x.job.UpdatedAt = x.e.clock.Now()
	for {
		next, err := x.e.writeJob(ctx, x.job, x.revision)
		if err == nil {
			x.revision, x.saved = next, x.e.Now()
			return nil
		}
		if !errors.Is(err, schemas.ErrConflict) {
			return err
		}
		found, revision, rereadErr := x.e.readJob(ctx, x.id)
		switch {
		case rereadErr != nil:
			return rereadErr
		case revision == x.revision:
			return err // a stale read
		case found.Runner != x.job.Runner:
			return errLost
		}
		x.job.Obey(found)
		x.tell(found.Wanted)
		x.revision = revision
	}
}
