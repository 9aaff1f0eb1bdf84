package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/recoveryd/recoveryd/bus"
)

// Beats that a run can have: with a shorter one the machine, not the policy, would set the pace.
const (
	MinBeat = 20 * time.Millisecond
	MaxBeat = time.Minute
)

// Options of a run.
type Options struct {
	Embedded   bool        // run a server in this process
	Connection bus.Options // else where the server is
	Domain     string      // JetStream domain there
	Version    string
	Beat       time.Duration // unit of all delays, MinBeat to MaxBeat; 1 s tells the story in half a minute
	Scenes     []Scene       // Story, or less of it
	Log        io.Writer     // takes the warnings of the daemon
	Tell       func(Progress)
}

// Validate names every field that cannot be used.
func (o Options) Validate() error {
	var faults []error
	if o.Version == "" {
		faults = append(faults, errors.New("Version is missing"))
	}
	if o.Beat < MinBeat || o.Beat > MaxBeat {
		faults = append(faults, fmt.Errorf("Beat is %s, not %s to %s", o.Beat, MinBeat, MaxBeat))
	}
	if len(o.Scenes) == 0 {
		faults = append(faults, errors.New("Scenes is empty"))
	}
	if o.Log == nil || o.Tell == nil {
		faults = append(faults, errors.New("Log or Tell is missing"))
	}
	return errors.Join(faults...)
}

// Progress is how far a scene is.
type Progress struct {
	Scene string
	Title string
	Done  int // messages that came to their end
	Total int
	Over  bool // nothing more is told of this scene
	OK    bool
	Note  string // what is going on
}

// Run plays the scenes. The result says whether everything came as expected; an error
// says why it could not be found out, or what could not be removed.
func Run(ctx context.Context, o Options) (*Result, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("options of the demonstration: %w", err)
	}
	begin := time.Now()
	s, err := setUp(ctx, o)
	if err != nil {
		return nil, err
	}
	result, err := s.play(ctx)
	if err == nil {
		result.TookMS = time.Since(begin).Milliseconds()
	}
	return result, errors.Join(err, s.tearDown(ctx))
}

func (s *stage) play(ctx context.Context) (*Result, error) {
	for i := range s.Scenes {
		if err := s.perform(ctx, &s.Scenes[i]); err != nil {
			return nil, err
		}
	}
	return s.judge(ctx)
}

// patience is how many beats a scene may take, and what a slow machine may take besides.
const (
	patience = 40
	slowness = 20 * time.Second
)

// perform publishes a scene's messages and waits until what it wants has happened, or
// long enough. What is missing then is told by judge.
func (s *stage) perform(ctx context.Context, scene *Scene) error {
	s.down.Store(true)
	for i := range scene.Messages {
		body := fmt.Appendf(nil, `{"%s":%d}`, scene.Name, i+1)
		if err := s.work.Publish(ctx, s.names.work(scene.Name), body); err != nil {
			return fmt.Errorf("work of the demonstration: %w", err)
		}
	}
	begin, end := time.Now(), time.After(patience*s.Beat+slowness)
	look := time.NewTicker(max(s.Beat/4, 5*time.Millisecond))
	defer look.Stop()
	for {
		seen := s.tally.counts(scene.Name)
		if s.down.Load() && time.Since(begin) > outage*s.Beat && seen.Held >= scene.Want.Held {
			s.down.Store(false)
		}
		over := seen.reached(scene.Want)
		s.Tell(Progress{Scene: scene.Name, Title: scene.Title, Done: seen.ended(), Total: scene.Messages, Over: over, OK: over, Note: s.note(scene, seen)})
		if over {
			return nil
		}
		select {
		case <-s.tally.changed:
		case <-look.C:
		case err := <-s.fault:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-end:
			s.Tell(Progress{Scene: scene.Name, Title: scene.Title, Done: seen.ended(), Total: scene.Messages, Over: true, Note: "took too long"})
			return nil
		}
	}
}

// note says what is going on in a scene.
func (s *stage) note(scene *Scene, seen Counts) string {
	_, state := s.tally.breakerOf(scene.Name)
	switch {
	case seen.reached(scene.Want):
		return "done"
	case scene.Want.Held > 0 && state != "" && state != "closed":
		return fmt.Sprintf("breaker %s, %d held", state, max(0, seen.Held-seen.Recovered))
	case seen.Redelivered > 0:
		return fmt.Sprintf("%d redelivered", seen.Redelivered)
	}
	return fmt.Sprintf("%d failed", seen.Reported)
}
