package handlers

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

// addJobs adds what is asked about jobs; any replica answers.
func (e *Engine) addJobs(all map[string]endpoint) {
	for name, f := range map[string]APIFunc{
		"replay.create": answer(e.createJob(deadletter.JobReplay)),
		"dlq.discard":   answer(e.createJob(deadletter.JobDiscard)),
		"dlq.edit":      answer(e.createJob(deadletter.JobEdit)),
		"replay.ls":     answer(e.listJobs),
		"replay.show":   answer(e.showJob),
		"replay.pause":  answer(e.steer(deadletter.WantPause)),
		"replay.resume": answer(e.steer(deadletter.WantRun)),
		"replay.cancel": answer(e.steer(deadletter.WantCancel)),
	} {
		all[name] = endpoint{public: f, local: f}
	}
}

// createJob makes a job of a kind, or tells what it would do.
func (e *Engine) createJob(kind string) func(context.Context, schemas.JobRequest) (schemas.JobReply, error) {
	return func(ctx context.Context, q schemas.JobRequest) (schemas.JobReply, error) {
		j, f, err := e.newJob(ctx, kind, q)
		if err != nil {
			return schemas.JobReply{}, err
		}
		if q.DryRun {
			plan, err := e.plan(ctx, j, planTime)
			return schemas.JobReply{Plan: &plan}, err
		}
		if err := e.admitJob(ctx, j, f); err != nil {
			return schemas.JobReply{}, err
		}
		if _, err := e.writeJob(ctx, j, 0); err != nil {
			return schemas.JobReply{}, err
		}
		status := j.Status(false)
		return schemas.JobReply{Job: &status}, nil
	}
}

// newJob checks a request and freezes its filter.
func (e *Engine) newJob(ctx context.Context, kind string, q schemas.JobRequest) (*deadletter.Job, *deadletter.Filter, error) {
	q, err := deadletter.CheckRequest(kind, q)
	now := e.clock.Now()
	f, filterErr := deadletter.CompileFilter(q.Filter, now)
	if err = errors.Join(err, filterErr, e.checkTo(q.To)); err != nil {
		return nil, nil, badRequest("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if err := e.allowTo(q.To); err != nil {
		return nil, nil, err
	}
	state, err := e.Dead.DeadState(ctx)
	if err != nil {
		return nil, nil, err
	}
	q.Filter = f.Spec()
	if last := q.Filter.LastSequence; last == 0 || last > state.LastSeq {
		q.Filter.LastSequence = max(1, state.LastSeq)
	}
	edit, err := deadletter.EditOf(kind, q)
	if err != nil {
		return nil, nil, err
	}
	if f, err = deadletter.CompileFilter(q.Filter, now); err != nil {
		return nil, nil, err
	}
	return &deadletter.Job{
		ID: strings.ToLower(rand.Text()[:12]), Kind: kind, State: deadletter.JobRunning, Request: q, CreatedAt: now, UpdatedAt: now, Position: 1,
		Actor: q.Actor, Reason: q.Reason, Edited: edit != nil,
	}, f, nil
}

// checkTo refuses a target to which nothing is ever published.
func (e *Engine) checkTo(to string) error {
	if to == "" {
		return nil
	}
	if err := e.Subjects.CheckTarget(to); err != nil {
		return &schemas.FieldError{Path: "to", Err: err}
	}
	return nil
}

// allowTo refuses a target that no policy allows.
func (e *Engine) allowTo(to string) error {
	if to == "" || slices.ContainsFunc(e.Policies().All(), func(p *Policy) bool { return p.MayReplayTo(to) }) {
		return nil
	}
	return &schemas.APIError{Code: 403, Message: fmt.Sprintf("to: no policy allows replays to %q: name it in dead_letter.replay_to", to)}
}

// blame is the field of a request that makes letters ineligible for a reason, and the code
// of the refusal: 403 is the policy's.
func blame(q *schemas.JobRequest, why string) (field string, code int) {
	switch why {
	case whyTarget, whyRefused:
		return "to", 403
	case whyNoPolicy, whyMode:
		return "filter", 403
	case whyEdit, whyTooLarge:
		if len(q.Body) > 0 {
			return "body", 400
		}
		return "patch", 400
	case whyMaxReplays:
		return "max_replays", 400
	}
	return "filter", 400
}

// admitJob refuses a job that would do nothing, or what another one does already.
func (e *Engine) admitJob(ctx context.Context, j *deadletter.Job, f *deadletter.Filter) error {
	if err := e.checkRivals(ctx, j, f); err != nil {
		return err
	}
	plan, err := e.plan(ctx, j, glanceTime)
	switch {
	case err != nil:
		return err
	case plan.Matched == 0 && !plan.Partial:
		if causes := f.Spec().Causes; len(causes) > 0 {
			return notFound("filter.causes: no dead letter fits; is %s known (recoveryd dlq groups)?", strings.Join(causes, ", "))
		}
		return notFound("filter: no dead letter fits it")
	case plan.Eligible == 0 && !plan.Partial || plan.Eligible == 0 && len(plan.Ineligible) == 1 && j.Kind == deadletter.JobEdit:
		s := plan.Ineligible[0]
		field, code := blame(&j.Request, s.Why)
		return &schemas.APIError{Code: code, Message: fmt.Sprintf("%s: none of the letters that fit (%d) can be taken: %s (dead letter %d: %s)", field, plan.Matched, s.Why, s.Sequence, s.Detail)}
	}
	if !plan.Partial {
		j.Matched = plan.Matched
		return nil
	}
	if !f.BySubject() {
		return nil
	}
	before := e.Subjects.Prefix + ".dead."
	return e.Dead.DeadCounts(ctx, f.Pattern(e.Subjects), func(subject string, n uint64) {
		cause, filed, _ := strings.Cut(strings.TrimPrefix(subject, before), ".")
		if f.Files(cause, filed) {
			j.Matched += int64(n)
		}
	})
}

// checkRivals refuses a second job for the same letters while the first is at it. Jobs that
// overlap otherwise leave each other's letters alone.
func (e *Engine) checkRivals(ctx context.Context, j *deadletter.Job, f *deadletter.Filter) error {
	jobs, err := e.readJobs(ctx)
	if err != nil {
		return err
	}
	active := 0
	for _, other := range jobs {
		if other.Over() {
			continue
		}
		if active++; active >= activeJobs {
			return &schemas.APIError{Code: 409, Message: fmt.Sprintf("%d jobs are not over yet: cancel some (recoveryd replay ls)", active)}
		}
		same, err := e.sameLetters(ctx, f, other.Job)
		if err != nil {
			return err
		}
		if same {
			return &schemas.APIError{Code: 409, Message: fmt.Sprintf("job %s, which is %s, is at these letters: %s it first, or wait (recoveryd replay show %s)",
				other.ID, other.State, deadletter.WantCancel, other.ID)}
		}
	}
	return nil
}

// sameLetters says whether a job is at the letters that a filter names: by the same filter,
// or because it selects one that is named by its sequence or id.
func (e *Engine) sameLetters(ctx context.Context, f *deadletter.Filter, other *deadletter.Job) (bool, error) {
	mine, theirs := f.Spec(), other.Request.Filter
	for _, id := range mine.IDs {
		if slices.Contains(theirs.IDs, id) {
			return true, nil
		}
	}
	if len(mine.Sequences) > 0 && len(mine.Sequences) <= 20 {
		filter, err := deadletter.CompileFilter(theirs, other.CreatedAt)
		if err != nil {
			return false, err
		}
		for _, sequence := range mine.Sequences {
			l, err := e.letterAt(ctx, sequence)
			if err != nil && !errors.Is(err, schemas.ErrNotFound) {
				return false, err
			}
			if err == nil && filter.Match(&l) {
				return true, nil
			}
		}
		return false, nil
	}
	mine.LastSequence, theirs.LastSequence = 0, 0
	return reflect.DeepEqual(mine, theirs), nil
}

func (e *Engine) listJobs(ctx context.Context, q schemas.JobListRequest) (schemas.JobListReply, error) {
	reply := schemas.JobListReply{Jobs: []schemas.JobStatus{}}
	limit := cmp.Or(q.Limit, 50)
	if limit < 1 || limit > 200 {
		return reply, badRequest("limit: %d is not between 1 and 200", limit)
	}
	if q.State != "" && !slices.Contains(deadletter.JobStates[:], q.State) {
		return reply, badRequest("state: %q is none of %s", q.State, strings.Join(deadletter.JobStates[:], ", "))
	}
	kinds := []string{"", deadletter.JobReplay, deadletter.JobDiscard, deadletter.JobEdit}
	if !slices.Contains(kinds, q.Kind) {
		return reply, badRequest("kind: %q is none of %s", q.Kind, strings.Join(kinds[1:], ", "))
	}
	jobs, err := e.readJobs(ctx)
	if err != nil {
		return reply, err
	}
	for _, j := range jobs {
		if q.State != "" && q.State != j.State || q.Kind != "" && q.Kind != j.Kind {
			continue
		}
		if reply.More = len(reply.Jobs) == limit; reply.More {
			break
		}
		reply.Jobs = append(reply.Jobs, j.Status(false))
	}
	return reply, nil
}

func (e *Engine) showJob(ctx context.Context, q schemas.JobNameRequest) (schemas.JobStatus, error) {
	j, _, err := e.namedJob(ctx, q.ID)
	if err != nil {
		return schemas.JobStatus{}, err
	}
	return j.Status(true), nil
}

func (e *Engine) namedJob(ctx context.Context, id string) (*deadletter.Job, uint64, error) {
	if schemas.Escape(id) != id || id == "=" {
		return nil, 0, badRequest("id: %q is no id of a job", id)
	}
	j, revision, err := e.readJob(ctx, id)
	if errors.Is(err, schemas.ErrNotFound) {
		return nil, 0, notFound("id: there is no job %q (recoveryd replay ls)", id)
	}
	return j, revision, err
}

// steer makes the handler of an operator's wish. Whoever runs the job fulfils it.
func (e *Engine) steer(wanted string) func(context.Context, schemas.JobNameRequest) (schemas.JobStatus, error) {
	return func(ctx context.Context, q schemas.JobNameRequest) (schemas.JobStatus, error) {
		for {
			j, revision, err := e.namedJob(ctx, q.ID)
			if err != nil {
				return schemas.JobStatus{}, err
			}
			if err := j.Steer(wanted, q.Actor, q.Reason); err != nil {
				return schemas.JobStatus{}, &schemas.APIError{Code: 409, Message: err.Error()}
			}
			_, err = e.writeJob(ctx, j, revision)
			if err == nil {
				return j.Status(true), nil
			}
			if !errors.Is(err, schemas.ErrConflict) || ctx.Err() != nil {
				return schemas.JobStatus{}, err
			}
		}
	}
}
