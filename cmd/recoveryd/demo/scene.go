package demo

import (
	"errors"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// Scene is one part of the story: messages, a worker that fails in its own way, the
// policy that deals with it, and what must come of it.
type Scene struct {
	Name     string // of its policy, and last token of its subject
	Title    string
	Messages int
	Want     Counts

	policy func(beat time.Duration, p *schemas.PolicySpec)
	work   func(try attempt) error
}

// Counts is how many messages of a scene something happened to, each counted once.
type Counts struct {
	Reported    int `json:"reported"`
	Redelivered int `json:"redelivered"`
	Recovered   int `json:"recovered"`
	Held        int `json:"held"`
	Fallback    int `json:"fallback"`
	Dead        int `json:"dead"`
	Attempts    int `json:"attempts"` // the most that any of them used
}

// ended is how many messages came to their end.
func (c Counts) ended() int { return c.Recovered + c.Fallback + c.Dead }

// reached says whether everything wanted happened.
func (c Counts) reached(want Counts) bool {
	return c.Reported >= want.Reported && c.Redelivered >= want.Redelivered && c.Recovered >= want.Recovered &&
		c.Held >= want.Held && c.Fallback >= want.Fallback && c.Dead >= want.Dead && c.Attempts >= want.Attempts
}

// attempt is what the worker knows when it handles a message.
type attempt struct {
	number int  // 1 = the original delivery
	down   bool // the thing that the work needs cannot be reached
}

// outage is how many beats the thing is down, at least: the breaker opens three times.
const outage = 11

// Errors of the worker.
var (
	errFlaky    = errors.New("the shop answered 502, try again")
	errPoison   = errors.New("invalid order: no customer")
	errDown     = errors.New("connection refused")
	errDeclined = errors.New("card declined")
)

// Story lists the scenes.
func Story() []Scene {
	return []Scene{
		{
			Name: "flaky", Title: "A handler fails twice, then works", Messages: 10,
			Want:   Counts{Reported: 10, Redelivered: 10, Recovered: 10, Attempts: 3},
			policy: func(_ time.Duration, p *schemas.PolicySpec) { p.Breaker.Disabled = true },
			work: func(try attempt) error {
				if try.number < 3 {
					return errFlaky
				}
				return nil
			},
		},
		{
			Name: "poison", Title: "A message that nobody can handle", Messages: 1,
			Want:   Counts{Reported: 1, Redelivered: 1, Dead: 1, Attempts: 3},
			policy: func(time.Duration, *schemas.PolicySpec) {},
			work:   func(attempt) error { return errPoison },
		},
		{
			Name: "outage", Title: "What the work needs is down", Messages: 40,
			Want: Counts{Reported: 40, Redelivered: 40, Recovered: 40, Held: 40, Attempts: 2},
			policy: func(beat time.Duration, p *schemas.PolicySpec) {
				p.Breaker.ResetTimeout = text(3 * beat)
				p.Retry.InitialDelay = text(3 * beat) // the breaker must open before the first is due, on a slow machine too
			},
			work: func(try attempt) error {
				if try.down {
					return errDown
				}
				return nil
			},
		},
		{
			Name: "fallback", Title: "Work that somebody else must finish", Messages: 5,
			Want: Counts{Reported: 5, Redelivered: 5, Fallback: 5, Attempts: 2},
			policy: func(_ time.Duration, p *schemas.PolicySpec) {
				p.Breaker.Disabled, p.Retry.MaxAttempts = true, new(2)
			},
			work: func(attempt) error { return errDeclined },
		},
	}
}

func text(d time.Duration) *schemas.Duration { return new(schemas.Duration(d)) }

// policies is the policy file of the scenes: each has its own, as a breaker serves only
// one of them. Every policy tells all outcomes and believes reports of success.
func policies(n names, scenes []Scene, beat time.Duration) schemas.PolicyDocument {
	doc := schemas.PolicyDocument{Version: 1}
	for _, scene := range scenes {
		p := schemas.PolicySpec{
			Name: scene.Name, Subjects: []string{n.work(scene.Name)},
			Retry:           schemas.RetrySpec{MaxAttempts: new(3), InitialDelay: text(beat)},
			SuccessEvidence: "report", Outcomes: schemas.OutcomesAll,
		}
		scene.policy(beat, &p)
		if scene.Want.Fallback > 0 {
			p.Fallback = []string{n.fallback(scene.Name)}
		}
		doc.Policies = append(doc.Policies, p)
	}
	return doc
}
