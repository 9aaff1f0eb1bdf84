package docs

import (
	"fmt"
	"go/ast"
	"go/types"
	"reflect"
	"strings"
	"testing"

	"github.com/recoveryd/recoveryd/schemas"
)

// endpoint is one request of the control API. TestEndpoints holds the table to what a
// daemon offers; what is told of requests and replies comes from their comments.
type endpoint struct {
	name, does     string
	request, reply any
}

var endpoints = []endpoint{
	{"status.get", "Tells the state of one replica and of the streams.", schemas.StatusRequest{}, schemas.StatusReply{}},
	{"waiting.ls", "Lists what waits or is held.", schemas.WaitingRequest{}, schemas.WaitingReply{}},
	{"waiting.show", "Shows one waiting item with headers, body and history.", schemas.HandleRequest{}, schemas.WaitingItem{}},
	{"waiting.cancel", "Drops one waiting item for good.", schemas.CommandRequest{}, schemas.CommandReply{}},
	{"waiting.now", "Has one waiting item tried now instead of when it is due.", schemas.CommandRequest{}, schemas.CommandReply{}},
	{"dlq.groups", "Counts dead letters by cause, by subject, or by both.", schemas.DeadGroupsRequest{}, schemas.DeadGroupsReply{}},
	{"dlq.ls", "Lists dead letters that fit a filter, oldest first.", schemas.DeadListRequest{}, schemas.DeadListReply{}},
	{"dlq.show", "Shows one dead letter with headers, body and history.", schemas.DeadShowRequest{}, schemas.DeadLetterItem{}},
	{"dlq.edit", "Makes a job that changes headers or bodies of letters where they are stored.", schemas.JobRequest{}, schemas.JobReply{}},
	{"dlq.discard", "Makes a job that removes letters.", schemas.JobRequest{}, schemas.JobReply{}},
	{"dlq.export", "Reads letters exactly as they are stored.", schemas.DeadExportRequest{}, schemas.DeadExportReply{}},
	{"dlq.import", "Stores exported letters again.", schemas.DeadImportRequest{}, schemas.DeadImportReply{}},
	{"replay.create", "Makes a job that sends letters again.", schemas.JobRequest{}, schemas.JobReply{}},
	{"replay.ls", "Lists jobs, the newest first.", schemas.JobListRequest{}, schemas.JobListReply{}},
	{"replay.show", "Shows one job.", schemas.JobNameRequest{}, schemas.JobStatus{}},
	{"replay.pause", "Stops a job until it is resumed.", schemas.JobNameRequest{}, schemas.JobStatus{}},
	{"replay.resume", "Lets a paused job go on.", schemas.JobNameRequest{}, schemas.JobStatus{}},
	{"replay.cancel", "Ends a job; what it has not reached stays as it is.", schemas.JobNameRequest{}, schemas.JobStatus{}},
	{"breaker.ls", "Lists breakers that have a record.", schemas.BreakerListRequest{}, schemas.BreakerListReply{}},
	{"breaker.show", "Shows one breaker.", schemas.BreakerRequest{}, schemas.BreakerStatus{}},
	{"breaker.open", "Holds everything of a key, for a time or until it is reset.", schemas.BreakerRequest{}, schemas.BreakerStatus{}},
	{"breaker.close", "Closes a breaker; what it held is released by the ramp.", schemas.BreakerRequest{}, schemas.BreakerStatus{}},
	{"breaker.reset", "Ends what an operator decided, and forgets what was counted.", schemas.BreakerRequest{}, schemas.BreakerStatus{}},
	{"breaker.disable", "Releases everything of a key uncounted, for a time or until it is reset.", schemas.BreakerRequest{}, schemas.BreakerStatus{}},
	{"breaker.probe", "Has an open breaker probe now.", schemas.BreakerRequest{}, schemas.BreakerStatus{}},
	{"watch.ls", "Lists the consumers that are watched.", schemas.WatchListRequest{}, schemas.WatchListReply{}},
	{"watch.add", "Watches a consumer: what it gives up is recovered.", schemas.WatchRequest{}, schemas.WatchStatus{}},
	{"watch.rm", "Watches a consumer no more.", schemas.WatchRequest{}, schemas.WatchStatus{}},
}

func controlAPI(t *testing.T, p *page) {
	t.Helper()
	s := schemas.Subjects{Prefix: schemas.DefaultPrefix}
	p.line("## Control API")
	p.line("")
	p.line("The NATS micro service `recoveryd`: requests and replies are JSON, unknown fields are refused. An error is in the headers")
	p.line("`Nats-Service-Error` and `Nats-Service-Error-Code`: 400 bad request, 403 refused by policy, 404 not found, 409 conflict, 503 try again.")
	p.line("")
	rows := [][]string{{"request to", "what it does", "request", "reply"}}
	seen := map[reflect.Type]bool{}
	var order []reflect.Type
	for _, e := range endpoints {
		resource, verb, _ := strings.Cut(e.name, ".")
		request, reply := reflect.TypeOf(e.request), reflect.TypeOf(e.reply)
		rows = append(rows, []string{code(s.API(resource, verb)), e.does, link(request), link(reply)})
		for _, typ := range []reflect.Type{request, reply} {
			order = reach(typ, seen, order)
		}
	}
	p.table(rows...)
	structs := structComments(t)
	for _, typ := range order {
		p.line("### %s", typ.Name())
		p.line("")
		p.line("%s", prose(meaning(structs[typ.Name()].doc)))
		p.line("")
		if typ.NumField() == 0 {
			continue
		}
		rows := [][]string{{"field", "type", "meaning"}}
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			rows = append(rows, []string{code(name), structs[typ.Name()].types[f.Name], sentence(structs[typ.Name()].fields[f.Name])})
		}
		p.table(rows...)
	}
}

func link(t reflect.Type) string {
	return fmt.Sprintf("[%s](#%s)", t.Name(), strings.ToLower(t.Name()))
}

// reach adds a struct and those that its fields lead to.
func reach(t reflect.Type, seen map[reflect.Type]bool, order []reflect.Type) []reflect.Type {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] || !strings.HasSuffix(t.PkgPath(), "/schemas") {
		return order
	}
	seen[t] = true
	order = append(order, t)
	for f := range t.Fields() {
		order = reach(f.Type, seen, order)
	}
	return order
}

// comments are those of a struct and its fields, and the types as they are written.
type comments struct {
	doc           string
	fields, types map[string]string
}

func structComments(t *testing.T) map[string]comments {
	t.Helper()
	all := map[string]comments{}
	for _, f := range sources(t) {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || len(g.Specs) != 1 {
				continue
			}
			spec, ok := g.Specs[0].(*ast.TypeSpec)
			if !ok {
				continue
			}
			s, ok := spec.Type.(*ast.StructType)
			if !ok {
				continue
			}
			c := comments{doc: g.Doc.Text(), fields: map[string]string{}, types: map[string]string{}}
			for _, field := range s.Fields.List {
				for _, name := range field.Names {
					c.fields[name.Name] = strings.Join(strings.Fields(field.Comment.Text()), " ")
					c.types[name.Name] = types.ExprString(field.Type)
				}
			}
			all[spec.Name.Name] = c
		}
	}
	return all
}
