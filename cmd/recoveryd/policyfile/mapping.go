package policyfile

import (
	"reflect"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// fields are the names that a struct has in a file, in their order.
type fields struct {
	names []string
	index map[string]int
}

func fieldsOf(t reflect.Type) fields {
	f := fields{index: map[string]int{}}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		f.names = append(f.names, name)
		f.index[name] = i
	}
	return f
}

// pairs lists the keys and values of a mapping, those that are merged into it included;
// duplicates are faults, and the first one counts.
func (d *decoder) pairs(path string, n ast.Node) ([]*ast.MappingValueNode, bool) {
	own, ok := values(n)
	if !ok {
		d.fault(path, begin(n), "is %s, but must be a group of fields", describe(n))
		return nil, false
	}
	var result, merged []*ast.MappingValueNode
	seen := map[string]*ast.MappingValueNode{}
	for _, p := range own {
		if p.Key.Type() == ast.MergeKeyType {
			merged = append(merged, d.merged(path, p.Value)...)
			continue
		}
		name := p.Key.GetToken().Value
		if first := seen[name]; first != nil {
			d.fault(child(path, name), p.Key.GetToken().Position, "is given twice, first on line %d", first.Key.GetToken().Position.Line)
			continue
		}
		seen[name] = p
		result = append(result, p)
	}
	for _, p := range merged {
		if name := p.Key.GetToken().Value; seen[name] == nil {
			seen[name] = p
			result = append(result, p)
		}
	}
	return result, true
}

// merged lists what `<<` brings: the fields of one group, or of several, the first of
// which prevails.
func (d *decoder) merged(path string, n ast.Node) []*ast.MappingValueNode {
	n, ok := d.resolve(path, n)
	if !ok {
		return nil
	}
	if sequence, ok := n.(*ast.SequenceNode); ok {
		var all []*ast.MappingValueNode
		for _, item := range sequence.Values {
			all = append(all, d.merged(path, item)...)
		}
		return all
	}
	pairs, _ := d.pairs(path, n)
	return pairs
}

func values(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}
