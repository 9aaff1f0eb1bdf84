package schemas

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxSubject is the longest subject, in bytes, that recoveryd serves. Subjects derived
// from longer ones would exceed the control line and close the connection.
const MaxSubject = 512

// DefaultPrefix is the first token of all subjects of recoveryd.
const DefaultPrefix = "recovery"

// Subjects builds and reads the subjects below one prefix. The zero value is not usable;
// the prefix is one or more literal tokens.
type Subjects struct{ Prefix string }

// Failed is where work that failed on subject is reported.
func (s Subjects) Failed(subject string) string { return s.Prefix + ".failed." + subject }

// Succeeded is where success of redelivered work is reported.
func (s Subjects) Succeeded(subject string) string { return s.Prefix + ".succeeded." + subject }

// Intake is how the stream of failures stores a report in a shard.
func (s Subjects) Intake(shard int, subject string) string {
	return s.Prefix + ".intake." + strconv.Itoa(shard) + "." + subject
}

// IntakeParts are the subjects of a shard's reports, in parts that are read by themselves.
// The server stores reports whose subject holds a wildcard, but its transform passes them
// over: they are the second part of the first shard. Its two subjects together are that of
// the stream; as one, the server would take a consumer of it for one without a filter.
func (s Subjects) IntakeParts(shard int) [][]string {
	parts := [][]string{{s.Intake(shard, ">")}}
	if shard == 0 {
		parts = append(parts, []string{s.Failed("*"), s.Failed("*.>")})
	}
	return parts
}

// Outcome is where an outcome is published.
func (s Subjects) Outcome(kind, subject string) string {
	return s.Prefix + ".outcomes." + kind + "." + SafeSubject(subject)
}

// Breaker is where a change of a breaker is published. A key that is longer than any made
// from one subject is named by its hash, or the subject would exceed the control line.
func (s Subjects) Breaker(state, key string) string {
	token := EscapeKey(key)
	if len(token) > 3*MaxSubject {
		token = "_hash." + KeyHash(key)
	}
	return s.Prefix + ".breakers." + state + "." + token
}

// Dead is where a dead letter is stored.
func (s Subjects) Dead(cause, subject string) string {
	return s.Prefix + ".dead." + cause + "." + subject
}

// DeadRefused is where a letter is stored that was refused at the door, or whose own
// subject cannot be used.
func (s Subjects) DeadRefused(cause, subject string) string {
	return s.Prefix + ".dead." + cause + "." + refused(subject)
}

// Due is the ledger's slot of a shard that starts at a unix second.
func (s Subjects) Due(shard int, second int64) string {
	return s.ledger(shard) + "due." + strconv.FormatInt(second, 10)
}

// Held is the ledger's lane for the messages that a breaker holds back.
func (s Subjects) Held(shard int, key string) string {
	return s.ledger(shard) + "held." + KeyHash(key)
}

// Signal is the ledger's lane for what other shards hand over to this one.
func (s Subjects) Signal(shard int) string { return s.ledger(shard) + "signal" }

// DeadLane is the ledger's lane for dead letters that cannot be stored yet.
func (s Subjects) DeadLane(shard int) string { return s.ledger(shard) + "dead" }

// Ledger matches everything in the ledger of a shard.
func (s Subjects) Ledger(shard int) string { return s.ledger(shard) + ">" }

func (s Subjects) ledger(shard int) string {
	return s.Prefix + ".ledger." + strconv.Itoa(shard) + "."
}

// ParseIntake reads the shard and the subject out of a stored failure's subject.
func (s Subjects) ParseIntake(subject string) (shard int, original string, err error) {
	rest, ok := strings.CutPrefix(subject, s.Prefix+".intake.")
	if !ok {
		return 0, "", fmt.Errorf("subject %q is not below %s.intake", subject, s.Prefix)
	}
	number, original, _ := strings.Cut(rest, ".")
	shard, ok = parseShard(number)
	if !ok || original == "" {
		return 0, "", fmt.Errorf("subject %q names no shard and subject after %s.intake", subject, s.Prefix)
	}
	return shard, original, nil
}

// parseShard reads a number as the server writes it: no sign, no leading zero.
func parseShard(number string) (shard int, ok bool) {
	n, err := strconv.ParseUint(number, 10, 31)
	return int(n), err == nil && (number == "0" || number[0] != '0')
}

// ParseSucceeded reads the subject out of a success report's subject.
func (s Subjects) ParseSucceeded(subject string) (string, error) {
	rest, ok := strings.CutPrefix(subject, s.Prefix+".succeeded.")
	if !ok || rest == "" {
		return "", fmt.Errorf("subject %q is not below %s.succeeded", subject, s.Prefix)
	}
	return rest, nil
}

// Lane is the parsed subject of a ledger entry.
type Lane struct {
	Shard  int
	Kind   string // "due", "held", "signal" or "dead"
	Second int64  // of a due slot
	Hash   string // of a held lane
}

// Kinds of ledger lanes.
const (
	LaneDue    = "due"
	LaneHeld   = "held"
	LaneSignal = "signal"
	LaneDead   = "dead"
)

// ParseLedger reads the subject of a ledger entry.
func (s Subjects) ParseLedger(subject string) (Lane, error) {
	bad := func() (Lane, error) {
		return Lane{}, fmt.Errorf("subject %q is not a lane of the ledger below %s.ledger", subject, s.Prefix)
	}
	rest, ok := strings.CutPrefix(subject, s.Prefix+".ledger.")
	if !ok {
		return bad()
	}
	number, rest, _ := strings.Cut(rest, ".")
	shard, ok := parseShard(number)
	if !ok {
		return bad()
	}
	kind, arg, more := strings.Cut(rest, ".")
	lane := Lane{Shard: shard, Kind: kind}
	switch {
	case kind == LaneDue:
		second, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || strconv.FormatInt(second, 10) != arg {
			return bad()
		}
		lane.Second = second
	case kind == LaneHeld:
		if hash, err := hex.DecodeString(arg); err != nil || len(hash) != 16 || strings.ToLower(arg) != arg {
			return bad()
		}
		lane.Hash = arg
	case more || kind != LaneSignal && kind != LaneDead:
		return bad()
	}
	return lane, nil
}

// Partition is the shard, 0 to n-1, in which the server's subject transform stores a
// failure: fnv32a over the whole incoming subject modulo n, as nats-server computes
// {{partition(n)}} without token indexes.
func (s Subjects) Partition(subject string, n int) int {
	const offset, prime = 2166136261, 16777619
	h := uint32(offset)
	for _, part := range [...]string{s.Prefix, ".failed.", subject} {
		for i := 0; i < len(part); i++ {
			h = (h ^ uint32(part[i])) * prime
		}
	}
	return int(h % uint32(n))
}

// CheckLiteral says why a subject cannot be published to: it is empty, longer than
// MaxSubject, no UTF-8 (it could not be told in JSON without changing it), or holds a
// wildcard, white space or a control character, or an empty token.
func CheckLiteral(subject string) error {
	switch {
	case subject == "":
		return errors.New("subject is empty")
	case len(subject) > MaxSubject:
		return fmt.Errorf("subject has %d bytes, at most %d are served", len(subject), MaxSubject)
	case !utf8.ValidString(subject):
		return fmt.Errorf("subject %q is no valid UTF-8", subject)
	}
	token := 0
	for i := 0; i < len(subject); i++ {
		switch c := subject[i]; {
		case c == '.':
			if i == token {
				return fmt.Errorf("subject %q holds an empty token", subject)
			}
			token = i + 1
		case c == '*' || c == '>':
			return fmt.Errorf("subject %q holds the wildcard %q", subject, string(c))
		case c <= ' ' || c == 0x7f:
			return fmt.Errorf("subject %q holds white space or a control character", subject)
		}
	}
	if token == len(subject) {
		return fmt.Errorf("subject %q holds an empty token", subject)
	}
	return nil
}

// CheckTarget says why recoveryd must not publish work to a subject: besides what
// CheckLiteral refuses, system subjects, inboxes and recoveryd's own subjects.
func (s Subjects) CheckTarget(subject string) error {
	if err := CheckLiteral(subject); err != nil {
		return err
	}
	first, _, _ := strings.Cut(subject, ".")
	switch {
	case strings.HasPrefix(first, "$"):
		return fmt.Errorf("subject %q is a system subject", subject)
	case strings.HasPrefix(first, "_INBOX"):
		return fmt.Errorf("subject %q is an inbox", subject)
	case subject == s.Prefix || strings.HasPrefix(subject, s.Prefix+"."):
		return fmt.Errorf("subject %q belongs to recoveryd itself", subject)
	}
	return nil
}

// CheckTargets says why recoveryd publishes work to no subject that a pattern matches. Those
// to which it may are checked by themselves.
func (s Subjects) CheckTargets(pattern string) error {
	if err := CheckPattern(pattern); err != nil {
		return err
	}
	return s.CheckTarget(strings.NewReplacer("*", "x", ">", "x").Replace(pattern))
}

// SafeSubject is the subject where it can be part of another one, else `_refused.<hash>`.
func SafeSubject(subject string) string {
	if CheckLiteral(subject) == nil {
		return subject
	}
	return refused(subject)
}

func refused(subject string) string { return "_refused." + KeyHash(subject) }

// KeyHash is the name of a key in a subject: 32 hex digits, the first 128 bits of its SHA-256.
func KeyHash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}

// Escape writes every byte outside [A-Za-z0-9_-] as =XX, so that the result is one token
// of a subject or of a key-value key.
func Escape(s string) string { return escape(s, false) }

// EscapeKey escapes within tokens and keeps the dots between them. Empty tokens become "=".
func EscapeKey(key string) string { return escape(key, true) }

func escape(s string, dots bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s) + 8)
	token := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-':
			b.WriteByte(c)
		case c == '.' && dots:
			if b.Len() == token {
				b.WriteByte('=')
			}
			b.WriteByte('.')
			token = b.Len()
		default:
			b.WriteByte('=')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	if b.Len() == token {
		b.WriteByte('=')
	}
	return b.String()
}

// Unescape reverses Escape and EscapeKey.
func Unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 == len(s) || s[i+1] == '.' {
			continue
		}
		if i+3 > len(s) {
			return "", fmt.Errorf("%q ends within an escape", s)
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("%q holds the bad escape %q", s, s[i:i+3])
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), nil
}

// Match says whether a literal subject matches a pattern with the wildcards * and >.
func Match(pattern, subject string) bool {
	for {
		p, pRest, pMore := strings.Cut(pattern, ".")
		if p == ">" && !pMore {
			return subject != ""
		}
		t, tRest, tMore := strings.Cut(subject, ".")
		if p != "*" && p != t || pMore != tMore {
			return false
		}
		if !pMore {
			return true
		}
		pattern, subject = pRest, tRest
	}
}

// Covers says whether every subject that matches pattern matches wider too.
func Covers(wider, pattern string) bool {
	for {
		w, wRest, wMore := strings.Cut(wider, ".")
		p, pRest, pMore := strings.Cut(pattern, ".")
		switch {
		case w == ">":
			return true
		case p == ">", wMore != pMore, w != "*" && w != p:
			return false
		case !wMore:
			return true
		}
		wider, pattern = wRest, pRest
	}
}

// CheckPattern says why a text is no subject pattern.
func CheckPattern(pattern string) error {
	if pattern == "" {
		return errors.New("pattern is empty")
	}
	tokens := strings.Split(pattern, ".")
	for i, t := range tokens {
		switch {
		case t == "":
			return fmt.Errorf("pattern %q holds an empty token", pattern)
		case t == ">" && i < len(tokens)-1:
			return fmt.Errorf("pattern %q holds > before its end", pattern)
		case len(t) > 1 && strings.ContainsAny(t, "*>"):
			return fmt.Errorf("pattern %q holds a wildcard within the token %q", pattern, t)
		case strings.ContainsFunc(t, func(r rune) bool { return r <= ' ' || r == 0x7f }):
			return fmt.Errorf("pattern %q holds white space or a control character", pattern)
		}
	}
	return nil
}
