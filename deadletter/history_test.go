package deadletter

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 7, 8, 12, 0, 0, 0, time.UTC)

func failures(n int, errText string) History {
	var h History
	for i := range n {
		h = h.Append(Attempt{At: noon.Add(time.Duration(i) * time.Second), Attempt: i + 1, Error: errText, Delay: time.Second})
	}
	return h
}

func numbers(h History) (n []int) {
	for _, a := range h {
		n = append(n, a.Attempt)
	}
	return n
}

func TestHistoryKeepsFirstAndLastNine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		attempts int
		want     []int
		skipped  int
	}{
		{0, nil, 0},
		{1, []int{1}, 0},
		{10, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 0},
		{11, []int{1, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 1},
		{33, []int{1, 25, 26, 27, 28, 29, 30, 31, 32, 33}, 23},
	} {
		h := failures(c.attempts, "no")
		if got := numbers(h); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%d attempts keep %v, want %v", c.attempts, got, c.want)
		}
		if h.Seen() != c.attempts || len(h) > 1 && h[1].Skipped != c.skipped {
			t.Errorf("%d attempts: seen %d, %+v", c.attempts, h.Seen(), h)
		}
	}
}

func TestAppendLeavesTheOldHistory(t *testing.T) {
	t.Parallel()
	h := failures(10, "no")
	before := append(History(nil), h...)
	one, other := h.Append(Attempt{Attempt: 11}), h.Append(Attempt{Attempt: 12})
	if !reflect.DeepEqual(h, before) || one[9].Attempt != 11 || other[9].Attempt != 12 {
		t.Errorf("appending changed what it was appended to: %v, %v, %v", h, one, other)
	}
}

func TestHistoryOnTheWire(t *testing.T) {
	t.Parallel()
	h := History{
		{At: noon.Add(1500 * time.Microsecond), Attempt: 1, Error: "say \"no\"\r\n\té 😀 \xff", Code: "503", Delay: 1234567 * time.Microsecond},
		{At: noon.Add(time.Minute), Attempt: 9, Target: "orders.slow", Skipped: 7},
	}
	want := `[{"t":"2026-07-08T12:00:00.001Z","a":1,"e":"say \"no\"\r\n\t\u00e9 \ud83d\ude00 \ufffd","c":"503","d":1234},` +
		`{"t":"2026-07-08T12:01:00.000Z","a":9,"f":"orders.slow","n":7}]`
	if got := h.Encode(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := (History)(nil).Encode(); got != "[]" {
		t.Errorf("the empty history is %s", got)
	}
	for _, text := range []string{"", "[]", " [ ] "} {
		if got, err := ParseHistory(text); err != nil || len(got) != 0 {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}

func TestEncodeShortensTheLongestErrors(t *testing.T) {
	t.Parallel()
	h := failures(9, strings.Repeat("long ", 300)).Append(Attempt{At: noon, Attempt: 10, Error: "short"})
	text := h.Encode()
	got, err := ParseHistory(text)
	if err != nil || len(got) != 10 || got[9].Error != "short" {
		t.Fatalf("%v, %v", got, err)
	}
	for _, a := range got[:9] {
		if len(a.Error) != len(got[0].Error) || !strings.HasSuffix(a.Error, "...") || !strings.HasPrefix(a.Error, "long long ") {
			t.Errorf("attempt %d has %q", a.Attempt, a.Error)
		}
	}
	if len(text) < maxHistory-10 {
		t.Errorf("%d bytes of %d are used", len(text), maxHistory)
	}
}

func TestEncodeDropsTheMiddleWhenShorteningIsNotEnough(t *testing.T) {
	t.Parallel()
	var h History
	for i := range 20 {
		h = h.Append(Attempt{At: noon, Attempt: i + 1, Error: strings.Repeat("😀", 1000), Code: strings.Repeat("é", 99), Target: strings.Repeat("x.", 4000)})
	}
	got, err := ParseHistory(h.Encode())
	if err != nil || len(got) < 2 || len(got) >= len(h) {
		t.Fatalf("%d attempts, %v", len(got), err)
	}
	if got.Seen() != 20 || got[0].Attempt != 1 || got[1].Skipped != 20-len(got) || got[len(got)-1].Attempt != 20 {
		t.Errorf("seen %d, %v, left out %d", got.Seen(), numbers(got), got[1].Skipped)
	}
	for _, a := range got {
		if rest := strings.TrimRight(strings.TrimSuffix(a.Error, "..."), "😀"); rest != "" || len(a.Error) < 20 {
			t.Errorf("error cut to %q", a.Error)
		}
	}
}

func TestParseHistoryRefuses(t *testing.T) {
	t.Parallel()
	entry := func(rest string) string { return `[{"t":"2026-07-08T12:00:00.000Z","a":1}, {` + rest + `}]` }
	const at = `"t":"2026-07-08T12:00:00.000Z"`
	for _, c := range []struct{ text, want string }{
		{strings.Repeat(" ", maxHistoryInput) + "[]", "8194 bytes, at most 8192"},
		{`{}`, "not an array"},
		{`null`, "null"},
		{`[null]`, "entry 1: no time t"},
		{`[`, "not an array"},
		{`[] []`, "more text after the array"},
		{`[]x`, "more text after the array"},
		{"[\n]", "byte 0x0a at 1"},
		{`["é"]`, "byte 0xc3 at 2"},
		{entry(`"a":1`), "entry 2: no time t"},
		{entry(at), "entry 2: no attempt number a"},
		{entry(at + `,"a":-1`), "attempt number a is -1"},
		{entry(at + `,"a":2147483648`), "attempt number a is 2147483648"},
		{entry(at + `,"a":1.5`), "cannot unmarshal number 1.5"},
		{entry(at + `,"a":"1"`), "cannot unmarshal string"},
		{entry(at + `,"a":1,"d":-5`), "delay d is -5 ms"},
		{entry(at + `,"a":1,"d":9223372036855`), "delay d is 9223372036855 ms"},
		{entry(at + `,"a":1,"n":-1`), "number left out n is -1"},
		{entry(at + `,"a":1,"x":1`), `unknown field "x"`},
		{entry(`"a":1,"t":"2026-07-08 12:00"`), `time t is "2026-07-08 12:00"`},
		{entry(`"a":1,"t":"2026-07-08T12:00:00.000+02:00"`), "not like 2006-01-02"},
	} {
		h, err := ParseHistory(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 300 {
			t.Errorf("%.60q is %v, %v; want an error with %q", c.text, h, err, c.want)
		}
	}
}

func attempts(t *rapid.T) History {
	text := rapid.OneOf(rapid.String(), rapid.StringN(0, 2000, -1), rapid.StringMatching(`[a-z ]{0,40}`))
	generated := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Attempt {
		return Attempt{
			At:      time.UnixMilli(rapid.Int64Range(-62135596800000, 253402300799999).Draw(t, "at")).UTC(),
			Attempt: rapid.IntRange(0, maxCount).Draw(t, "attempt"),
			Error:   text.Draw(t, "error"),
			Code:    rapid.StringMatching(`[A-Z0-9]{0,64}`).Draw(t, "code"),
			Delay:   time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "delay")) * time.Millisecond,
			Target:  rapid.StringMatching(`[a-z.]{0,60}`).Draw(t, "target"),
		}
	}), 0, 14).Draw(t, "attempts")
	var h History
	for _, a := range generated {
		h = h.Append(a)
	}
	return h
}

func TestHistoryRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := attempts(t)
		text := h.Encode()
		if len(text) > maxHistory {
			t.Fatalf("%d bytes", len(text))
		}
		for i := range len(text) {
			if text[i] < ' ' || text[i] >= 0x7f {
				t.Fatalf("byte %#x in %q", text[i], text)
			}
		}
		got, err := ParseHistory(text)
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if got.Seen() != h.Seen() || got.Encode() != text {
			t.Fatalf("seen %d, want %d; again %s\nfirst %s", got.Seen(), h.Seen(), got.Encode(), text)
		}
		if full, err := json.Marshal(h); err == nil && len(full) < maxHistory/3 && !reflect.DeepEqual(append(History{}, h...), got) {
			t.Fatalf("got  %+v\nwant %+v", got, h)
		}
	})
}

func FuzzParseHistory(f *testing.F) {
	f.Add(failures(3, "connection refused").Encode())
	f.Add(failures(30, strings.Repeat("é", 900)).Encode())
	f.Add(`[{"t":"0000-01-01T00:00:00.000Z","a":0,"e":"\ud800","n":2147483647,"d":9223372036854}]`)
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ParseHistory(text)
		if err != nil {
			if h != nil || len(err.Error()) > 600 || !strings.HasPrefix(err.Error(), "history: ") {
				t.Fatalf("%v, %v", h, err)
			}
			return
		}
		once := h.Append(Attempt{At: noon, Attempt: 1}).Encode()
		again, err := ParseHistory(once)
		if err != nil || len(once) > maxHistory || again.Encode() != once {
			t.Fatalf("%q becomes %q: %v", text, once, err)
		}
		if want := h.Seen() + 1; want < maxCount && again.Seen() != want {
			t.Fatalf("seen %d, want %d", again.Seen(), want)
		}
	})
}

func ExampleHistory() {
	var h History
	h = h.Append(Attempt{At: noon, Attempt: 1, Error: "connection refused", Code: "ECONNREFUSED", Delay: time.Second})
	h = h.Append(Attempt{At: noon.Add(time.Second), Attempt: 2, Error: "out of stock"})
	fmt.Println(h.Encode())
	// Output:
	// [{"t":"2026-07-08T12:00:00.000Z","a":1,"e":"connection refused","c":"ECONNREFUSED","d":1000},{"t":"2026-07-08T12:00:01.000Z","a":2,"e":"out of stock"}]
}

func BenchmarkHistory(b *testing.B) {
	for _, c := range []struct {
		name string
		h    History
	}{
		{"third attempt", failures(2, "dial tcp 10.0.0.1:5432: connect: connection refused")},
		{"many long errors", failures(30, strings.Repeat("long ", 200))},
	} {
		a := Attempt{At: noon, Attempt: 3, Error: "dial tcp 10.0.0.1:5432: connect: connection refused", Code: "503", Delay: time.Second}
		text := c.h.Encode()
		b.Run("append and encode/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.h.Append(a).Encode()
			}
		})
		b.Run("parse/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseHistory(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
