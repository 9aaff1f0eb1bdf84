package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/recoveryd/recoveryd/schemas"
)

// sources are the parsed files of package schemas, whose comments the reference quotes.
func sources(t *testing.T) []*ast.File {
	t.Helper()
	paths, err := filepath.Glob(root + "/schemas/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// subjectList shows every subject that package schemas builds, by having it build them of
// stand-ins for its parameters.
func subjectList(t *testing.T, p *page) {
	t.Helper()
	p.line("## Subjects")
	p.line("")
	p.line("`recovery` is `RECOVERYD_PREFIX`. Those under `recovery.intake`, `recovery.ledger` and others that only recoveryd publishes are")
	p.line("internal: `recoveryd permissions` prints what each user of the server needs, and these are for the daemon only.")
	p.line("")
	rows := [][]string{{"subject", "meaning"}}
	builder := reflect.ValueOf(schemas.Subjects{Prefix: schemas.DefaultPrefix})
	for _, f := range sources(t) {
		for _, d := range f.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv == nil || !f.Name.IsExported() || types.ExprString(f.Recv.List[0].Type) != "Subjects" {
				continue
			}
			method := builder.MethodByName(f.Name.Name)
			if m := method.Type(); m.NumOut() != 1 || m.Out(0).Kind() != reflect.String {
				continue
			}
			rows = append(rows, []string{code(build(method, f)), meaning(f.Doc.Text())})
		}
	}
	if len(rows) < 10 {
		t.Errorf("only %d subjects were found", len(rows)-1)
	}
	p.table(rows...)
}

// build calls a method with stand-ins and puts the names of its parameters in their places.
func build(method reflect.Value, f *ast.FuncDecl) string {
	var args []reflect.Value
	var places []string
	for _, field := range f.Type.Params.List {
		for _, name := range field.Names {
			place := "<" + name.Name + ">"
			if typ := method.Type().In(len(args)); typ.Kind() == reflect.String {
				word := "the" + name.Name
				args = append(args, reflect.ValueOf(word))
				places = append(places, word, place, schemas.KeyHash(word), "<hash of "+name.Name+">")
			} else {
				n := 7777000 + len(args)
				args = append(args, reflect.ValueOf(n).Convert(typ))
				places = append(places, strconv.Itoa(n), place)
			}
		}
	}
	return strings.NewReplacer(places...).Replace(method.Call(args)[0].String())
}

// meaning is a comment without the name that it begins with.
func meaning(comment string) string {
	_, text, _ := strings.Cut(strings.TrimSpace(comment), " ")
	text = strings.TrimPrefix(text, "is ")
	return sentence(strings.Join(strings.Fields(text), " "))
}

// headers quotes the schemas; every header that the code knows must be in one of them.
func headers(t *testing.T, p *page) {
	t.Helper()
	p.line("## Headers")
	p.line("")
	named := map[string]bool{}
	for _, name := range []string{"report-headers.v1", "delivery-headers.v1", "deadletter-headers.v1"} {
		s := read(t, name)
		p.line("### Schema `%s`", name)
		p.line("")
		p.line("%s", prose(s.Description))
		p.line("")
		rows := [][]string{{"header", "meaning"}}
		for _, field := range s.Properties {
			meaning := field.Description
			if len(field.Enum) > 0 && !strings.Contains(meaning, field.Enum[0]) {
				meaning += " One of " + strings.Join(field.Enum, ", ") + "."
			}
			if slices.Contains(s.Required, field.name) {
				meaning += " Always there."
			}
			rows, named[field.name] = append(rows, []string{code(field.name), meaning}), true
		}
		p.table(rows...)
	}
	known := headerConstants(t)
	if len(known) < 25 {
		t.Errorf("only %d headers were found in package schemas", len(known))
	}
	for constant, value := range known {
		internal := constant == "HeaderEntry" || constant == "HeaderPage" || strings.HasSuffix(constant, "Prefix")
		if !internal && !named[value] {
			t.Errorf("%s = %s is in none of the schemas of headers", constant, value)
		}
	}
}

// headerConstants are the constants of package schemas that name headers.
func headerConstants(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, f := range sources(t) {
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.ValueSpec); ok && len(s.Names) == 1 && len(s.Values) == 1 && strings.HasPrefix(s.Names[0].Name, "Header") {
				if literal, ok := s.Values[0].(*ast.BasicLit); ok {
					if value, err := strconv.Unquote(literal.Value); err == nil {
						found[s.Names[0].Name] = value
					}
				}
			}
			return true
		})
	}
	return found
}
