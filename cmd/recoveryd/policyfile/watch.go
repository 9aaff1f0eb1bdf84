package policyfile

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

// Timing of a watch.
const (
	settle = 100 * time.Millisecond // editors write in several steps
	sweep  = 15 * time.Second       // network file systems tell nothing
)

// Watcher follows a policy file. It watches the folder, not the file: editors replace
// files, and Kubernetes swaps the folder that a link points to.
type Watcher struct {
	path     string
	subjects schemas.Subjects
	changed  func(*handlers.Policies, error)
	events   *fsnotify.Watcher
	last     [sha256.Size]byte
}

// NewWatcher prepares to follow the file at path: call Load for what is in it now, then
// Run. changed is called from Run with the new policies whenever the content is not the
// one told last, or with the error that keeps it from being used.
func NewWatcher(path string, subjects schemas.Subjects, changed func(*handlers.Policies, error)) (*Watcher, error) {
	events, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch of %s: %w", path, err)
	}
	if err := events.Add(filepath.Dir(path)); err != nil {
		events.Close()
		return nil, fmt.Errorf("watch of the folder of %s: %w", path, err)
	}
	return &Watcher{path: path, subjects: subjects, changed: changed, events: events}, nil
}

// Load compiles the present content of the file.
func (w *Watcher) Load() (*handlers.Policies, error) {
	sum, data, err := w.read()
	w.last = sum
	if err != nil {
		return nil, err
	}
	return Parse(w.path, data, w.subjects)
}

// Close ends a watch that Run was never called for.
func (w *Watcher) Close() error { return w.events.Close() }

// Run follows the file until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	defer w.events.Close()
	quiet := time.NewTimer(settle) // the file may have changed before the watch began
	defer quiet.Stop()
	slow := time.NewTicker(sweep)
	defer slow.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.events.Events:
			quiet.Reset(settle)
		case <-w.events.Errors: // events were lost
			quiet.Reset(settle)
		case <-slow.C:
			w.look()
		case <-quiet.C:
			w.look()
		}
	}
}

// look tells the content if it is not the one told last.
func (w *Watcher) look() {
	sum, data, err := w.read()
	if sum == w.last {
		return
	}
	w.last = sum
	if err != nil {
		w.changed(nil, err)
		return
	}
	w.changed(Parse(w.path, data, w.subjects))
}

// read returns the content and a hash of it; an unreadable file counts as one content.
func (w *Watcher) read() ([sha256.Size]byte, []byte, error) {
	data, err := read(w.path)
	if err != nil {
		return sha256.Sum256([]byte("\x00unreadable")), nil, err
	}
	return sha256.Sum256(data), data, nil
}
