package schemas

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed json/*.json
var files embed.FS

// Names lists the JSON Schemas, sorted.
func Names() []string {
	entries, err := files.ReadDir("json")
	if err != nil {
		panic("the embedded schemas cannot be listed: " + err.Error())
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".json"))
	}
	return names
}

// Schema returns a JSON Schema (draft 2020-12) by its name, e.g. "policy.v1".
func Schema(name string) ([]byte, error) {
	data, err := files.ReadFile("json/" + name + ".json")
	if err != nil {
		return nil, fmt.Errorf("there is no schema %q; there are %s", name, strings.Join(Names(), ", "))
	}
	return data, nil
}
