package deadletter

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/recoveryd/recoveryd/schemas"
)

func edited(t testing.TB, l Letter, q schemas.JobRequest) (Letter, error) {
	t.Helper()
	e, err := NewEdit(q)
	if err != nil {
		t.Fatal(err)
	}
	d, err := e.Apply(&l)
	if err != nil {
		return l, err
	}
	return Read(schemas.Stored{Message: e.Message(&d, names), Sequence: l.Stored.Sequence + 100, Time: midday}, names), nil
}

func TestEdits(t *testing.T) {
	t.Parallel()
	l := letterOf(7, func(d *schemas.DeadLetter) {
		d.Body = []byte(`{"big":98765432109876543210,"f":1.50,"list":[1,2],"text":"<&>\u00e9"}`)
	})
	first, err := edited(t, l, schemas.JobRequest{
		Set: map[string]string{"Tenant": "z", "New": "n"}, Unset: []string{"Missing"},
		Patch: json.RawMessage(`[{"op":"test","path":"/list/0","value":1},{"op":"add","path":"/list/-","value":3},{"op":"remove","path":"/f"}]`),
	})
	if err != nil || first.Fault != nil {
		t.Fatal(err, first.Fault)
	}
	if want := `{"big":98765432109876543210,"list":[1,2,3],"text":"<&>\u00e9"}`; string(first.Body) != want {
		t.Errorf("payload %s, want %s", first.Body, want)
	}
	if !slices.Equal(first.Header["Tenant"], []string{"z"}) || first.Header.Get("New") != "n" || !slices.Equal(first.Barred["Tenant"], []string{"a", "b"}) ||
		first.Barred.Get(originalSequence) != "7" || first.ID != l.ID || first.Cause != l.Cause || first.Replay != l.Replay {
		t.Errorf("letter %+v", first)
	}
	second, err := edited(t, first, schemas.JobRequest{Set: map[string]string{"Tenant": "y"}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(second.Barred["Tenant"], []string{"a", "b"}) || second.Barred.Get(originalSequence) != "107" {
		t.Errorf("the second edit keeps %v", second.Barred)
	}
	ids := []string{l.Stored.Header.Get("Nats-Msg-Id"), first.Stored.Header.Get("Nats-Msg-Id"), second.Stored.Header.Get("Nats-Msg-Id")}
	if ids[0] == ids[1] || ids[1] == ids[2] || ids[0] == ids[2] {
		t.Errorf("edits share a message id: %q", ids)
	}
}

func TestPayloadInPlaceOfALetters(t *testing.T) {
	t.Parallel()
	l := letterOf(7, func(d *schemas.DeadLetter) { d.Body = []byte("\x00\xff") })
	got, err := edited(t, l, schemas.JobRequest{Body: []byte("\x01 9007199254740993"), Filter: schemas.DeadFilter{Sequences: []uint64{7}}})
	if err != nil || string(got.Body) != "\x01 9007199254740993" || got.Barred.Get(originalBody) == "" || string(l.Body) != "\x00\xff" {
		t.Errorf("%q with %v, %v", got.Body, got.Barred, err)
	}
	if e, err := EditOf(JobReplay, schemas.JobRequest{To: "x"}); e != nil || err != nil {
		t.Errorf("a replay that changes nothing edits: %v, %v", e, err)
	}
}

func TestEditsThatCannotBeApplied(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ body, patch string }{
		{`no JSON`, `[{"op":"add","path":"/a","value":1}]`},
		{``, `[{"op":"add","path":"/a","value":1}]`},
		{`{}`, `[{"op":"remove","path":"/a"}]`},
		{`{"a":1}`, `[{"op":"test","path":"/a","value":2}]`},
		{`[1]`, `[{"op":"replace","path":"/9","value":2}]`},
		{`[1]`, `[{"op":"remove","path":"/-1"}]`},
	} {
		l := letterOf(7, func(d *schemas.DeadLetter) { d.Body = []byte(c.body) })
		if got, err := edited(t, l, schemas.JobRequest{Patch: json.RawMessage(c.patch)}); err == nil {
			t.Errorf("%s of %q gives %q", c.patch, c.body, got.Body)
		}
	}
}

// No patch and no payload makes it panic or grow beyond its bound.
func FuzzEdit(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}]}`), []byte(`[{"op":"copy","from":"/a","path":"/c"},{"op":"move","from":"/a/1","path":"/a/0"}]`))
	f.Add([]byte(`null`), []byte(`[{"op":"replace","path":"","value":{}}]`))
	f.Add([]byte(`[]`), []byte(`[{"op":"test","path":"/~1","value":null}]`))
	f.Fuzz(func(t *testing.T, body, patch []byte) {
		e, err := NewEdit(schemas.JobRequest{Patch: patch, Set: map[string]string{"a": "b"}})
		if err != nil {
			return
		}
		l := letterOf(1, func(d *schemas.DeadLetter) { d.Body = body })
		if d, err := e.Apply(&l); err == nil && len(d.Body) > len(body)*2+maxPatch*maxPatchOps+maxCopied {
			t.Errorf("%d bytes became %d", len(body), len(d.Body))
		}
	})
}

func TestExportsComeBack(t *testing.T) {
	t.Parallel()
	l := letterOf(7, func(d *schemas.DeadLetter) {
		d.Body, d.Barred = []byte{0, 255, '\n'}, schemas.Header{"Nats-TTL": {"5"}, "x y": {"1", "2"}}
	})
	line, err := json.Marshal(Export(&l.Stored))
	if err != nil || bytes.IndexByte(line, '\n') >= 0 {
		t.Fatalf("%s, %v", line, err)
	}
	var x schemas.DeadExport
	if err := schemas.DecodeStrict(line, &x); err != nil {
		t.Fatal(err)
	}
	m, err := Import(&x, names)
	if err != nil {
		t.Fatal(err)
	}
	if m.Subject != l.Stored.Subject || !bytes.Equal(m.Body, l.Body) || len(m.Header) != len(l.Stored.Header) {
		t.Errorf("%+v became %+v", l.Stored, m)
	}
	for name, values := range l.Stored.Header {
		if !slices.Equal(m.Header[name], values) {
			t.Errorf("%s: %q became %q", name, values, m.Header[name])
		}
	}
}
