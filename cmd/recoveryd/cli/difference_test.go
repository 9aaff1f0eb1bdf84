package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDifferences(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ before, after, want string }{
		{"", "", ""},
		{`{"a":1}`, `{ "a": 1 }`, ""},
		{`{"a":9007199254740993}`, `{"a":9007199254740992}`, "  {\n-   \"a\": 9007199254740993\n+   \"a\": 9007199254740992\n  }\n"},
		{"one\ntwo\nthree\nfour\nfive", "one\ntwo\nthree\nfour\n5", "  ...\n  three\n  four\n- five\n+ 5\n"},
		{"", "new", "+ new\n"},
		{"a\x1b[31m", "b", "- a [31m\n+ b\n"},
		{"\x00\x01", "\x00\x02", "- 00000000  00 01                                             |..|\n+ 00000000  00 02                                             |..|\n"},
	} {
		if got := difference(bodyLines([]byte(c.before)), bodyLines([]byte(c.after)), false); got != c.want {
			t.Errorf("%q to %q: got\n%swant\n%s", c.before, c.after, got, c.want)
		}
	}
	long := strings.Repeat("0123456789,", 10_000)
	if got := difference(bodyLines([]byte(long+"a,z")), bodyLines([]byte(long+"b,z")), false); !strings.Contains(got, "- a,\n+ b,\n") || len(got) > 200 {
		t.Errorf("of a long line %d bytes are shown: %.300s", len(got), got)
	}
	many, others := strings.Repeat("x\n", 5000), strings.Repeat("y\n", 5000)
	if got := difference(bodyLines([]byte(many)), bodyLines([]byte(others)), false); strings.Count(got, "- x\n") != 5000 || strings.Count(got, "+ y\n") != 5000 {
		t.Errorf("what is too large to compare is not replaced as a whole: %d bytes", len(got))
	}
}

// What is kept and taken away makes the text before, what is kept and added the one after.
func TestChangesLeadFromOneTextToTheOther(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 0, 20)
		before, after := lines.Draw(t, "before"), lines.Draw(t, "after")
		var from, to []string
		for _, s := range changes(before, after) {
			if s.sign != '+' {
				from = append(from, s.line)
			}
			if s.sign != '-' {
				to = append(to, s.line)
			}
		}
		if strings.Join(from, "") != strings.Join(before, "") || strings.Join(to, "") != strings.Join(after, "") {
			t.Errorf("%v to %v leads from %v to %v", before, after, from, to)
		}
	})
}

func TestPayloadsAreNeverEncodedAnew(t *testing.T) {
	t.Parallel()
	const body = `{"big":123456789012345678901234567890,"f":1.50,"e":1E5,"s":"\u00e9<&>\/","dup":1,"dup":2}`
	text := payloadText([]byte(body), payloadPretty)
	var back bytes.Buffer
	if err := json.Compact(&back, []byte(text)); err != nil || back.String() != body {
		t.Errorf("%v: %s", err, back.String())
	}
	for body, want := range map[string]string{"plain\ttext\r\nof two lines": "plain    text\nof two lines", "{\"a\":": "{\"a\":", "\x1b]0;x\a": " ]0;x "} {
		if got := payloadText([]byte(body), payloadPretty); got != want {
			t.Errorf("%q is shown as %q, want %q", body, got, want)
		}
	}
	if got := payloadText([]byte("ab"), payloadHex); !strings.Contains(got, "61 62") {
		t.Error(got)
	}
}
