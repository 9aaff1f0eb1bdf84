package docs

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/recoveryd/recoveryd/schemas"
)

// The reference lists exactly what a daemon answers.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	s := newStranger(t)
	s.serve(0, "recoveryd dev")
	nc, err := nats.Connect(s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	reply, err := nc.Request("$SRV.INFO.recoveryd", nil, patience)
	if err != nil {
		t.Fatal(err)
	}
	var info micro.Info
	if err := json.Unmarshal(reply.Data, &info); err != nil {
		t.Fatal(err)
	}
	below := schemas.DefaultPrefix + ".api." + schemas.APIVersion + "."
	var offered, described []string
	for _, e := range info.Endpoints {
		if name := strings.TrimPrefix(e.Subject, below); !strings.HasPrefix(name, "at.") { // those are between replicas
			offered = append(offered, name)
		}
	}
	for _, e := range endpoints {
		described = append(described, e.name)
	}
	slices.Sort(offered)
	slices.Sort(described)
	if !slices.Equal(offered, described) {
		t.Errorf("a daemon offers\n%v\nbut the table endpoints in api_test.go describes\n%v", offered, described)
	}
}
