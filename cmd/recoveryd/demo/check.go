package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

// Result is how a run ended.
type Result struct {
	OK     bool          `json:"ok"`
	TookMS int64         `json:"took_ms"`
	Scenes []SceneResult `json:"scenes"`
	Checks []Check       `json:"checks"`
}

// SceneResult holds what was seen of a scene against what it wants.
type SceneResult struct {
	Name     string `json:"name"`
	Title    string `json:"title"`
	Subject  string `json:"subject"`
	Messages int    `json:"messages"`
	OK       bool   `json:"ok"`
	Want     Counts `json:"expected"`
	Seen     Counts `json:"seen"`
}

// Check is something else that must be so in the end.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// settleWithin is how long the removal of settled reports may be behind the outcomes.
const settleWithin = 10 * time.Second

// judge holds what was seen against what the scenes want, in the outcomes and in the
// streams themselves.
func (s *stage) judge(ctx context.Context) (*Result, error) {
	streams, err := s.settled(ctx)
	if err != nil {
		return nil, err
	}
	r := &Result{OK: true}
	for _, scene := range s.Scenes {
		seen := s.tally.counts(scene.Name)
		r.Scenes = append(r.Scenes, SceneResult{
			Name: scene.Name, Title: scene.Title, Subject: s.names.work(scene.Name), Messages: scene.Messages,
			OK: seen == scene.Want, Want: scene.Want, Seen: seen,
		})
		r.OK = r.OK && seen == scene.Want
	}
	for _, look := range []func(context.Context, map[string]bus.StreamState) (Check, error){s.checkReports, s.checkWaiting, s.checkBreakers, s.checkSaved, s.checkDead} {
		c, err := look(ctx, streams)
		if err != nil {
			return nil, fmt.Errorf("check: %w", err)
		}
		r.Checks = append(r.Checks, c)
		r.OK = r.OK && c.OK
	}
	return r, nil
}

// settled waits until nothing is under way any more, or long enough, and returns the
// states of recoveryd's streams by the last parts of their names.
func (s *stage) settled(ctx context.Context) (map[string]bus.StreamState, error) {
	for end := time.Now().Add(settleWithin); ; {
		states, err := s.bus.StreamStates(ctx)
		if err != nil {
			return nil, fmt.Errorf("check: %w", err)
		}
		streams := map[string]bus.StreamState{}
		for _, st := range states {
			streams[strings.TrimPrefix(st.Name, s.streams()+"_")] = st
		}
		if streams["FAILED"].Messages+streams["LEDGER"].Messages == 0 && s.allEnded() && s.allClosed() || time.Now().After(end) {
			return streams, nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case err := <-s.fault:
			return nil, err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// allEnded says whether every message came to its end, whichever that is.
func (s *stage) allEnded() bool {
	return !slices.ContainsFunc(s.Scenes, func(scene Scene) bool { return s.tally.counts(scene.Name).ended() < scene.Messages })
}

func (s *stage) allClosed() bool {
	for _, scene := range s.Scenes {
		if opened, state := s.tally.breakerOf(scene.Name); opened > 0 && state != "closed" {
			return false
		}
	}
	return true
}

func (s *stage) checkReports(_ context.Context, streams map[string]bus.StreamState) (Check, error) {
	failed, stored := uint64(s.reports.Load()), streams["FAILED"].LastSeq
	return Check{Name: "every failure was reported", OK: stored >= failed, Detail: fmt.Sprintf("the worker failed %d times, %d reports were stored", failed, stored)}, nil
}

func (s *stage) checkWaiting(_ context.Context, streams map[string]bus.StreamState) (Check, error) {
	failed, waiting := streams["FAILED"].Messages, streams["LEDGER"].Messages
	return Check{Name: "nothing waits any more", OK: failed+waiting == 0, Detail: fmt.Sprintf("%d reports and %d entries of the ledger are left", failed, waiting)}, nil
}

// checkBreakers wants a breaker opened exactly where work was to be held.
func (s *stage) checkBreakers(context.Context, map[string]bus.StreamState) (Check, error) {
	c := Check{Name: "breakers opened for the outage only", OK: s.allClosed()}
	var details []string
	for _, scene := range s.Scenes {
		opened, state := s.tally.breakerOf(scene.Name)
		c.OK = c.OK && (opened > 0) == (scene.Want.Held > 0)
		if opened > 0 {
			details = append(details, fmt.Sprintf("%s: opened %d times, %s now", scene.Name, opened, state))
		}
	}
	if c.Detail = strings.Join(details, "; "); c.Detail == "" {
		c.Detail = "none opened"
	}
	return c, nil
}

// checkSaved counts the work that fallbacks saved, in the stream itself.
func (s *stage) checkSaved(ctx context.Context, _ map[string]bus.StreamState) (Check, error) {
	want := 0
	for _, scene := range s.Scenes {
		want += scene.Want.Fallback
	}
	n, err := s.work.Count(ctx, s.fallback(">"))
	return Check{Name: "fallbacks hold what they saved", OK: n == uint64(want), Detail: fmt.Sprintf("%d messages on %s", n, s.fallback(">"))}, err
}

// checkDead reads the dead letters: their number, reason and payload.
func (s *stage) checkDead(ctx context.Context, streams map[string]bus.StreamState) (Check, error) {
	want := 0
	for _, scene := range s.Scenes {
		want += scene.Want.Dead
	}
	c := Check{Name: "dead letters say why", OK: streams["DEAD"].Messages == uint64(want), Detail: fmt.Sprintf("%d letters", streams["DEAD"].Messages)}
	letters, err := s.bus.ReadDead(ctx, 1, 100, "")
	for i := range letters {
		letter, err := schemas.ParseDeadLetter(&letters[i])
		if err != nil {
			return c, err
		}
		c.OK = c.OK && letter.Reason == schemas.ReasonExhausted && string(letter.Body) == `{"`+s.scene(letter.Subject)+`":1}`
		c.Detail = fmt.Sprintf("%d letters, the last: %s, %s", len(letters), letter.Reason, letter.Error)
	}
	return c, err
}
