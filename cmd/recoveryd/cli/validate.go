package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/schemas"
)

// maxDocument bounds, in bytes, what is read to be validated.
const maxDocument = 64 << 20

func (a *App) schemaValidate() *cobra.Command {
	return &cobra.Command{
		Use: "validate NAME [FILE]", Short: "Check a JSON document, or one in a .yaml file, against a schema", Args: cobra.RangeArgs(1, 2), ValidArgs: schemas.Names(),
		Long: `Check a JSON document, or one in a .yaml file, against a schema. Without FILE, or with -, it is
read from stdin. Each fault is a line on stdout that begins with its place, a JSON pointer.
The exit code is 0 when it fits, 1 when it does not, and 2 when there is no such schema or file.`,
		Example: `  recoveryd schema validate failure.v1 report.json
  nats request recovery.api.v1.status.get '' --raw | recoveryd schema validate api.status.reply.v1`,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := compileSchema(args[0])
			if err != nil {
				return &exit{code: exitUsage, err: err}
			}
			file := "-"
			if len(args) == 2 {
				file = args[1]
			}
			data, err := a.document(file)
			if err != nil {
				return &exit{code: exitUsage, err: err}
			}
			faults := validate(s, data)
			for _, f := range faults {
				fmt.Fprintln(a.Stdout, f)
			}
			if len(faults) > 0 {
				return quiet(exitFailed)
			}
			return nil
		},
	}
}

// document reads a file, or stdin for "-"; YAML is turned into JSON.
func (a *App) document(file string) ([]byte, error) {
	from := a.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	data, err := io.ReadAll(io.LimitReader(from, maxDocument+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", file, err)
	case len(data) > maxDocument:
		return nil, fmt.Errorf("%s is larger than %d MiB", file, maxDocument>>20)
	}
	if ext := filepath.Ext(file); ext == ".yaml" || ext == ".yml" {
		var doc any
		if err := yaml.Unmarshal(data, &doc); err != nil {
			return nil, fmt.Errorf("%s is no YAML: %w", file, err)
		}
		return json.Marshal(doc)
	}
	return data, nil
}

func compileSchema(name string) (*jsonschema.Schema, error) {
	data, err := schemas.Schema(name)
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.AssertContent()
	if err := c.AddResource(name, doc); err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	return c.Compile(name)
}

// validate lists the faults of a document, one line each.
func validate(s *jsonschema.Schema, data []byte) []string {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return []string{"#: is no JSON: " + err.Error()}
	}
	err = s.Validate(doc)
	var fault *jsonschema.ValidationError
	if errors.As(err, &fault) {
		faults := leaves(nil, *fault.DetailedOutput())
		slices.Sort(faults) // the validator goes through maps
		return faults
	}
	return nil
}

// leaves collects the faults that have no further cause.
func leaves(faults []string, u jsonschema.OutputUnit) []string {
	if u.Error != nil {
		line := pointer(u.InstanceLocation) + ": " + strings.Join(strings.Fields(u.Error.String()), " ")
		return append(faults, line)
	}
	for _, cause := range u.Errors {
		faults = leaves(faults, cause)
	}
	return faults
}

// pointer is a JSON pointer as the fragment of a URI (RFC 6901, section 6), so that the
// whole document has a name that can be seen.
func pointer(location string) string {
	return "#" + strings.ReplaceAll(url.PathEscape(location), "%2F", "/")
}
