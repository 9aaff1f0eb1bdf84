package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// documents are the pages that people read, by their paths from the root.
func documents(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/adr/*.md", "deploy/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			paths = append(paths, filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator))))
		}
	}
	if len(paths) < 5 {
		t.Fatalf("only %v were found", paths)
	}
	return paths
}

func text(t *testing.T, document string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, document))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// block is fenced code of a document.
type block struct {
	line     int
	mark     string // comment on the line above
	language string
	lines    []string
}

func blocks(text string) (all []block) {
	var open *block
	mark := ""
	for i, line := range strings.Split(text, "\n") {
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case open == nil && isFence:
			open = &block{line: i + 1, mark: mark, language: fence}
		case open != nil && isFence:
			all, open = append(all, *open), nil
		case open != nil:
			open.lines = append(open.lines, line)
		}
		mark = ""
		if comment, ok := strings.CutPrefix(line, "<!-- "); ok {
			mark = strings.TrimSuffix(comment, " -->")
		}
	}
	return all
}

// withoutCode is a text without its fenced code.
func withoutCode(text string) string {
	var kept []string
	inside := false
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			inside = !inside
		} else if !inside {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}
