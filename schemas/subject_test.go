package schemas

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/fnv"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTargets(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", MaxSubject)
	for _, c := range []struct {
		subject         string
		literal, target string // what the error holds; "" = none
	}{
		{"orders", "", ""},
		{"orders.new", "", ""},
		{"orders.größe.日本", "", ""},
		{"Orders-1_x.=41", "", ""},
		{"recoverydata.x", "", ""},
		{"a.$JS.b", "", ""},
		{"a.recovery.failed", "", ""},
		{"_refused.0011", "", ""},
		{long, "", ""},
		{"", "empty", "empty"},
		{long + "a", "513 bytes", "513 bytes"},
		{strings.Repeat("a.", 2000), "4000 bytes", "4000 bytes"},
		{".", "empty token", "empty token"},
		{".a", "empty token", "empty token"},
		{"a.", "empty token", "empty token"},
		{"a..b", "empty token", "empty token"},
		{"a.*", "wildcard", "wildcard"},
		{">", "wildcard", "wildcard"},
		{"a.b>", "wildcard", "wildcard"},
		{"*.recovery", "wildcard", "wildcard"},
		{"a b", "white space", "white space"},
		{" a", "white space", "white space"},
		{"a\tb", "white space", "white space"},
		{"a\r\nPUB x 1", "white space", "white space"},
		{"a\x00b", "control", "control"},
		{"a\x7fb", "control", "control"},
		{"a\xffb", "UTF-8", "UTF-8"},
		{"$JS.API.STREAM.DELETE.X", "", "system"},
		{"$SYS.REQ.SERVER.PING", "", "system"},
		{"$KV.RECOVERY_STATE.seal", "", "system"},
		{"$", "", "system"},
		{"_INBOX.x", "", "inbox"},
		{"_INBOX", "", "inbox"},
		{"_INBOX_acme.x", "", "inbox"},
		{"recovery", "", "belongs to recoveryd"},
		{"recovery.failed.x", "", "belongs to recoveryd"},
		{"recovery.ledger.0.signal", "", "belongs to recoveryd"},
		{"recovery.api.v1.dlq.discard", "", "belongs to recoveryd"},
	} {
		says(t, c.subject, CheckLiteral(c.subject), c.literal)
		says(t, c.subject, subjects.CheckTarget(c.subject), c.target)
	}
	acme := Subjects{Prefix: "acme.recovery"}
	says(t, "acme.recovery.failed.x", acme.CheckTarget("acme.recovery.failed.x"), "belongs")
	says(t, "acme.orders", acme.CheckTarget("acme.orders"), "")
	says(t, "recovery.failed.x", acme.CheckTarget("recovery.failed.x"), "")
}

func says(t *testing.T, what string, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%.60q: got %v, want %q", what, err, want)
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, subject string
		want             bool
	}{
		{"a.b", "a.b", true}, {"a.b", "a.c", false}, {"a.b", "a", false}, {"a", "a.b", false}, {"a.b", "A.b", false},
		{"*", "a", true}, {"*", "a.b", false}, {"a.*", "a.b", true}, {"a.*", "a.b.c", false}, {"*.b", "a.b", true}, {"a.*.c", "a.b.c", true}, {"a.*", "a", false},
		{">", "a", true}, {">", "a.b.c", true}, {">", "", false}, {"a.>", "a.b", true}, {"a.>", "a.b.c", true}, {"a.>", "a", false}, {"a.>", "a.", false}, {"a.>", "b.c", false},
		{"*.>", "a.b", true}, {"*.>", "a", false}, {"a*", "ab", false}, {"a*", "a*", true},
	} {
		if got := Match(c.pattern, c.subject); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.subject, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		subject := aSubject.Draw(t, "subject")
		tokens := strings.Split(subject, ".")
		tokens[rapid.IntRange(0, len(tokens)-1).Draw(t, "token")] = "*"
		pattern := strings.Join(tokens, ".")
		if CheckPattern(pattern) != nil || !Match(pattern, subject) || !Match(subject, subject) || Match(pattern, subject+".more") {
			t.Fatalf("%q does not match %q", pattern, subject)
		}
	})
}

func TestCovers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		wider, pattern string
		want           bool
	}{
		{">", "a.*", true}, {">", ">", true}, {"a.>", "a.b.*", true}, {"a.>", "a.>", true}, {"a.>", "a", false}, {"*.>", ">", false}, {"*.>", "a.>", true}, {"*", "a", true},
		{"a", "*", false}, {"a.*", "a.>", false}, {"a.*", "a.*", true}, {"a.*.c", "a.b.c", true}, {"a.b", "a.b.c", false}, {"a.b.c", "a.b", false},
	} {
		if got := Covers(c.wider, c.pattern); got != c.want {
			t.Errorf("Covers(%q, %q) = %v", c.wider, c.pattern, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		subject := aSubject.Draw(t, "subject")
		tokens := strings.Split(subject, ".")
		wild := func(label string) string {
			of := slices.Clone(tokens)
			for i := range of {
				if rapid.Bool().Draw(t, label) {
					of[i] = "*"
				}
			}
			if n := rapid.IntRange(1, len(of)).Draw(t, label+" end"); n < len(of) {
				of = append(of[:n], ">")
			}
			return strings.Join(of, ".")
		}
		wider, pattern := wild("wider"), wild("pattern")
		if CheckPattern(wider) != nil || CheckPattern(pattern) != nil {
			return
		}
		if Covers(wider, pattern) && !Match(wider, subject) {
			t.Fatalf("%q covers %q, which matches %q, but does not match it", wider, pattern, subject)
		}
	})
}

func TestCheckTargets(t *testing.T) {
	t.Parallel()
	s := Subjects{Prefix: "shop.rescue"}
	for pattern, want := range map[string]string{
		">": "", "*": "", "shop.>": "", "shop.*": "", "orders.*.new": "", "shop.rescue.>": "itself", "shop.rescue": "itself", "$JS.>": "system", "_INBOX.>": "inbox", "a..b": "empty token",
	} {
		says(t, pattern, s.CheckTargets(pattern), want)
	}
}

func TestCheckPattern(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"a": "", "a.b": "", "*": "", ">": "", "a.*.c": "", "a.>": "", "*.*.>": "", "größe.>": "",
		"": "empty", "a..b": "empty token", ".a": "empty token", "a.": "empty token", ">.a": "> before its end", "a.>.b": "> before its end",
		"a*": "within the token", "a.b>": "within the token", "**": "within the token",
		"a b": "white space", "a\nb": "white space", "a\x00": "control", "\x7f": "control",
	} {
		says(t, pattern, CheckPattern(pattern), want)
	}
}

func TestEscape(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{
		{"", "=", "="}, {"orders-1_A", "orders-1_A", "orders-1_A"}, {"a.b", "a=2Eb", "a.b"}, {"a..b", "a=2E=2Eb", "a.=.b"}, {".", "=2E", "=.="},
		{"=", "=3D", "=3D"}, {"a b*>", "a=20b=2A=3E", "a=20b=2A=3E"}, {"ü", "=C3=BC", "=C3=BC"}, {"\x00\xff", "=00=FF", "=00=FF"},
	} {
		if got := Escape(c[0]); got != c[1] {
			t.Errorf("Escape(%q) = %q, want %q", c[0], got, c[1])
		}
		if got := EscapeKey(c[0]); got != c[2] {
			t.Errorf("EscapeKey(%q) = %q, want %q", c[0], got, c[2])
		}
	}
	for _, bad := range []string{"=4", "=zz", "=+1", "a=2", "=4g"} {
		if s, err := Unescape(bad); err == nil {
			t.Errorf("Unescape(%q) = %q", bad, s)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "s"))
		for _, escaped := range []string{Escape(s), EscapeKey(s)} {
			if back, err := Unescape(escaped); err != nil || back != s {
				t.Fatalf("%q became %q became %q, %v", s, escaped, back, err)
			}
		}
		if err := CheckLiteral("x." + EscapeKey(s)); len(s) < 100 && err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(Escape(s), ".*> ") {
			t.Fatalf("Escape(%q) = %q is not one token", s, Escape(s))
		}
	})
}

func TestSafeSubject(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"orders.new", "$JS.API", "recovery.failed.x"} {
		if SafeSubject(s) != s {
			t.Errorf("SafeSubject(%q) = %q", s, SafeSubject(s))
		}
	}
	for _, s := range []string{"", "a..b", "a.*", "a b", strings.Repeat("a", 4000), "a\x00", "\xff"} {
		safe := SafeSubject(s)
		if !strings.HasPrefix(safe, "_refused.") || CheckLiteral(safe) != nil || safe == SafeSubject(s+"x") {
			t.Errorf("SafeSubject(%.20q) = %q", s, safe)
		}
	}
}

func TestKeyHashHas128Bits(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte("orders.new"))
	got := KeyHash("orders.new")
	if got != hex.EncodeToString(sum[:16]) || len(got) != 32 {
		t.Errorf("KeyHash = %q", got)
	}
}

// The values are those of nats-server v2.15.2 for {{partition(8)}} without token indexes.
func TestPartitionIsTheServers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		subject, n := aSubject.Draw(t, "subject"), rapid.IntRange(1, 64).Draw(t, "n")
		h := fnv.New32a()
		h.Write([]byte("recovery.failed." + subject))
		if got := subjects.Partition(subject, n); got != int(h.Sum32()%uint32(n)) {
			t.Fatalf("Partition(%q, %d) = %d", subject, n, got)
		}
	})
}

func TestLedgerSubjects(t *testing.T) {
	t.Parallel()
	hash := KeyHash("orders.new")
	for subject, want := range map[string]Lane{
		subjects.Due(3, 1772366400):    {Shard: 3, Kind: LaneDue, Second: 1772366400},
		subjects.Due(0, 0):             {Kind: LaneDue},
		subjects.Due(0, -5):            {Kind: LaneDue, Second: -5},
		subjects.Held(7, "orders.new"): {Shard: 7, Kind: LaneHeld, Hash: hash},
		subjects.Signal(12):            {Shard: 12, Kind: LaneSignal},
		subjects.DeadLane(1):           {Shard: 1, Kind: LaneDead},
	} {
		got, err := subjects.ParseLedger(subject)
		if err != nil || got != want || !Match(subjects.Ledger(want.Shard), subject) {
			t.Errorf("%s: %+v, %v", subject, got, err)
		}
	}
	for _, bad := range []string{
		"", "recovery.ledger", "recovery.ledger.", "recovery.ledger.1", "recovery.ledger.x.signal", "recovery.ledger.-1.signal", "recovery.ledger.01.signal",
		"recovery.ledger.+1.signal", "recovery.ledger.99999999999.signal", "recovery.ledger.1.signal.", "recovery.ledger.1.signal.x", "recovery.ledger.1.dead.x",
		"recovery.ledger.1.due", "recovery.ledger.1.due.", "recovery.ledger.1.due.+5", "recovery.ledger.1.due.05", "recovery.ledger.1.due.1.2",
		"recovery.ledger.1.due.9223372036854775808", "recovery.ledger.1.held", "recovery.ledger.1.held.abc", "recovery.ledger.1.held." + strings.ToUpper(hash),
		"recovery.ledger.1.held." + strings.Repeat(".", 32), "recovery.ledger.1.held." + hash + "00", "recovery.ledger.1.late.1", "recovery.intake.1.a",
		"other.ledger.1.signal", "recovery.ledger.1.*", "recovery.ledger.1.>", "recovery.ledger..signal", "recovery.ledger.1.due.\x00",
	} {
		if lane, err := subjects.ParseLedger(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, lane)
		}
	}
}

func TestIntakeSubjects(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		shard, subject := rapid.IntRange(0, 1<<20).Draw(t, "shard"), rapid.String().Filter(func(s string) bool { return s != "" }).Draw(t, "subject")
		n, back, err := subjects.ParseIntake(subjects.Intake(shard, subject))
		if err != nil || n != shard || back != subject {
			t.Fatalf("%d %q became %d %q: %v", shard, subject, n, back, err)
		}
	})
	for _, bad := range []string{
		"", "recovery.intake", "recovery.intake.", "recovery.intake.3", "recovery.intake.3.", "recovery.intake.x.a", "recovery.intake.-1.a", "recovery.intake.03.a",
		"recovery.intake.+3.a", "recovery.intake.4294967296.a", "recovery.failed.a", "recovery.ledger.1.signal", "xrecovery.intake.1.a",
	} {
		if n, s, err := subjects.ParseIntake(bad); err == nil {
			t.Errorf("%q is read as %d %q", bad, n, s)
		}
	}
	// Hostile subjects are read as they are; it is CheckTarget that refuses them.
	for _, hostile := range []string{"$JS.API.STREAM.DELETE.X", "_INBOX.x", "recovery.failed.x", strings.Repeat("a", 4000)} {
		if _, s, err := subjects.ParseIntake("recovery.intake.0." + hostile); err != nil || s != hostile {
			t.Errorf("%.30q: %.30q, %v", hostile, s, err)
		}
	}
	if s, err := subjects.ParseSucceeded("recovery.succeeded.orders.new"); err != nil || s != "orders.new" {
		t.Error(s, err)
	}
	for _, bad := range []string{"recovery.succeeded", "recovery.succeeded.", "recovery.failed.x"} {
		if s, err := subjects.ParseSucceeded(bad); err == nil {
			t.Errorf("%q is read as %q", bad, s)
		}
	}
}

func TestSubjectsThatArePublishedToAreShort(t *testing.T) {
	t.Parallel()
	for _, key := range []string{strings.Repeat("ü", 256), strings.Repeat("*", 512), strings.Repeat("a.", 2000), strings.Repeat("\x00", 1<<16)} {
		if s := subjects.Breaker("forced_open", key); len(s) > 2000 || CheckLiteral(s[len(s)-30:]) != nil && !strings.Contains(s, "=") {
			t.Errorf("%.20q: a subject of %d bytes", key, len(s))
		}
	}
	if a, b := subjects.Breaker("open", strings.Repeat("x", 2000)), subjects.Breaker("open", strings.Repeat("x", 2001)); a == b {
		t.Errorf("two keys share %q", a)
	}
}
