package handlers

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

// Bounds of a plan.
const (
	planTime    = 10 * time.Second       // of a dry run
	glanceTime  = 300 * time.Millisecond // of the look before a job is made
	planCauses  = 50
	planTargets = 50
	planCounted = 10_000 // causes and targets that are counted
	usualPace   = 5000   // letters per second of a job without a rate
)

// planner counts what a job would do.
type planner struct {
	plan    schemas.JobPlan
	causes  map[string]*schemas.CauseCount
	targets map[string]int64
	most    int // samples
}

// plan looks at the letters of a job for at most a time and tells what it would do to them.
func (e *Engine) plan(ctx context.Context, j *deadletter.Job, within time.Duration) (schemas.JobPlan, error) {
	f, edit, err := e.planned(j)
	if err != nil {
		return schemas.JobPlan{}, err
	}
	p := planner{causes: map[string]*schemas.CauseCount{}, targets: map[string]int64{}, most: cmp.Or(j.Request.Sample, 3)}
	p.plan.LastSequence = f.Spec().LastSequence
	s, began := e.scan(f, 1), e.Now()
	for over := false; !over; {
		var letters []deadletter.Letter
		if letters, _, over, err = s.next(ctx, maxScan); err != nil {
			return p.plan, err
		}
		for i := range letters {
			l := &letters[i]
			a, err := e.prepare(j, edit, l)
			if owner := e.ownerOf(l.Stored.Sequence); err == nil && owner != "" {
				err = &skip{whyInFlight, "job " + owner + " has it"}
			}
			p.add(l, a, err)
		}
		if !over && e.Now().Sub(began) > within {
			p.plan.Partial = true
			break
		}
	}
	return p.finish(j), nil
}

func (e *Engine) planned(j *deadletter.Job) (f *deadletter.Filter, edit *deadletter.Edit, err error) {
	if f, err = deadletter.CompileFilter(j.Request.Filter, j.CreatedAt); err == nil {
		edit, err = deadletter.EditOf(j.Kind, j.Request)
	}
	return f, edit, err
}

// ownerOf is the job that has a letter in hand, as far as this replica knows.
func (e *Engine) ownerOf(sequence uint64) string {
	if r := e.jobs.Load(); r != nil {
		return r.claims.owner(sequence)
	}
	return ""
}

func (p *planner) add(l *deadletter.Letter, a act, err error) {
	p.plan.Matched++
	var s *skip
	if errors.As(err, &s) {
		p.plan.Ineligible = deadletter.CountSkip(p.plan.Ineligible, s.why, l.Stored.Sequence, s.detail)
		return
	}
	p.plan.Eligible++
	if c := p.causes[l.Cause]; c != nil {
		c.Count++
	} else if len(p.causes) < planCounted {
		p.causes[l.Cause] = &schemas.CauseCount{Cause: l.Cause, Error: l.Error, Count: 1}
	}
	if _, known := p.targets[a.target]; a.target != "" && (known || len(p.targets) < planCounted) {
		p.targets[a.target]++
	}
	if a.edited != nil && len(p.plan.Samples) < p.most {
		p.plan.Samples = append(p.plan.Samples, deadletter.Sample(l, a.edited))
	}
}

func (p *planner) finish(j *deadletter.Job) schemas.JobPlan {
	plan := p.plan
	plan.Causes, plan.Targets = []schemas.CauseCount{}, []schemas.TargetPlan{}
	if plan.Ineligible == nil {
		plan.Ineligible = []schemas.JobSkipped{}
	}
	for _, c := range p.causes {
		plan.Causes = append(plan.Causes, *c)
	}
	slices.SortFunc(plan.Causes, func(a, b schemas.CauseCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Cause, b.Cause))
	})
	plan.Causes = plan.Causes[:min(planCauses, len(plan.Causes))]
	for target, n := range p.targets {
		plan.Targets = append(plan.Targets, schemas.TargetPlan{Target: target, Count: n})
	}
	slices.SortFunc(plan.Targets, func(a, b schemas.TargetPlan) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Target, b.Target))
	})
	plan.Targets = plan.Targets[:min(planTargets, len(plan.Targets))]
	pace, n := float64(usualPace), plan.Eligible
	if r := j.Request.Rate; r != nil {
		pace = min(pace, *r)
	}
	if most := int64(j.Request.MaxLetters); most > 0 {
		n = min(n, most)
	}
	plan.Seconds = float64(n) / pace
	return plan
}
