package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/internal/nearest"
)

// Fault is one thing that is wrong with a variable.
type Fault struct {
	Variable string `json:"variable"`
	Value    string `json:"value"` // masked if it is secret
	Problem  string `json:"problem"`
	Allowed  string `json:"allowed"`
}

func (f *Fault) Error() string {
	text := fmt.Sprintf("%s=%q %s", f.Variable, f.Value, f.Problem)
	if f.Allowed != "" {
		text += "; allowed: " + f.Allowed
	}
	return text
}

func (v Variable) fault(value, problem string) *Fault {
	if v.Secret {
		value = Secret(value).String()
	}
	return &Fault{Variable: v.Name, Value: value, Problem: problem, Allowed: v.Allowed}
}

// Faults lists the faults joined in err.
func Faults(err error) []*Fault {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	var all []*Fault
	for _, e := range joined.Unwrap() {
		var f *Fault
		if errors.As(e, &f) {
			all = append(all, f)
		}
	}
	return all
}

func join(faults []*Fault) error {
	all := make([]error, len(faults))
	for i, f := range faults {
		all[i] = f
	}
	return errors.Join(all...)
}

// unknown warns of variables that have the prefix but mean nothing. It does not refuse
// them: Kubernetes adds such variables for every service of that name.
func unknown(values map[string]string) []string {
	var names, warnings []string
	for _, v := range Variables() {
		names = append(names, strings.TrimPrefix(v.Name, Prefix))
	}
	for name := range values {
		if slices.Contains(names, name) || kubernetes(name) {
			continue
		}
		w := Prefix + name + " is no setting and was ignored"
		if near, ok := nearest.Of(name, names); ok {
			w += "; did you mean " + Prefix + near + "?"
		}
		warnings = append(warnings, w)
	}
	slices.Sort(warnings)
	return warnings
}

func kubernetes(name string) bool {
	return name == "PORT" || strings.HasPrefix(name, "PORT_") || strings.Contains(name, "SERVICE_PORT") || strings.HasSuffix(name, "SERVICE_HOST") || strings.Contains(name, "_PORT_")
}
