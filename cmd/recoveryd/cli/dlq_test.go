package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/schemas"
)

// morgue is a daemon with dead letters of its own.
type morgue struct {
	*session
	url string
	nc  *nats.Conn
	js  jetstream.JetStream
}

func newMorgue(t *testing.T) *morgue {
	t.Helper()
	dev := background(t, []string{"RECOVERYD_HTTP_ADDR=off", "RECOVERYD_PARTITIONS=1", "RECOVERYD_POLICY_FILE=testdata/dead.yaml"}, "dev")
	eventually(t, "dev does not come up", func() bool { return strings.Contains(dev.stdout.String(), "sub 'recovery.outcomes.>'") })
	m := &morgue{url: regexp.MustCompile(`nats://\S+`).FindString(dev.stdout.String())}
	nc, err := nats.Connect(m.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if m.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	m.nc = nc
	m.session = newSession(t, "NATS_URL="+m.url, "PATH="+os.Getenv("PATH"), "TMPDIR="+t.TempDir())
	m.change = append(m.change, []change{
		{regexp.MustCompile(`\b[a-z2-7]{12}\b`), "<job>"},
		{regexp.MustCompile(`(by +)\S+@\S+`), "$1<actor>"},
		{regexp.MustCompile(`"actor":"[^"]*"`), `"actor":"<actor>"`},
		{regexp.MustCompile(`"t":"[^"]*"`), `"t":"<time>"`},
		{regexp.MustCompile(`"scanned":\d+`), `"scanned":<n>`},
		{regexp.MustCompile(`(exported \d+ dead letters?), .*`), "$1, <size>"},
		{regexp.MustCompile(`\S*/recoveryd-edit-\d+`), "<folder>"},
	}...)
	return m
}

// bury reports failures that cannot be saved, one after the other, and waits until all of
// them are dead letters.
func (m *morgue) bury(subject, text string, header nats.Header, bodies ...[]byte) {
	m.t.Helper()
	for i, body := range bodies {
		h := nats.Header{"Recovery-Error": {strings.ReplaceAll(text, "#", fmt.Sprint(i+1))}, "Recovery-Class": {"permanent"}}
		maps.Copy(h, header)
		if m.nc.MaxPayload() < int64(len(body)) {
			m.t.Fatalf("%d bytes", len(body))
		}
		before := m.dead()
		if _, err := m.js.PublishMsg(m.t.Context(), &nats.Msg{Subject: "recovery.failed." + subject, Header: h, Data: body}); err != nil {
			m.t.Fatal(err)
		}
		eventually(m.t, "no dead letter comes", func() bool { return m.dead() == before+1 })
	}
}

func (m *morgue) dead() uint64 {
	m.t.Helper()
	s, err := m.js.Stream(m.t.Context(), "RECOVERY_DEAD")
	if err != nil {
		m.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func (m *morgue) lines(all ...string) {
	m.t.Helper()
	for _, line := range all {
		m.run(line)
	}
}

// onTheWay is what is told of a job before it ends: how often depends on the machine.
var onTheWay = regexp.MustCompile(`(?m)^job \w+: (running|following).*\n`)

func (m *morgue) run(line string) {
	m.t.Helper()
	before := m.text.String()
	m.session.run(line)
	if strings.Contains(line, "--follow") {
		after := strings.TrimPrefix(m.text.String(), before)
		m.text.Reset()
		m.text.WriteString(before + onTheWay.ReplaceAllString(after, ""))
	}
}

// quietly runs a command that is not part of the transcript.
func (m *morgue) quietly(args ...string) (code int, stdout, stderr string) {
	m.t.Helper()
	a, out, err := m.app()
	code = a.Run(m.t.Context(), args)
	return code, out.String(), err.String()
}

// lastJob is the newest job.
func (m *morgue) lastJob() schemas.JobStatus {
	m.t.Helper()
	code, out, fault := m.quietly("replay", "ls", "--limit", "1", "--json")
	var r schemas.JobListReply
	if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil || len(r.Jobs) != 1 {
		m.t.Fatalf("exit %d: %v: %s%s", code, err, out, fault)
	}
	return r.Jobs[0]
}

func body(text string) []byte { return []byte(text) }

func TestDeadLettersAreShown(t *testing.T) {
	t.Parallel()
	m := newMorgue(t)
	m.lines("dlq groups", "dlq ls")
	m.bury("orders.new", "customer # is unknown", nats.Header{"Shop": {"7"}, "Recovery-Id": {"order-42"}, "Recovery-Code": {"404"}}, body(`{"id":9007199254740993,"total":1.10,"note":"a<b"}`))
	m.bury("orders.new", "customer # is unknown", nats.Header{"Shop": {"8", "a, b"}}, body("no\tJSON\x1b[31m"), body(`[]`))
	m.bury("payments.card", "card declined", nats.Header{"Recovery-Id": {"pay-1"}}, []byte{0, 0xff, 1})
	m.lines(
		"dlq groups", "dlq groups --by subject", "dlq groups --by both --limit 1", "dlq groups --json", "dlq groups --text DECLINED", "dlq groups --by colour",
		"dlq ls", "dlq ls --json --limit 1", "dlq ls --limit 2 --subject orders.>", "dlq ls --limit 2 --subject orders.> --after 2", "dlq ls --after 99",
		"dlq ls --header Shop=7", "dlq ls --header Shop --reason permanent --class permanent --policy orders --attempts 1- --replays 0 --since 2h",
		"dlq ls --id pay-1 --id order-42", "dlq ls --code 404 --until 2020-01-01T00:00:00Z",
		"dlq show 1", "dlq show order-42 --payload hex", "dlq show 1 --payload none", "dlq show 1 --json", "dlq show 2", "dlq show 4", "dlq show 4 --payload none --json",
		"dlq show 99", "dlq show order-43", "dlq show 1 --payload loud", "dlq show 1 --follow",
		"dlq ls --cause d0713ce", "dlq ls --subject a..b --reason because --class odd", "dlq ls --since yesterday --attempts 5-3 --header =7 --replays x", "dlq ls --limit 0", "dlq groups --limit 501",
	)
	m.environ = append(m.environ, "COLUMNS=80")
	m.lines("dlq ls --code 404", "dlq groups --code 404")
	m.golden("dlq-show")
	if code, out, _ := m.quietly("dlq", "show", "4", "--payload", "raw"); code != 0 || out != "\x00\xff\x01" {
		t.Errorf("exit %d: %q", code, out)
	}
	if code, out, _ := m.quietly("dlq", "show", "1", "--payload", "raw"); code != 0 || out != `{"id":9007199254740993,"total":1.10,"note":"a<b"}` {
		t.Errorf("exit %d: %q", code, out)
	}
}

// handler is a worker that still fails with the orders it cannot handle.
func (m *morgue) handler(subject string) {
	m.t.Helper()
	_, err := m.nc.Subscribe(subject, func(got *nats.Msg) {
		h := nats.Header{"Recovery-Error": {"still unknown"}, "Recovery-Class": {"permanent"}}
		for name, values := range got.Header {
			if !strings.HasPrefix(name, "Nats-") {
				h[name] = values
			}
		}
		_ = m.nc.PublishMsg(&nats.Msg{Subject: "recovery.failed." + got.Subject, Header: h, Data: got.Data})
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

func TestDeadLettersAreReplayed(t *testing.T) {
	t.Parallel()
	m := newMorgue(t)
	stream(t, m.url, "ORDERS", "orders.>")
	m.handler("orders.bad")
	m.bury("orders.new", "customer # is unknown", nats.Header{"Shop": {"7"}}, body(`{"id":9007199254740993,"n":1}`), body(`{"id":2,"n":1}`), body(`{"id":3,"n":1}`), body("no JSON"))
	m.bury("orders.bad", "no such order", nats.Header{"Recovery-Id": {"order-5"}}, body("5"))
	m.bury("calls.x", "nobody home", nats.Header{"Recovery-Id": {"call-6"}}, body("6"))
	m.lines(
		"replay ls", "dlq replay", "dlq replay 1 --all", "dlq replay x", "dlq replay --all --dry-run", "dlq replay 1", "dlq replay 1 --dry-run --json",
		"dlq replay --all --cause 00000000", "dlq replay --cause 00000000 --yes", "dlq replay --cause nonsense --subject a..b --yes", "dlq replay --all --rate 0 --yes",
		"dlq replay 1 --to other.place --yes", "dlq replay 6 --yes", "dlq replay 6", "dlq replay 99 --yes", "dlq replay --all --reason permanent",
		"dlq replay --all --stop-on-failures 0.01% --set-header x --json-patch testdata/none.json --outcome-timeout soon --max-replays 0",
		"dlq replay --all --canary -1 --set-header Nats-TTL=1s --yes", "dlq replay 1 --json-patch testdata/bad-patch.json --yes",
		"dlq replay --subject orders.new --set-header Shop=8 --set-header By=me --unset-header None --json-patch testdata/patch.json --dry-run",
		"dlq replay 4 --json-patch testdata/patch.json --yes",
		`dlq replay 1 --set-header Shop=8 --json-patch testdata/patch.json --reason "the count was wrong" --yes --outcome-timeout 100ms --follow`,
		"replay ls",
		"dlq replay 5 6 --rate 100 --yes --outcome-timeout 20s --follow",
		"replay ls --kind discard", "replay ls --state lost --kind odd", "replay ls --limit 1000", "replay show nobody", "replay show",
	)
	m.run("replay show " + m.lastJob().ID)
	m.run("replay show " + m.lastJob().ID + " --json")
	m.run("dlq ls --cause " + m.lastCause() + " --replays 1-")
	m.golden("dlq-replay")
	last, err := m.js.Stream(t.Context(), "ORDERS")
	if err != nil {
		t.Fatal(err)
	}
	got, err := last.GetLastMsgForSubject(t.Context(), "orders.new")
	if err != nil || string(got.Data) != `{"id":9007199254740993,"n":2}` || got.Header.Get("Shop") != "8" {
		t.Errorf("%v: %s %v", err, got.Data, got.Header)
	}
}

func (m *morgue) lastCause() string {
	m.t.Helper()
	var j schemas.JobStatus
	_, out, _ := m.quietly("replay", "show", m.lastJob().ID, "--json")
	if err := json.Unmarshal([]byte(out), &j); err != nil || len(j.Failures) == 0 {
		m.t.Fatalf("%v: %s", err, out)
	}
	return j.Failures[0].Cause
}

func TestJobsAreSteered(t *testing.T) {
	t.Parallel()
	m := newMorgue(t)
	stream(t, m.url, "ORDERS", "orders.>")
	m.bury("orders.new", "customer # is unknown", nil, body("1"), body("2"), body("3"))
	m.lines("dlq replay --subject orders.new --canary 1 --outcome-timeout 1h --stop-on-failures 10% --yes")
	id := m.lastJob().ID
	eventually(t, "the job does not wait for its canary", func() bool {
		_, out, _ := m.quietly("replay", "show", id)
		return strings.Contains(out, "replayed first")
	})
	m.run("replay show " + id)
	m.lines("dlq replay --subject orders.new --yes", "dlq replay 2 --yes", "dlq discard --all --yes")
	m.run("replay pause " + id)
	m.run("replay pause " + id + " --dry-run")
	state := func(want string) {
		t.Helper()
		eventually(t, "the job is not "+want, func() bool { return m.lastJob().State == want })
	}
	if code, out, fault := m.quietly("replay", "pause", id, "--yes", "--reason", "have a look"); code != 0 || !strings.HasPrefix(out, "job "+id) {
		t.Errorf("exit %d: %s%s", code, out, fault)
	}
	state("paused")
	m.run("replay show " + id)
	m.run("replay show " + id + " --follow")
	m.run("replay pause " + id + " --yes")
	if code, out, fault := m.quietly("replay", "resume", id, "--yes", "--json"); code != 0 || !strings.HasPrefix(out, `{"id":"`+id) {
		t.Errorf("exit %d: %s%s", code, out, fault)
	}
	state("running")
	following := background(t, m.environ, "replay", "show", id, "--follow")
	eventually(t, "nothing is told of the job", func() bool { return strings.Contains(following.stderr.String(), "running, 1 of 3") })
	if code := following.end(t); code != exitPartial || !strings.Contains(following.stderr.String(), "recoveryd replay cancel "+id) {
		t.Errorf("exit %d: %s", code, &following.stderr)
	}
	if code, out, fault := m.quietly("replay", "cancel", id, "--yes"); code != 0 {
		t.Errorf("exit %d: %s%s", code, out, fault)
	}
	state("cancelled")
	m.run("replay show " + id)
	m.run("replay cancel " + id + " --yes")
	m.run("replay resume nobody")
	m.golden("replay-steer")
}

func TestDeadLettersAreDiscarded(t *testing.T) {
	t.Parallel()
	m := newMorgue(t)
	m.bury("orders.new", "customer # is unknown", nil, body("1"), body("2"), body("3"))
	m.lines(
		"dlq discard", "dlq discard 1 --yes", "dlq discard 1 --reason exhausted", `dlq discard 1 --reason "a test"`, `dlq discard 1 2 --reason "a test" --dry-run`,
		`dlq discard 1 --reason "a test" --dry-run --json`, `dlq discard 1 --reason "a test" --yes --json`,
	)
	eventually(t, "the letter is not discarded", func() bool { return m.dead() == 2 })
	m.lines(`dlq discard --subject orders.> --reason "a test" --yes --follow`, "dlq ls", `dlq discard --all --reason "a test" --yes`, "replay ls --kind discard")
	m.golden("dlq-discard")
}

func TestOneLetterIsEdited(t *testing.T) {
	t.Parallel()
	m := newMorgue(t)
	stream(t, m.url, "ORDERS", "orders.>")
	m.bury("orders.new", "customer # is unknown", nats.Header{"Recovery-Id": {"order-42"}}, body(`{"id":9007199254740993,"total":1.10,"lines":[{"sku":"a","n":1},{"sku":"b","n":2}]}`))
	m.bury("orders.new", "customer # is unknown", nil, body("two"))
	editor := func(name, script string) string {
		t.Helper()
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return file
	}
	plain := m.environ
	with := func(script string, lines ...string) {
		m.t.Helper()
		m.environ = append(plain[:len(plain):len(plain)], "EDITOR="+editor("editor", script))
		m.lines(lines...)
	}
	m.lines("dlq show 1 --edit", "dlq show 9 --edit", "dlq show 1 --edit --json")
	with("true", "dlq show 1 --edit --yes")
	with("exit 7")
	if code, _, fault := m.quietly("dlq", "show", "1", "--edit"); code != exitFailed || !strings.Contains(fault, "exit status 7") {
		t.Errorf("exit %d: %s", code, fault)
	}
	with(": > $1", "dlq show 1 --edit --yes")
	with(`tr -d ' ' < $1 > $1.new; echo " $(cat $1.new)" > $1`, "dlq show 1 --edit --dry-run")
	with(`sed -i 's/"n":1/"n":10/' $1; echo >> $1`, "dlq show 1 --edit", `dlq show order-42 --edit --yes --reason "ten of them"`)
	eventually(t, "the letter is not replayed:\n"+m.text.String(), func() bool { return m.dead() == 1 })
	with("head -c 800000 /dev/zero | tr '\\0' x > $1")
	if code, _, fault := m.quietly("dlq", "show", "2", "--edit", "--yes"); code != exitUsage || !strings.Contains(fault, "--edit (body): has 800000 bytes, at most 716800 can be given") {
		t.Errorf("exit %d: %s", code, fault)
	}
	m.golden("dlq-edit")
	orders, err := m.js.Stream(t.Context(), "ORDERS")
	if err != nil {
		t.Fatal(err)
	}
	got, err := orders.GetLastMsgForSubject(t.Context(), "orders.new")
	if want := `{"id":9007199254740993,"total":1.10,"lines":[{"sku":"a","n":10},{"sku":"b","n":2}]}`; err != nil || string(got.Data) != want {
		t.Errorf("%v: %s, want %s", err, got.Data, want)
	}
	if m.dead() != 1 {
		t.Errorf("%d letters are left", m.dead())
	}
}

// stored are the letters of the store, without what changes when they are stored anew.
func (m *morgue) stored() map[string]nats.Header {
	m.t.Helper()
	s, err := m.js.Stream(m.t.Context(), "RECOVERY_DEAD")
	if err != nil {
		m.t.Fatal(err)
	}
	all := map[string]nats.Header{}
	for n := s.CachedInfo().State.FirstSeq; n <= s.CachedInfo().State.LastSeq; n++ {
		if got, err := s.GetMsg(m.t.Context(), n); err == nil {
			id, _, _ := strings.Cut(got.Header.Get("Nats-Msg-Id"), "-")
			for name := range got.Header {
				if strings.HasPrefix(name, "Nats-") {
					delete(got.Header, name) // also what tells where it is
				}
			}
			all[got.Subject+" "+id+" "+string(got.Data)] = got.Header
		}
	}
	return all
}

func TestExportAndImport(t *testing.T) {
	t.Parallel()
	m := newMorgue(t)
	file := filepath.Join(t.TempDir(), "letters.ndjson")
	m.run("dlq export")
	m.bury("orders.new", "customer # is unknown", nats.Header{"Shop": {"7", "8"}, "Odd_Name": {" ä; "}},
		body(`{"id":9007199254740993,"f":1.10}`), []byte{0, 0xff, '\n', 0x80}, bytes.Repeat([]byte("0123456789\x00\xfe"), 50<<10), nil)
	before := m.stored()
	if len(before) != 4 {
		t.Fatalf("%d letters", len(before))
	}
	m.lines("dlq export 2", "dlq export --text 9 --subject a..b", "dlq export --text missing")
	run := func(want int, say string, args ...string) {
		t.Helper()
		if code, out, fault := m.quietly(args...); code != want || !strings.Contains(out+fault, say) {
			t.Errorf("%s: exit %d: %.500s%.500s", args, code, out, fault)
		}
	}
	run(0, "exported 4 dead letters, ", "dlq", "export", "--file", file)
	run(exitUsage, "--file: ", "dlq", "export", "--file", file)
	if code, out, fault := m.quietly("dlq", "show", "3", "--payload", "raw"); code != 0 || out != strings.Repeat("0123456789\x00\xfe", 50<<10) {
		t.Errorf("exit %d: %d bytes of a large payload: %s", code, len(out), fault)
	}
	run(0, "the reply holds 262144 of 614400 bytes", "dlq", "show", "3", "--json")
	run(0, "stored 0 dead letters, 4 were there already", "dlq", "import", file, "--yes")
	run(0, "done, 4 of 4", "dlq", "discard", "--all", "--reason", "x", "--yes", "--follow")
	run(exitUsage, "Store them? [y/N]", "dlq", "import", file)
	run(0, "the file holds 4 dead letters", "dlq", "import", file, "--dry-run")
	if m.dead() != 0 {
		t.Errorf("%d letters were stored", m.dead())
	}
	run(0, "stored 4 dead letters, 0 were there already", "dlq", "import", file, "--yes")
	run(0, `{"stored":0,"present":4}`, "dlq", "import", file, "--yes", "--json")
	after := m.stored()
	for name, header := range before {
		if fmt.Sprint(after[name]) != fmt.Sprint(header) {
			t.Errorf("%.60q came back with %v, had %v", name, after[name], header)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d letters came back", len(after))
	}
	for _, text := range []string{"{\n[]\n", `{"subject":"orders.new","headers":[],"body":""}`, ""} {
		a, stdout, stderr := m.app()
		a.Stdin = strings.NewReader(text)
		code := a.Run(t.Context(), []string{"dlq", "import", "-", "--yes"})
		fmt.Fprintf(&m.text, "$ recoveryd dlq import - --yes # %q\n%s--- stderr\n%s--- exit %d\n\n", text, stdout, stderr, code)
	}
	m.run("dlq import testdata/none.ndjson")
	m.golden("dlq-export")
}

func TestDeadLettersWithoutADaemon(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	s := newSession(t, "NATS_URL="+server.URL())
	for _, line := range []string{"dlq groups", "dlq ls", "dlq show 1", "dlq replay 1 --yes", "dlq discard 1 --reason x", "dlq export", "dlq import testdata/dead.yaml", "replay ls", "replay pause x"} {
		s.run(line)
	}
	s.environ = []string{"NATS_URL=nats://127.0.0.1:1"}
	s.run("dlq ls")
	s.run("replay ls")
	s.golden("dlq-no-daemon")
}
