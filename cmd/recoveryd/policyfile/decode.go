package policyfile

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/internal/nearest"
	"github.com/recoveryd/recoveryd/schemas"
)

// Limits of a file. Aliases count where they are used, so that a few lines cannot expand
// to billions of values.
const (
	maxSize  = 1 << 20 // bytes
	maxNodes = 200_000
)

// decoder fills a document from a syntax tree and remembers where each field stands.
type decoder struct {
	file    string
	lines   []string
	at      map[string]*token.Position
	anchors map[string]ast.Node
	nodes   int
	faults  []*Fault
}

// decode reads data into the struct that doc points to. Names of fields are those of JSON.
func decode(file string, data []byte, doc any) *decoder {
	d := &decoder{file: file, lines: strings.Split(string(data), "\n"), at: map[string]*token.Position{}, anchors: map[string]ast.Node{}}
	if len(data) > maxSize {
		d.fault("", nil, "is larger than %d bytes", maxSize)
		return d
	}
	tree, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(err)
		return d
	}
	if body := d.body(tree); body != nil {
		d.value("", body, reflect.ValueOf(doc).Elem())
	}
	if len(d.at) == 0 && len(d.faults) == 0 {
		d.fault("", nil, "is empty")
	}
	return d
}

func (d *decoder) body(tree *ast.File) ast.Node {
	var body ast.Node
	for _, document := range tree.Docs {
		switch {
		case document.Body == nil:
		case body != nil:
			d.fault("", begin(document.Body), "a second document begins here, only one is read")
			return nil
		default:
			body = document.Body
		}
	}
	return body
}

func (d *decoder) syntax(err error) {
	var e yaml.Error
	if errors.As(err, &e) && e.GetToken() != nil {
		d.fault("", e.GetToken().Position, "syntax: %s", e.GetMessage())
		return
	}
	d.fault("", nil, "syntax: %v", err)
}

func (d *decoder) fault(path string, at *token.Position, format string, args ...any) *Fault {
	f := &Fault{File: d.file, Path: path, Message: fmt.Sprintf(format, args...)}
	if at != nil {
		f.Line, f.Column = at.Line, at.Column
		if f.Line >= 1 && f.Line <= len(d.lines) {
			f.Source = strings.TrimRight(d.lines[f.Line-1], "\r")
		}
	}
	d.faults = append(d.faults, f)
	return f
}

// value puts a node into v. A null leaves v as it is, like a field that is left out.
func (d *decoder) value(path string, n ast.Node, v reflect.Value) {
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 {
			d.fault(path, n.GetToken().Position, "the file has more than %d values, aliases expanded", maxNodes)
		}
		return
	}
	n, ok := d.resolve(path, n)
	if !ok || n.Type() == ast.NullType {
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if d.at[path] == nil {
		d.at[path] = begin(n)
	}
	switch {
	case v.Type() == reflect.TypeFor[schemas.Duration]():
		d.duration(path, n, v)
	case v.Kind() == reflect.Struct:
		d.structure(path, n, v)
	case v.Kind() == reflect.Map:
		d.texts(path, n, v)
	case v.Kind() == reflect.Slice:
		d.list(path, n, v)
	default:
		d.scalar(path, n, v)
	}
}

// resolve strips anchors and tags, and follows aliases to what they stand for. An anchor
// is known only after its value was read, so no alias can contain itself.
func (d *decoder) resolve(path string, n ast.Node) (ast.Node, bool) {
	switch n := n.(type) {
	case *ast.AnchorNode:
		inner, ok := d.resolve(path, n.Value)
		if ok {
			d.anchors[n.Name.GetToken().Value] = inner
		}
		return inner, ok
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		target, ok := d.anchors[name]
		if !ok {
			d.fault(path, n.GetToken().Position, "alias *%s has no anchor &%s before it", name, name)
		}
		return target, ok
	case *ast.TagNode:
		d.fault(path, n.GetToken().Position, "tags like %s are not read", n.GetToken().Value)
		return nil, false
	}
	return n, true
}

func (d *decoder) list(path string, n ast.Node, v reflect.Value) {
	sequence, ok := n.(*ast.SequenceNode)
	if !ok {
		d.fault(path, n.GetToken().Position, "is %s, but must be a list: put it in [ ]", describe(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(sequence.Values), len(sequence.Values)))
	for i, item := range sequence.Values {
		d.value(fmt.Sprintf("%s[%d]", path, i), item, v.Index(i))
	}
}

func (d *decoder) structure(path string, n ast.Node, v reflect.Value) {
	pairs, ok := d.pairs(path, n)
	if !ok {
		return
	}
	fields := fieldsOf(v.Type())
	for _, p := range pairs {
		at := p.Key.GetToken().Position
		name := p.Key.GetToken().Value
		i, ok := fields.index[name]
		if !ok {
			d.unknown(path, name, at, fields.names)
			continue
		}
		below := child(path, name)
		d.at[below] = place(p.Value, at)
		d.value(below, p.Value, v.Field(i))
	}
}

func (d *decoder) unknown(path, name string, at *token.Position, names []string) {
	near, ok := nearest.Of(name, names)
	if !ok {
		d.fault(child(path, name), at, "is no field here; known are %s", strings.Join(names, ", "))
		return
	}
	d.fault(child(path, name), at, "is no field here; did you mean %s?", near).instead = child(path, near)
}

func (d *decoder) texts(path string, n ast.Node, v reflect.Value) {
	pairs, ok := d.pairs(path, n)
	if !ok {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, p := range pairs {
		text := reflect.New(v.Type().Elem()).Elem()
		name := p.Key.GetToken().Value
		d.value(child(path, name), p.Value, text)
		v.SetMapIndex(reflect.ValueOf(name), text)
	}
}

func child(path, name string) string { return strings.TrimPrefix(path+"."+name, ".") }

// place is where a field's faults are shown: at its value, or at its name if the value is
// a block that begins on a later line.
func place(value ast.Node, key *token.Position) *token.Position {
	switch n := value.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle {
			return key
		}
	case *ast.SequenceNode:
		if !n.IsFlowStyle {
			return key
		}
	case *ast.MappingValueNode, *ast.NullNode, *ast.AnchorNode:
		return key
	}
	return value.GetToken().Position
}

// begin is the first character of a node; the token of a block is the colon of its first field.
func begin(n ast.Node) *token.Position {
	if m, ok := n.(*ast.MappingNode); ok && m.IsFlowStyle {
		return m.GetToken().Position
	}
	if pairs, ok := values(n); ok && len(pairs) > 0 {
		return pairs[0].Key.GetToken().Position
	}
	return n.GetToken().Position
}
