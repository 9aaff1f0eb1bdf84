package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// said is what a daemon says of itself, with so many failures and redeliveries behind it.
func said(instance string, failures, redelivered int64, shards ...schemas.ShardStatus) *schemas.StatusReply {
	return &schemas.StatusReply{
		Instance: instance, Version: "1.2.3", Started: stampOf(three.Add(-time.Hour)), At: stampOf(three), Shards: shards,
		Counts: &schemas.Counts{Failures: failures, Redelivered: redelivered, Dead: 1},
	}
}

func glanceOf(at time.Time, replies ...*schemas.StatusReply) *glance {
	g := &glance{at: at, replies: map[string]*schemas.StatusReply{}}
	for _, r := range replies {
		g.live = append(g.live, schemas.InstanceStatus{Instance: r.Instance})
		g.replies[r.Instance] = r
	}
	return g
}

func TestRatesAreMadeOfTwoLooks(t *testing.T) {
	t.Parallel()
	before := glanceOf(three, said("a", 1000, 10), said("b", 500, 5), said("c", 70, 7))
	again := said("c", 3, 3) // started anew between the looks
	again.Started = stampOf(three)
	now := glanceOf(three.Add(2*time.Second), said("a", 1100, 30), said("b", 500, 6), again, said("d", 9, 9))
	f := frameOf("nats://n1", before, now)
	if f.Seconds != 2 || f.Rates == nil || f.Rates.Failures != 50 || f.Rates.Redelivered != 10.5 || f.Rates.Dead != 0 {
		t.Errorf("over %v s: %+v", f.Seconds, f.Rates)
	}
	if want := (schemas.Counts{Failures: 1612, Redelivered: 48, Dead: 4}); f.Counts != want {
		t.Errorf("since the start %+v, want %+v", f.Counts, want)
	}
	for i, known := range []bool{true, true, false, false} {
		if r := f.Replicas[i]; (r.Rates != nil) != known {
			t.Errorf("rates of %s: %+v", r.Instance, r.Rates)
		}
	}
	if f := frameOf("nats://n1", nil, now); f.Rates != nil || f.Seconds != 0 {
		t.Errorf("of one look: %+v over %v s", f.Rates, f.Seconds)
	}
	old := said("a", 0, 0)
	old.Counts = nil
	if f := frameOf("nats://n1", glanceOf(three, old), glanceOf(three.Add(time.Second), old)); f.Rates != nil {
		t.Errorf("of a daemon that does not count: %+v", f.Rates)
	}
}

// The columns are those of the numbers below them.
func TestColumnsOfRates(t *testing.T) {
	t.Parallel()
	c, r := schemas.Counts{}, &rates{}
	for i := range fieldsOf(&c) {
		*fieldsOf(&c)[i], *r.fields()[i] = int64(i), float64(i)
	}
	v, w := reflect.ValueOf(c), reflect.ValueOf(*r)
	if v.NumField() != len(fieldsOf(&c)) || w.NumField() != v.NumField() {
		t.Fatalf("%d and %d fields, %d are listed", v.NumField(), w.NumField(), len(fieldsOf(&c)))
	}
	head := strings.Fields((&frame{}).rateLines(false)[0])
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		n := v.Field(i).Int()
		if float64(n) != w.FieldByName(name).Float() || !strings.EqualFold(head[n], name) {
			t.Errorf("%s stands in column %s, its rate at %v", name, head[n], w.FieldByName(name))
		}
	}
}

// busy is a picture with everything in it.
func busy() frame {
	outcome := func(kind, id string) schemas.Stored {
		m := schemas.Subjects{Prefix: "recovery"}.OutcomeMessage(&schemas.Outcome{Kind: kind, ID: id, Subject: "orders.new", Attempt: 2, MaxAttempts: 3, Error: "no \x1b[31mroom"}, nil, three)
		return schemas.Stored{Message: m}
	}
	before := glanceOf(three, said("a", 1000, 10), said("b", 500, 5))
	now := glanceOf(three.Add(time.Second),
		said("a", 1100, 12, schemas.ShardStatus{Shard: 0, Near: 4, Far: 10, Held: 3, Parked: 1, InFlight: 2, Bytes: 4096, Open: 2, OldestDue: stampOf(three.Add(-1500 * time.Millisecond))}),
		said("b", 500, 5, schemas.ShardStatus{Shard: 1, Far: 7, OldestDue: stampOf(three.Add(time.Hour))}))
	now.replies["a"].Faults = []string{"policy: the file cannot be used"}
	now.live = append(now.live, schemas.InstanceStatus{Instance: "gone", Version: "1.2.2", Started: stampOf(three.Add(-time.Minute)), Shards: []int{2}, Held: 5})
	now.faults = []string{"gone does not answer"}
	now.breakers = []schemas.BreakerStatus{{State: "open", Key: "orders.new", Policy: "orders", Held: 3, Failures: 5, ChangedAt: stampOf(three), NextAt: stampOf(three.Add(time.Minute)), Reason: "5 failures"}}
	now.outcomes = []schemas.Stored{outcome("redelivered", "first"), {Message: schemas.Message{Body: []byte("no JSON")}}, outcome("dead", "last")}
	return frameOf("nats://n1:4222", before, now)
}

func TestPictures(t *testing.T) {
	t.Parallel()
	none := glanceOf(three)
	none.fault = errors.New("no daemon answers")
	for name, f := range map[string]frame{"top": busy(), "top-nobody": frameOf("nats://n1:4222", nil, none)} {
		var out bytes.Buffer
		if err := (plain{w: &out}).show(f); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name+".txt")
		if *update {
			if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if out.String() != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, &out, want)
		}
	}
}

var sequences = regexp.MustCompile("\x1b\\[[?0-9;]*[a-zA-Z]")

func TestScreenFitsTheTerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	columns, rows := 60, 12
	s := newScreen(&out, true, func(io.Writer) (int, int) { return columns, rows })
	if out.String() != enterScreen {
		t.Errorf("it begins with %q", &out)
	}
	for _, area := range [][2]int{{60, 12}, {20, 3}, {200, 100}} {
		columns, rows = area[0], area[1]
		out.Reset()
		if err := s.show(busy()); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		if !strings.HasPrefix(text, home) || !strings.HasSuffix(text, clearBelow) || strings.HasSuffix(text, "\n") {
			t.Errorf("%q is not drawn in place", text)
		}
		lines := strings.Split(text, "\r\n")
		if len(lines) > rows {
			t.Errorf("%d lines on %d", len(lines), rows)
		}
		for _, line := range lines {
			if bare := sequences.ReplaceAllString(line, ""); len([]rune(bare)) > columns || strings.Contains(bare, "\n") {
				t.Errorf("%q takes more than %d columns", bare, columns)
			}
		}
	}
	out.Reset()
	s.end()
	if out.String() != leaveScreen {
		t.Errorf("it ends with %q", &out)
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line    string
		columns int
		want    string
	}{
		{"orders", 6, "orders"}, {"orders", 5, "order"}, {"Grüße", 4, "Grüß"}, {"", 3, ""},
		{"\x1b[31morders\x1b[0m", 6, "\x1b[31morders\x1b[0m"}, {"\x1b[31morders\x1b[0m", 3, "\x1b[31mord\x1b[0m"}, {"a\x1b", 5, "a\x1b"},
	} {
		if got := clip(c.line, c.columns); got != c.want {
			t.Errorf("clip(%q, %d) = %q, want %q", c.line, c.columns, got, c.want)
		}
	}
}

func TestTopWithoutADaemon(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	s := newSession(t, "NATS_URL="+server.URL())
	if code := s.run("top --once"); code != exitConnect {
		t.Errorf("exit %d", code)
	}
	if code := s.run("top --every 99ms"); code != exitUsage {
		t.Errorf("exit %d", code)
	}
	s.golden("top-no-daemon")
	p := background(t, []string{"NATS_URL=" + server.URL()}, "top", "--every", "100ms")
	eventually(t, "it does not say that no daemon answers", func() bool { return strings.Contains(p.stdout.String(), "fault: no daemon answers") })
	if code := p.end(t); code != 0 {
		t.Errorf("ended with %d: %s", code, &p.stderr)
	}
}

func TestTopWatchesDaemons(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	environ := []string{"NATS_URL=" + server.URL(), "RECOVERYD_HTTP_ADDR=off", "RECOVERYD_PARTITIONS=2"}
	for range 2 {
		run := background(t, environ, "run")
		eventually(t, "run does not serve", func() bool { return strings.Contains(run.stderr.String(), `"message":"serving"`) })
	}
	stream(t, server.URL(), "ORDERS", "orders.>")
	top := background(t, environ, "top", "--json", "--every", "100ms")
	shows := func(ok func(f frame) bool) func() bool {
		return func() bool {
			for line := range strings.Lines(top.stdout.String()) {
				var f frame
				if strings.HasSuffix(line, "\n") {
					if err := json.Unmarshal([]byte(line), &f); err != nil {
						t.Fatalf("%v: %s", err, line)
					}
				}
				if ok(f) {
					return true
				}
			}
			return false
		}
	}
	eventually(t, "it does not show both with a shard each", shows(func(f frame) bool {
		return len(f.Replicas) == 2 && f.Replicas[0].Shards == 1 && f.Replicas[1].Shards == 1 && f.Rates != nil
	}))
	for range 5 {
		publish(t, server.URL(), "recovery.failed.orders.new", map[string][]string{"Recovery-Error": {"refused"}})
	}
	eventually(t, "it shows no failures per second", shows(func(f frame) bool { return f.Rates != nil && f.Rates.Failures > 0 }))
	eventually(t, "it does not show what waits", shows(func(f frame) bool { return f.Waiting.Near > 0 && f.Waiting.OldestDue != "" }))
	eventually(t, "it shows no open breaker", shows(func(f frame) bool {
		return f.Open == 1 && len(f.Breakers) == 1 && f.Breakers[0].Key == "orders.new" && f.Counts.Failures == 5
	}))
	eventually(t, "it shows no outcome", shows(func(f frame) bool { return len(f.Outcomes) > 0 }))
	if code := top.end(t); code != 0 {
		t.Errorf("ended with %d: %s", code, &top.stderr)
	}
	s := newSession(t, environ...)
	a, stdout, stderr := s.app()
	if code := a.Run(t.Context(), words("top --once --every 100ms")); code != 0 || strings.Count(stdout.String(), "recoveryd top  ") != 1 || !strings.Contains(stdout.String(), "2 daemons") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
}
