package policyfile

import (
	"math"
	"reflect"

	"github.com/goccy/go-yaml/ast"

	"github.com/recoveryd/recoveryd/schemas"
)

func (d *decoder) scalar(path string, n ast.Node, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if s, ok := textOf(n); ok {
			v.SetString(s)
			return
		}
		if _, single := n.(ast.ScalarNode); single {
			d.wrong(path, n, "a text: put it in quotes")
			return
		}
		d.wrong(path, n, "a text")
	case reflect.Bool:
		if b, ok := n.(*ast.BoolNode); ok {
			v.SetBool(b.Value)
			return
		}
		d.wrong(path, n, "true or false")
	case reflect.Int:
		if i, ok := wholeOf(n); ok {
			v.SetInt(i)
			return
		}
		d.wrong(path, n, "a whole number")
	case reflect.Float64:
		if f, ok := numberOf(n); ok {
			v.SetFloat(f)
			return
		}
		d.wrong(path, n, "a number")
	default:
		panic("a document has a field of the kind " + v.Kind().String() + ", which no file can hold")
	}
}

func (d *decoder) duration(path string, n ast.Node, v reflect.Value) {
	s, ok := textOf(n)
	if !ok {
		d.wrong(path, n, "a duration like 500ms, 30s, 5m, 24h or 20d")
		return
	}
	value, err := schemas.ParseDuration(s)
	if err != nil {
		d.fault(path, n.GetToken().Position, "%v", err)
		return
	}
	v.SetInt(int64(value))
}

func (d *decoder) wrong(path string, n ast.Node, want string) {
	d.fault(path, n.GetToken().Position, "is %s, but must be %s", describe(n), want)
}

func textOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}

func wholeOf(n ast.Node) (int64, bool) {
	i, ok := n.(*ast.IntegerNode)
	if !ok {
		return 0, false
	}
	switch value := i.Value.(type) {
	case int64:
		return value, true
	case uint64:
		return int64(value), value <= math.MaxInt64
	}
	return 0, false
}

func numberOf(n ast.Node) (float64, bool) {
	switch n := n.(type) {
	case *ast.FloatNode:
		return n.Value, true
	case *ast.InfinityNode:
		return n.Value, true
	}
	i, ok := wholeOf(n)
	return float64(i), ok
}

// describe names what stands in the file instead of what should.
func describe(n ast.Node) string {
	switch n := n.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return "a text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number " + n.GetToken().Value
	case *ast.BoolNode:
		return "the truth value " + n.GetToken().Value
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a group of fields"
	}
	return n.Type().String()
}
