package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/demo"
)

// bars shows how far the scenes of a demonstration are: bars for a person at a terminal,
// else a line for each scene that is over. It is for one goroutine.
type bars struct {
	w        io.Writer
	progress progress.Writer // nil when nobody looks
	ended    chan struct{}   // closed when nothing is drawn any more
	trackers map[string]*progress.Tracker
	begun    time.Time
}

func (a *App) newBars(scenes int) *bars {
	b := &bars{w: a.Stderr, trackers: map[string]*progress.Tracker{}, begun: time.Now()}
	if !terminal(a.Stderr) || a.getenv("TERM") == "dumb" {
		return b
	}
	p := a.newProgress(62, 20)
	p.SetNumTrackersExpected(scenes)
	b.progress, b.ended = p, make(chan struct{})
	go func() { defer close(b.ended); p.Render() }()
	return b
}

// newProgress draws bars on stderr, with messages and bars of these lengths.
func (a *App) newProgress(message, bar int) progress.Writer {
	p := progress.NewWriter()
	p.SetOutputWriter(a.Stderr)
	p.SetMessageLength(message)
	p.SetTrackerLength(bar)
	p.SetUpdateFrequency(100 * time.Millisecond)
	p.SetStyle(progress.StyleBlocks)
	p.Style().Visibility.ETA = false
	p.Style().Visibility.Percentage = false
	if a.colour(a.Stderr) {
		p.Style().Colors.Tracker = text.Colors{text.FgGreen}
	}
	return p
}

func (b *bars) tell(p demo.Progress) {
	if b.progress == nil {
		if p.Over {
			fmt.Fprintf(b.w, "%5.1f s  %s: %d of %d came to their end, %s\n", time.Since(b.begun).Seconds(), p.Title, p.Done, p.Total, p.Note)
		}
		return
	}
	t := b.trackers[p.Scene]
	if t == nil {
		t = &progress.Tracker{Total: int64(p.Total), AutoStopDisabled: true}
		b.trackers[p.Scene] = t
		b.progress.AppendTracker(t)
	}
	t.UpdateMessage(p.Title + ": " + p.Note)
	t.SetValue(int64(p.Done))
	switch {
	case p.Over && p.OK:
		t.MarkAsDone()
	case p.Over:
		t.MarkAsErrored()
	}
}

// stop draws the last state.
func (b *bars) stop() {
	if b.progress == nil {
		return
	}
	for _, t := range b.trackers {
		if !t.IsDone() {
			t.MarkAsErrored()
		}
	}
	time.Sleep(150 * time.Millisecond) // bars are only drawn now and then
	b.progress.Stop()
	<-b.ended
}
