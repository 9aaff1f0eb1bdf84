package docs

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	linked  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// Every link within the repository leads to a file, and to a heading if it names one.
func TestLinks(t *testing.T) {
	t.Parallel()
	n := 0
	for _, document := range documents(t) {
		for _, found := range linked.FindAllStringSubmatch(withoutCode(text(t, document)), -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			n++
			file := document
			if target != "" {
				file = path.Join(path.Dir(document), target)
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s links to %s: %v", document, found[1], err)
			} else if anchor != "" && !anchors(text(t, file))[anchor] {
				t.Errorf("%s links to %s: %s has no such heading", document, found[1], file)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d links were found", n)
	}
}

// anchors are what headings are called in links.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, found := range heading.FindAllStringSubmatch(withoutCode(text), -1) {
		all[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, found[1])] = true
	}
	return all
}

// Settings, flags and commands that documents and deployments name do exist.
func TestNamesThatDocumentsUse(t *testing.T) {
	t.Parallel()
	known := text(t, "docs/reference.md")
	variable := regexp.MustCompile(`RECOVERYD_[A-Z_]*[A-Z]`)
	command := regexp.MustCompile("`recoveryd ([a-z]+)\\b")
	for _, document := range append(documents(t), deployments(t)...) {
		for _, name := range variable.FindAllString(text(t, document), -1) {
			if !strings.Contains(known, "`"+name+"`") {
				t.Errorf("%s names the variable %s, which is none", document, name)
			}
		}
		for _, found := range command.FindAllStringSubmatch(text(t, document), -1) {
			if !strings.Contains(known, "### `recoveryd "+found[1]) {
				t.Errorf("%s names the command recoveryd %s, which is none", document, found[1])
			}
		}
	}
}
