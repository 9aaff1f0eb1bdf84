package deadletter

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// introduces tells whether a number after this word is part of the cause.
func introduces(word []byte) bool {
	switch string(word) {
	case "status", "statuscode", "http", "code", "errno", "rc", "ora", "sqlstate":
		return true
	}
	return false
}

// isFiller tells whether a word may stand between "status" and its number.
func isFiller(word []byte) bool {
	switch string(word) {
	case "error", "response", "of", "is", "was", "got", "returned", "received":
		return true
	}
	return false
}

func isUnit(word []byte) bool {
	switch string(word) {
	case "ns", "us", "µs", "μs", "ms", "s", "m", "h", "d", "sec", "secs", "second", "seconds", "min", "mins", "minute", "minutes",
		"hr", "hrs", "hour", "hours", "day", "days", "millis", "millisecond", "milliseconds", "am", "pm", "utc", "gmt", "z",
		"b", "byte", "bytes", "kb", "mb", "gb", "tb", "kib", "mib", "gib":
		return true
	}
	return false
}

func isCalendar(word []byte) bool {
	switch string(word) {
	case "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
		"january", "february", "march", "april", "june", "july", "august", "september", "october", "november", "december",
		"mon", "tue", "wed", "thu", "fri", "sat", "sun",
		"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday":
		return true
	}
	return false
}

// isLocation recognises e-mail, IPv6 and MAC addresses, host names, host:port,
// resource names with two slashes or more, and file:line.
func isLocation(text string) bool {
	var slashes, colons, dots, ats int
	for i := range len(text) {
		switch text[i] {
		case '/':
			slashes++
		case ':':
			colons++
		case '.':
			dots++
		case '@':
			ats++
		}
	}
	switch {
	case slashes >= 2, ats > 0:
		return true
	case colons >= 2 && isIPv6(text):
		return true
	case colons > 0:
		head, numbered := cutLine(text)
		return numbered && !introducesAtEnd(head) && (slashes == 1 || head == "localhost" || strings.ContainsAny(head, ".-0123456789"))
	case dots > 0 && slashes == 0:
		return isHostName(text)
	}
	return false
}

// isEndpoint recognises redis:6379, where only the words before tell that it is
// not a count.
func isEndpoint(text string) bool {
	head, numbered := cutLine(text)
	return numbered && !introducesAtEnd(head)
}

// cutLine cuts name:12 and name:12:5 before the first colon.
func cutLine(text string) (head string, ok bool) {
	head, rest, found := strings.Cut(text, ":")
	return head, found && rest != "" && strings.Trim(rest, "0123456789:") == ""
}

func introducesAtEnd(head string) bool {
	head = head[strings.LastIndexAny(head, "._-")+1:]
	for _, word := range []string{"status", "statuscode", "http", "code", "errno", "rc"} {
		if strings.EqualFold(head, word) {
			return true
		}
	}
	return false
}

// isHostName goes by the last label. A first label of the same kind is that of
// a Java package.
func isHostName(text string) bool {
	first, _, _ := strings.Cut(text, ".")
	return isDomain(text[strings.LastIndexByte(text, '.')+1:]) && !isDomain(first)
}

func isDomain(label string) bool {
	switch label {
	case "com", "net", "org", "io", "dev", "app", "cloud", "co", "info", "internal", "local", "localhost", "svc", "cluster", "lan", "corp",
		"example", "test", "invalid", "arpa", "eu", "us", "uk", "de", "fr", "nl", "jp", "cn", "br", "au", "ca":
		return true
	}
	return false
}

func startsIPv6(text string) bool {
	return len(text) > 2 && text[1] == ':' && isHex(rune(text[2]))
}

func isIPv6(text string) bool {
	address, _, _ := strings.Cut(text, "%") // the zone
	digits := strings.Contains(address, "::")
	for _, r := range address {
		if !isHex(r) && r != ':' && r != '.' {
			return false
		}
		digits = digits || isDigit(r)
	}
	return digits
}

// isSecret recognises JSON web tokens and padded or punctuated base64: long,
// and changing between upper case, lower case and digits all the time.
func isSecret(text, rest string) bool {
	if len(text) < 20 {
		return false
	}
	if strings.HasPrefix(text, "eyJ") {
		return true
	}
	if !strings.ContainsAny(text, "+/") && !strings.HasPrefix(rest, "=") {
		return false
	}
	turns := 0
	for i := 1; i < len(text); i++ {
		if a, b := kind(text[i-1]), kind(text[i]); a != b && a != 0 && b != 0 {
			turns++
		}
	}
	return 4*turns > len(text) && strings.ContainsAny(text, "0123456789")
}

func kind(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return 1
	case c >= 'a' && c <= 'z':
		return 2
	case c >= 'A' && c <= 'Z':
		return 3
	}
	return 0
}

// isRandomCase recognises letters that turn to upper case more often than the
// words of a CamelCase name do.
func isRandomCase(text string) bool {
	if len(text) < 16 {
		return false
	}
	turns := 0
	for i := 1; i < len(text); i++ {
		if kind(text[i-1]) == 2 && kind(text[i]) == 3 {
			turns++
		}
	}
	return 5*turns > len(text)
}

func isUUID(text string) bool {
	if len(text) < 36 || text[8] != '-' {
		return false
	}
	for i := range 36 {
		switch i {
		case 8, 13, 18, 23:
			if text[i] != '-' {
				return false
			}
		default:
			if !isHex(rune(text[i])) {
				return false
			}
		}
	}
	return len(text) == 36 || !isAlnum(text[36])
}

// isPlace recognises what follows the function of a frame: (File.java:12).
func isPlace(text string) bool {
	text = strings.TrimPrefix(text, " ")
	end := strings.IndexByte(text, ')')
	if end < 0 || text[0] != '(' {
		return false
	}
	text = text[1:end]
	i := strings.LastIndexByte(text, ':')
	return text == "Native Method" || text == "Unknown Source" || i >= 0 && i+1 < len(text) && isDigit(rune(text[i+1]))
}

// isName recognises a quoted value that is a word rather than data.
func isName(text string) bool {
	for i := range len(text) {
		if !isAlnum(text[i]) && text[i] != '_' {
			return false
		}
	}
	return text != "" && len(text) <= 40
}

// isTitle recognises the rest of a CamelCase name.
func isTitle(text string) bool {
	if len(text) < 4 || kind(text[0]) != 3 || kind(text[1]) != 2 {
		return false
	}
	return strings.IndexFunc(text, isDigit) < 0
}

func isAllHex(text string) bool {
	for i := range len(text) {
		if !isHex(rune(text[i])) {
			return false
		}
	}
	return true
}

func isHex(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'f' || r >= 'A' && r <= 'F'
}

func isAlnum(c byte) bool { return kind(c) != 0 }

func isDigit(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= '0' && r <= '9'
	}
	return unicode.IsDigit(r)
}

// isWordRune includes marks, without which some scripts fall into pieces.
func isWordRune(r rune) bool {
	if r < utf8.RuneSelf {
		return isAlnum(byte(r))
	}
	return unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r)
}

// lower keeps the two letters (İ and the Kelvin sign) whose lower case is ASCII,
// or they would be judged differently the second time.
func lower(r rune) rune {
	if l := unicode.ToLower(r); l >= utf8.RuneSelf || r < utf8.RuneSelf {
		return l
	}
	return r
}

func endsInWord(text string) bool {
	r, _ := utf8.DecodeLastRuneInString(text)
	return isWordRune(r)
}

func wordEnd(text string) int {
	for i, r := range text {
		if !isWordRune(r) {
			return i
		}
	}
	return len(text)
}

// chunkEnd leaves punctuation at the end out.
func chunkEnd(text string, start int) int {
	end := start + 1
	for i, r := range text[start:] {
		switch {
		case r < utf8.RuneSelf && isAlnum(byte(r)):
			end = start + i + 1
		case r == '.', r == '-', r == '_', r == ':', r == '/', r == '@', r == '+', r == '%':
		case isWordRune(r):
			end = start + i + utf8.RuneLen(r)
		default:
			return end
		}
	}
	return end
}

// versionEnd skips the version in HTTP/1.1.
func versionEnd(text string) int {
	if len(text) < 2 || text[0] != '/' || !isDigit(rune(text[1])) {
		return 0
	}
	return len(text) - len(strings.TrimLeft(text, "/.0123456789"))
}

func span(text, stop string) int {
	if i := strings.IndexAny(text, stop); i >= 0 {
		return i
	}
	return len(text)
}

// matching returns the place after the bracket that closes the one at start, or
// -1.
func matching(text string, start int, open, closing byte) int {
	depth := 0
	for i := start; i < len(text); i++ {
		switch text[i] {
		case open:
			depth++
		case closing:
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// quote is one kind of quotation mark.
type quote struct {
	close, orElse rune // what closes it
	bit           uint32
}

func quoteOf(open rune) (quote, bool) {
	switch open {
	case '"':
		return quote{'"', '"', 2}, true
	case '\'':
		return quote{'\'', '\'', 4}, true
	case '`': // `name' is how older Unix tools quote
		return quote{'\'', '`', 8}, true
	case '“':
		return quote{'”', '”', 16}, true
	case '„':
		return quote{'“', '”', 32}, true
	case '‘', '‚':
		return quote{'’', '‘', 64}, true
	case '«':
		return quote{'»', '»', 128}, true
	case '‹':
		return quote{'›', '›', 256}, true
	}
	return quote{}, false
}

// end returns where the quoted part ends and where the text goes on, or -1.
func (q quote) end(text string, start int) (end, after int) {
	escaped := false
	for i, r := range text[start:] {
		switch {
		case escaped:
			escaped = false
		case r == '\\':
			escaped = true
		case r == q.close || r == q.orElse:
			end, after = start+i, start+i+utf8.RuneLen(r)
			if r != '\'' || after == len(text) || !isAlnum(text[after]) { // not the apostrophe of can't
				return end, after
			}
		}
	}
	return -1, 0
}
