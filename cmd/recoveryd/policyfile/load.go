package policyfile

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

// Load reads and compiles a file. The error joins one *Fault for each fault there is, or
// says why the file cannot be read.
func Load(path string, subjects schemas.Subjects) (*handlers.Policies, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data, subjects)
}

// Parse compiles the text of a file; name is what faults call it.
func Parse(name string, data []byte, subjects schemas.Subjects) (*handlers.Policies, error) {
	var doc schemas.PolicyDocument
	d := decode(name, data, &doc)
	if len(d.at) == 0 {
		return nil, join(d.faults) // there is no document to check any further
	}
	policies, err := handlers.CompilePolicies(doc, subjects)
	d.adopt(err)
	if len(d.faults) > 0 {
		return nil, join(d.faults)
	}
	return policies, err
}

// Decode reads the text of any YAML file into the struct that doc points to, as strictly
// as policies are read. Fields are named by their json tags.
func Decode(name string, data []byte, doc any) error {
	return join(decode(name, data, doc).faults)
}

func read(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%s: there is no such file: name another one with RECOVERYD_POLICY_FILE, or leave it out to serve every subject with the defaults", path)
	case err != nil:
		return nil, fmt.Errorf("policy file: %w", err)
	}
	return data, nil
}

// adopt files the compiler's faults at their places, but for those that only follow from
// what is wrong already.
func (d *decoder) adopt(err error) {
	known := d.faults
	for _, e := range schemas.FieldErrors(err) {
		if follows(e.Path, known) {
			continue
		}
		path := e.Path
		for d.at[path] == nil && path != "" {
			path = parent(path)
		}
		d.fault(e.Path, d.at[path], "%v", e.Err)
	}
}

func follows(path string, known []*Fault) bool {
	for _, f := range known {
		if f.Path == "" || within(path, f.Path) || path == f.instead {
			return true
		}
	}
	return false
}

func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

func parent(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }
