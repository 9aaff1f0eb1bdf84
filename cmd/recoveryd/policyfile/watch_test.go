package policyfile

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/handlers"
)

const (
	first  = "version: 1\npolicies: [{name: first, subjects: [\">\"]}]\n"
	second = "version: 1\npolicies: [{name: second, subjects: [\">\"]}]\n"
	broken = "version: 1\npolicies: [{name: second, subject: [\">\"]}]\n"
)

type change struct {
	policies *handlers.Policies
	err      error
}

// watch runs a watcher on a file and returns the changes it tells.
func watch(t *testing.T, path string) <-chan change {
	t.Helper()
	changes := make(chan change, 16)
	w, err := NewWatcher(path, subjects, func(p *handlers.Policies, err error) { changes <- change{p, err} })
	if err != nil {
		t.Fatal(err)
	}
	if p, err := w.Load(); err != nil || p.Named("first") == nil {
		t.Fatalf("loaded %v, %v", p, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return changes
}

func next(t *testing.T, changes <-chan change) change {
	t.Helper()
	select {
	case c := <-changes:
		return c
	case <-time.After(10 * time.Second):
		t.Fatal("no change was told")
		return change{}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestWatchTellsWritesRenamesAndFaults(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	write(t, path, first)
	changes := watch(t, path)

	write(t, path, broken)
	if c := next(t, changes); len(Faults(c.err)) != 1 || c.policies != nil {
		t.Errorf("a broken file told %v", c.err)
	}
	write(t, path+"~", second)
	rename(t, path+"~", path)
	if c := next(t, changes); c.err != nil || c.policies.Named("second") == nil {
		t.Errorf("a rename told %v", c.err)
	}
	rename(t, path, path+".old")
	if c := next(t, changes); c.err == nil {
		t.Error("a file that is gone told no error")
	}
	write(t, path, first)
	if c := next(t, changes); c.err != nil || c.policies.Named("first") == nil {
		t.Errorf("its return told %v", c.err)
	}
	if len(changes) != 0 {
		t.Errorf("%d more changes were told", len(changes))
	}
}

// Kubernetes mounts policy.yaml -> ..data/policy.yaml, ..data -> ..2026, and swaps ..data.
func TestWatchFollowsKubernetesLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := func(target, name string) {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"..1": first, "..2": second} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name, "policy.yaml"), text)
	}
	link("..1", "..data")
	link("..data/policy.yaml", "policy.yaml")
	changes := watch(t, filepath.Join(dir, "policy.yaml"))

	link("..2", "..data_tmp")
	rename(t, filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data"))
	if c := next(t, changes); c.err != nil || c.policies.Named("second") == nil {
		t.Errorf("the swap told %v", c.err)
	}
}
