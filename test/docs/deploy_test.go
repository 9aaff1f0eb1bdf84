package docs

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/config"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/policyfile"
	"github.com/recoveryd/recoveryd/schemas"
)

// deployments are the files that show how recoveryd can be run.
func deployments(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, "deploy"))
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, e := range entries {
		paths = append(paths, "deploy/"+e.Name())
	}
	return paths
}

// manifest reads the documents of a YAML file; keys that are there twice are refused.
func manifest(t *testing.T, path string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for d := yaml.NewDecoder(bytes.NewBufferString(text(t, path))); ; {
		var document map[string]any
		err := d.Decode(&document)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, document)
	}
}

// at follows keys, and indexes where there are lists.
func at(t *testing.T, value any, path ...any) any {
	t.Helper()
	for i, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := value.(map[string]any)
			value = m[step]
		case int:
			list, _ := value.([]any)
			if step >= len(list) {
				t.Fatalf("there is nothing at %v", path[:i+1])
			}
			value = list[step]
		}
		if value == nil {
			t.Fatalf("there is nothing at %v", path[:i+1])
		}
	}
	return value
}

// settle checks an environment as the daemon does.
func settle(t *testing.T, from string, values map[string]string) {
	t.Helper()
	var environ []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		environ = append(environ, name+"="+values[name])
	}
	c, err := config.Load(config.Environment(environ))
	if err != nil {
		t.Errorf("%s: %v", from, err)
	} else if w := c.Warnings(); len(w) > 0 {
		t.Errorf("%s: %v", from, w)
	}
}

func TestCompose(t *testing.T) {
	t.Parallel()
	doc := manifest(t, "deploy/compose.yaml")[0]
	values := map[string]string{}
	for name, value := range at(t, doc, "services", "recoveryd", "environment").(map[string]any) {
		values[name] = value.(string)
	}
	settle(t, "deploy/compose.yaml", values)
	if _, err := policyfile.Load(filepath.Join(root, "deploy/policy.yaml"), schemas.Subjects{Prefix: schemas.DefaultPrefix}); err != nil {
		t.Error(err)
	}
	if image := at(t, doc, "services", "nats", "image"); image != "nats:"+serverVersion(t) {
		t.Errorf("the server is %v, but the tests run %s", image, serverVersion(t))
	}
}

// serverVersion is that of the server which the tests run.
func serverVersion(t *testing.T) string {
	t.Helper()
	found := regexp.MustCompile(`nats-server/v2 v(\S+)`).FindStringSubmatch(text(t, "go.mod"))
	if found == nil {
		t.Fatal("go.mod names no nats-server")
	}
	return found[1]
}

func TestKubernetes(t *testing.T) {
	t.Parallel()
	var kinds []string
	for _, doc := range manifest(t, "deploy/kubernetes.yaml") {
		kind := at(t, doc, "kind").(string)
		kinds = append(kinds, kind)
		switch kind {
		case "ConfigMap":
			policy := at(t, doc, "data", "policy.yaml").(string)
			if _, err := policyfile.Parse("policy.yaml", []byte(policy), schemas.Subjects{Prefix: schemas.DefaultPrefix}); err != nil {
				t.Error(err)
			}
		case "Deployment":
			values := map[string]string{}
			for _, entry := range at(t, doc, "spec", "template", "spec", "containers", 0, "env").([]any) {
				value, given := entry.(map[string]any)["value"].(string)
				if !given {
					value = "from the secret"
				}
				values[at(t, entry, "name").(string)] = value
			}
			settle(t, "deploy/kubernetes.yaml", values)
		}
	}
	if want := []string{"ConfigMap", "Deployment", "Service", "PodDisruptionBudget"}; !slices.Equal(kinds, want) {
		t.Errorf("found %v, want %v", kinds, want)
	}
}

// The image is built from the version of Go that the module wants.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(text(t, "go.mod"))[1]
	if !strings.Contains(text(t, "deploy/Dockerfile"), "FROM golang:"+want+" ") {
		t.Errorf("deploy/Dockerfile is not built with Go %s", want)
	}
}
