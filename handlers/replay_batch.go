package handlers

import (
	"context"
	"errors"
	"time"

	"github.com/recoveryd/recoveryd/deadletter"
)

// jobInFlight bounds the acts of a job without an answer.
const jobInFlight = 512

// batch acts on the next letters, at most n (less than 0 = any number), and notes it. over
// says that there are no more letters.
func (x *run) batch(ctx context.Context, s *scan, n int) (over bool, err error) {
	limit := x.pace.Batch(jobBeat/2, jobBatch)
	if n >= 0 {
		limit = min(limit, n)
	}
	letters, over, err := x.read(ctx, s, limit)
	if err != nil {
		return false, err
	}
	x.job.State, x.job.Waiting = deadletter.JobRunning, ""
	results, sent := x.send(ctx, letters)
	if sent < len(letters) {
		s.at, over = letters[sent].Stored.Sequence, false
	}
	done, err := x.account(ctx, results)
	if err != nil {
		return false, err
	}
	x.job.Position = s.at
	x.count(replayStored, int64(len(done)))
	if len(done) > 0 {
		return over, x.checkpoint(ctx, done)
	}
	if sent < len(letters) {
		return over, x.wait(ctx, x.job.Waiting)
	}
	return over, x.beat(ctx)
}

// page is what a read of letters found, and where the next one begins.
type page struct {
	scan    scan // after the read
	from    uint64
	letters []deadletter.Letter
	over    bool
	err     error
}

// read returns the next letters. While whole batches are acted on, the one after is read
// already.
func (x *run) read(ctx context.Context, s *scan, limit int) ([]deadletter.Letter, bool, error) {
	var p page
	if x.ahead != nil {
		p = <-x.ahead
		x.ahead = nil
	}
	if p.from != s.at || p.err != nil || limit != jobBatch {
		p = readPage(ctx, *s, limit)
	}
	if p.err != nil {
		return nil, false, p.err
	}
	*s = p.scan
	if limit == jobBatch && !p.over {
		ahead := make(chan page, 1)
		x.ahead = ahead
		go func(next scan) { ahead <- readPage(ctx, next, limit) }(*s)
	}
	return p.letters, p.over, nil
}

func readPage(ctx context.Context, s scan, limit int) page {
	p := page{from: s.at}
	p.letters, _, p.over, p.err = s.next(ctx, limit)
	p.scan = s
	return p
}

// send acts on letters in their order, each at its time, until something is wished for or a
// breaker stands in the way, and waits for the answers. sent is how many were looked at.
func (x *run) send(ctx context.Context, letters []deadletter.Letter) (results []acted, sent int) {
	answers := make(chan acted, len(letters))
	places := make(chan struct{}, jobInFlight)
	flying := 0
	for i := range letters {
		l := &letters[i]
		if ctx.Err() != nil || restOf(x.want()) != "" {
			break
		}
		a, err := x.claim(l)
		if err == nil && a.breaks && x.e.view.restrains(a.key) {
			x.job.Waiting = "the breaker of " + a.key.key + ", which is not closed"
			x.claims.release(x.e.Now(), false, l.Stored.Sequence)
			break
		}
		sent++
		if err != nil {
			x.leave(l, err)
			continue
		}
		if wait := x.pace.Take(x.e.Now()); wait > 0 && !x.hold(ctx, wait) {
			x.claims.release(x.e.Now(), false, l.Stored.Sequence)
			sent--
			break
		}
		places <- struct{}{}
		flying++
		x.e.do(ctx, l.Stored.Sequence, a, func(r acted) {
			if r.err == nil {
				x.tellOutcome(a, r)
			}
			<-places
			answers <- r
		})
	}
	for range flying {
		results = append(results, <-answers)
	}
	return results, sent
}

// hold waits until a letter may go; false means that it must not go any more.
func (x *run) hold(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-ctx.Done():
			return false
		case <-x.changed:
			if restOf(x.want()) != "" {
				return false
			}
		}
	}
}

// errGone: another job removed the letter a moment ago.
var errGone = errors.New("the letter is gone")

// claim prepares the act on a letter and takes it for this job.
func (x *run) claim(l *deadletter.Letter) (act, error) {
	a, err := x.e.prepare(x.job, x.edit, l)
	if err != nil {
		return a, err
	}
	switch owner, ok := x.claims.take(l.Stored.Sequence, x.id); {
	case ok:
		return a, nil
	case owner == "":
		return a, errGone
	default:
		return a, &skip{whyInFlight, "job " + owner + " has it"}
	}
}

// leave counts a letter that nothing is done to.
func (x *run) leave(l *deadletter.Letter, err error) {
	var s *skip
	if errors.As(err, &s) && s.why != whyOtherKey {
		x.job.Skip(s.why, l.Stored.Sequence, s.detail)
		x.count(replaySkipped, 1)
	}
}

// account counts what was done. Without an answer to each nothing is counted: the letters
// are taken again, and their message ids tell the repeats.
func (x *run) account(ctx context.Context, results []acted) (done []uint64, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, r := range results {
		var s *skip
		switch {
		case r.err == nil:
			done = append(done, r.sequence)
			x.job.Done++
			if r.repeated {
				x.job.Repeated++
				x.count(replayRepeated, 1)
			}
		case errors.As(r.err, &s):
			x.job.Skip(s.why, r.sequence, s.detail)
			x.count(replaySkipped, 1)
			x.claims.release(x.e.Now(), false, r.sequence)
		default:
			return nil, r.err
		}
	}
	return done, nil
}

// tellOutcome lets the observer know of an outcome that is stored.
func (x *run) tellOutcome(a act, r acted) {
	o := a.outcome
	if o == nil || r.repeated {
		return
	}
	x.e.observer.Observe(Event{Kind: EventOutcome, At: x.e.clock.Now(), Policy: o.Policy, Outcome: o, Subject: o.Subject, ID: o.ID, Trace: a.trace})
}
