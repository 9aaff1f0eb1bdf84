package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Variable describes one variable of the environment.
type Variable struct {
	Name    string `json:"name"`
	Unit    string `json:"unit"`
	Allowed string `json:"allowed"`
	Default string `json:"default"`
	Doc     string `json:"doc"`
	Secret  bool   `json:"secret,omitempty"`

	field reflect.StructField
}

// Setting is the effective value of a variable and where it comes from.
type Setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

// Variables lists all variables in the order of the reference.
func Variables() []Variable {
	var all []Variable
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		name, ok := f.Tag.Lookup("env")
		if !ok {
			continue
		}
		all = append(all, Variable{
			Name: Prefix + name, Unit: f.Tag.Get("unit"), Allowed: allowed(f.Tag), Default: f.Tag.Get("envDefault"),
			Doc: f.Tag.Get("doc"), Secret: f.Type == reflect.TypeFor[Secret](), field: f,
		})
	}
	return all
}

// allowed puts the range of a variable into words.
func allowed(tag reflect.StructTag) string {
	if words := strings.Fields(tag.Get("oneof")); len(words) > 0 {
		return "one of " + strings.Join(words, ", ")
	}
	least, most, ok := strings.Cut(tag.Get("range"), "..")
	if !ok {
		return tag.Get("unit")
	}
	text := fmt.Sprintf("%s from %s to %s", tag.Get("unit"), least, most)
	if zero := tag.Get("zero"); zero != "" {
		text += ", or 0 for " + zero
	}
	return text
}

func variableOf(field string) Variable {
	all := Variables()
	return all[slices.IndexFunc(all, func(v Variable) bool { return v.field.Name == field })]
}

func order(name string) int {
	return slices.IndexFunc(Variables(), func(v Variable) bool { return v.Name == name })
}

// check holds a value that could be read against the range or words of its variable.
func (v Variable) check(field reflect.Value, written string) []*Fault {
	if words := strings.Fields(v.field.Tag.Get("oneof")); len(words) > 0 && !slices.Contains(words, field.String()) {
		return []*Fault{v.fault(written, "is unknown")}
	}
	least, most, ok := strings.Cut(v.field.Tag.Get("range"), "..")
	if !ok || field.Int() == 0 && v.field.Tag.Get("zero") != "" {
		return nil
	}
	switch n := field.Int(); {
	case n < v.number(least):
		return []*Fault{v.fault(written, "is too small")}
	case n > v.number(most):
		return []*Fault{v.fault(written, "is too large")}
	}
	return nil
}

// number reads an end of a range the way the variable itself is read.
func (v Variable) number(s string) int64 {
	value := reflect.New(v.field.Type)
	if u, ok := value.Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(s)); err != nil {
			panic("range of " + v.Name + ": " + err.Error())
		}
		return value.Elem().Int()
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic("range of " + v.Name + ": " + err.Error())
	}
	return n
}

func (v Variable) setting(field reflect.Value, values, origin map[string]string) Setting {
	name := strings.TrimPrefix(v.Name, Prefix)
	s := Setting{Name: v.Name, Value: fmt.Sprint(field.Interface()), Source: "default"}
	if value, ok := values[name]; ok {
		s.Source = origin[name]
		if !v.Secret {
			s.Value = value
		}
	}
	return s
}
