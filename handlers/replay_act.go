package handlers

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

// Why a job leaves a letter alone.
const (
	whyUnreadable    = "unreadable"
	whyRefused       = "refused"
	whyNoPolicy      = "no_policy"
	whyMode          = "mode"
	whyTarget        = "target"
	whyMaxReplays    = "max_replays"
	whyInFlight      = "in_flight"
	whyUndeliverable = "undeliverable"
	whyTooLarge      = "too_large"
	whyEdit          = "edit"
	whyOtherKey      = "other_key"
)

// skip is why a letter is left alone, and what exactly is wrong with it.
type skip struct{ why, detail string }

func (f *skip) Error() string { return f.why + ": " + f.detail }

// act is what a job does to one letter: messages that are stored one after the other, and
// the outcome that they tell. The letter is removed after the last of them.
type act struct {
	messages []schemas.Message
	outcome  *schemas.Outcome    // nil for an edit
	trace    string              // traceparent of the work
	target   string              // of a replay
	edited   *schemas.DeadLetter // what the letter became before it was stored or sent
	key      breakerKey          // of a replay to the letter's own subject
	breaks   bool                // the key's breaker counts
}

// prepare decides what a job does to a letter; a *skip says why it does nothing.
func (e *Engine) prepare(j *deadletter.Job, edit *deadletter.Edit, l *deadletter.Letter) (act, error) {
	switch {
	case j.Kind == deadletter.JobDiscard:
		return e.discard(j, l)
	case l.Fault != nil:
		return act{}, &skip{whyUnreadable, l.Fault.Error()}
	case j.Kind == deadletter.JobEdit:
		return e.edit(j, edit, l)
	}
	return e.replayEdited(j, edit, l)
}

func (e *Engine) discard(j *deadletter.Job, l *deadletter.Letter) (act, error) {
	o := schemas.Outcome{
		Kind: schemas.KindDiscarded, ID: l.ID, Subject: l.Subject, Attempt: l.Attempt, Delivery: l.Delivery, Replay: l.Replay, Policy: l.Policy,
		Reason: schemas.ReasonDiscarded, Error: l.Error, Code: l.Code, Cause: l.Cause, DeadLetterSequence: l.Stored.Sequence,
		Job: j.ID, Actor: j.Request.Actor, Note: j.Request.Reason,
	}
	if o.ID == "" {
		o.ID, o.Subject = fmt.Sprintf("dead-letter-%d", l.Stored.Sequence), l.Filed
	}
	m := e.Subjects.OutcomeMessage(&o, &l.Work, e.clock.Now())
	return act{messages: []schemas.Message{m}, outcome: &o, trace: schemas.Traceparent(l.Header)}, nil
}

func (e *Engine) edit(j *deadletter.Job, edit *deadletter.Edit, l *deadletter.Letter) (act, error) {
	d, err := e.edited(j, edit, l)
	if err != nil {
		return act{}, err
	}
	return act{messages: []schemas.Message{edit.Message(&d, e.Subjects)}, edited: &d}, nil
}

func (e *Engine) edited(j *deadletter.Job, edit *deadletter.Edit, l *deadletter.Letter) (schemas.DeadLetter, error) {
	d, err := edit.Apply(l)
	if err != nil {
		return d, &skip{whyEdit, err.Error()}
	}
	if most := e.Dead.MaxBody(); len(d.Body) > most {
		return d, &skip{whyTooLarge, fmt.Sprintf("the edited payload has %d bytes, at most %d can be stored", len(d.Body), most)}
	}
	d.History = editedHistory(j, l)
	return d, nil
}

// replayEdited replays a letter as an edit makes it, nil = as it is.
func (e *Engine) replayEdited(j *deadletter.Job, edit *deadletter.Edit, l *deadletter.Letter) (act, error) {
	if edit == nil {
		return e.replay(j, l)
	}
	d, err := e.edited(j, edit, l)
	if err != nil {
		return act{}, err
	}
	a, err := e.replay(j, &deadletter.Letter{DeadLetter: d, Filed: l.Filed, Stored: l.Stored})
	a.edited = &d
	return a, err
}

// editedHistory is the history of a letter that was changed: it leads to the original, also
// after a replay.
func editedHistory(j *deadletter.Job, l *deadletter.Letter) string {
	h, err := deadletter.ParseHistory(l.History)
	if err != nil {
		h = nil
	}
	return h.Append(deadletter.Attempt{
		At: j.CreatedAt, Attempt: l.Attempt,
		Error: fmt.Sprintf("edited by %s, job %s: the original was dead letter %d with a payload of sha256 %x", j.Actor, j.ID, l.Stored.Sequence, sha256.Sum256(l.Body)),
	}).Encode()
}

// replay sends the work back as if it had just begun: attempts and times count anew, the
// number of deliveries and of replays goes on.
func (e *Engine) replay(j *deadletter.Job, l *deadletter.Letter) (act, error) {
	p := e.Policies().For(l.Subject)
	r := &j.Request
	switch {
	case p == nil:
		return act{}, &skip{whyNoPolicy, fmt.Sprintf("no policy serves %q", l.Subject)}
	case l.Replay >= r.MaxReplays:
		return act{}, &skip{whyMaxReplays, fmt.Sprintf("it was replayed %d times", l.Replay)}
	case j.Key != "" && (p.Name != j.Policy || p.BreakerKey(&l.Work) != j.Key):
		return act{}, &skip{whyOtherKey, "its breaker is another one"}
	}
	a := act{target: p.Target(&l.Work), trace: schemas.Traceparent(l.Header), key: breakerKey{p.Name, p.BreakerKey(&l.Work)}, breaks: !p.Breaker.Disabled}
	w := l.Work
	if r.To != "" && r.To != l.Subject {
		if !p.MayReplayTo(r.To) {
			return act{}, &skip{whyTarget, fmt.Sprintf("policy %s does not allow replays of %q to %q: name it in dead_letter.replay_to", p.Name, l.Subject, r.To)}
		}
		a.target, w.Subject, a.breaks = r.To, r.To, false // it lives on there, under the policy of that subject
	} else if p.Deliver.Mode != schemas.DeliverStream {
		return act{}, &skip{whyMode, fmt.Sprintf("policy %s delivers by %s: without a stream nobody confirms that a replay arrived", p.Name, p.Deliver.Mode)}
	}
	if err := e.Subjects.CheckTarget(a.target); err != nil {
		return act{}, &skip{whyRefused, err.Error()}
	}
	w.Replay++
	w.Attempt, w.Fallback, w.Held, w.FirstFailedAt = 1, schemas.NoFallback, 0, time.Time{}
	d := schemas.Delivery{
		Target: a.target, Attempt: 1, MaxAttempts: p.Retry.MaxAttempts, Number: l.Delivery + 1, Fallback: schemas.NoFallback, Step: schemas.StepReplay,
	}
	a.outcome = &schemas.Outcome{
		Kind: schemas.KindReplayed, ID: w.ID, Subject: schemas.Readable(w.Subject), Attempt: 1, MaxAttempts: d.MaxAttempts, Delivery: d.Number,
		Replay: w.Replay, Policy: p.Name, Target: a.target, Cause: l.Cause, DeadLetterSequence: l.Stored.Sequence, Job: j.ID, Actor: r.Actor, Note: r.Reason,
	}
	// Always told, whatever outcomes the policy chooses: the job itself follows it.
	told := e.Subjects.OutcomeMessage(a.outcome, &w, e.clock.Now())
	a.messages = []schemas.Message{e.sealer.Message(&w, d), told}
	return a, nil
}

// acted is the answer to an act.
type acted struct {
	sequence uint64
	repeated bool  // the first message was stored already
	err      error // a *skip, or why the job cannot go on
}

// do stores the messages of an act and calls done once. What may succeed later is repeated
// until ctx ends.
func (e *Engine) do(ctx context.Context, sequence uint64, a act, done func(acted)) {
	result := acted{sequence: sequence}
	var step func(i, tries int)
	step = func(i, tries int) {
		if i == len(a.messages) {
			done(result)
			return
		}
		e.bus.Publish(a.messages[i], func(ack schemas.Ack, err error) {
			switch {
			case err == nil:
				result.repeated = result.repeated || i == 0 && ack.Duplicate
				step(i+1, 0)
			case ctx.Err() != nil:
				result.err = context.Cause(ctx)
				done(result)
			case errors.Is(err, schemas.ErrTooLarge):
				result.err = &skip{whyTooLarge, err.Error()}
				done(result)
			case i == 0 && tries >= 3 && errors.Is(err, schemas.ErrNoStream):
				result.err = &skip{whyUndeliverable, err.Error()}
				done(result)
			default:
				time.AfterFunc(min(5*time.Second, 50*time.Millisecond<<min(tries, 7)), func() { step(i, tries+1) })
			}
		})
	}
	step(0, 0)
}
