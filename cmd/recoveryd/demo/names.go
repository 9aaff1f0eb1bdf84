package demo

import (
	"crypto/rand"
	"strings"

	"github.com/recoveryd/recoveryd/schemas"
)

// names are those of one run. They are random, so that runs, and daemons at the same
// server, know nothing of each other.
type names struct{ run string }

func newNames() names { return names{strings.ToLower(rand.Text()[:8])} }

// base begins every subject of the run.
func (n names) base() string { return "demo." + n.run }

// streams begins the name of every stream of the run.
func (n names) streams() string { return "DEMO-" + n.run }

func (n names) subjects() schemas.Subjects { return schemas.Subjects{Prefix: n.base() + ".recovery"} }

// work is the subject of a scene's messages.
func (n names) work(scene string) string { return n.base() + ".work." + scene }

// fallback is where a scene's work goes when its handler cannot do it. Nobody consumes
// it: it stays in the stream for a person.
func (n names) fallback(scene string) string { return n.base() + ".manual." + scene }

// scene is the one that a subject of work belongs to.
func (n names) scene(subject string) string {
	name, _ := strings.CutPrefix(subject, n.work(""))
	return name
}
