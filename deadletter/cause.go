package deadletter

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxCauseInput  = 1000 // characters of the error that are looked at
	maxCauseOutput = 512  // bytes of the normalised text
	maxWord        = 64   // characters; a longer run of letters is data, not a word

	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// Cause returns the fingerprint of a failure: 8 lower-case hex digits over
// reason, NUL and Normalise(errText). Equal causes group dead letters.
//
// It is FNV-1a with 64 bits, the upper half folded onto the lower by XOR
// (http://www.isthe.com/chongo/tech/comp/fnv/). FNV rather than SHA-256 because
// 32 bits resist no adversary anyway, and any client can repeat it in five
// lines. Among 1,000 different causes two share a fingerprint once in 8,600.
func Cause(reason, errText string) string {
	var s normaliser
	h := uint64(fnvOffset)
	for i := range len(reason) {
		h = (h ^ uint64(reason[i])) * fnvPrime
	}
	h *= fnvPrime // the NUL
	for _, c := range s.read(errText) {
		h = (h ^ uint64(c)) * fnvPrime
	}
	folded := uint32(h>>32) ^ uint32(h)
	var hex [8]byte
	for i := range hex {
		hex[i] = "0123456789abcdef"[folded>>(28-4*i)&15]
	}
	return string(hex[:])
}

// Normalise reduces an error text to what is the same each time this error
// happens: lower-case words joined by single spaces, and one '#' for each run
// of what varies, such as numbers, ids, addresses, URLs, quoted parts, times,
// paths and JSON. A number stays when a word such as status, HTTP, code or
// errno introduces it, and a SQLSTATE stays. Of a stack trace the message and
// the function of the first frame count; of a Python traceback its last line.
//
// It looks at the first 1,000 characters and returns at most 512 bytes of valid
// UTF-8. It is idempotent: words and '#' are decided from themselves and from
// what stands before them in the result, and every rule that looks at other
// characters removes those characters.
func Normalise(errText string) string {
	var s normaliser
	return string(s.read(errText))
}

// message skips a Python traceback, which ends with what others begin with.
func message(text string) string {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "Traceback (most recent call last)") {
		return text
	}
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		return text[i+1:]
	}
	if i := strings.LastIndex(text, `\n`); i >= 0 {
		return text[i+2:]
	}
	return text
}

func firstRunes(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for i := range text {
		if n == 0 {
			return text[:i]
		}
		n--
	}
	return text
}

// isDocument tells whether the whole text is JSON. Such an error has its
// message inside the quotes, which then only separate words.
func isDocument(text string) bool {
	if text == "" {
		return false
	}
	switch text[0] {
	case '{':
		return true
	case '[':
		rest := strings.TrimLeft(text[1:], " \n\t")
		return rest != "" && (rest[0] == '{' || rest[0] == '"')
	case '"':
		return len(text) > 1 && strings.IndexByte(text[1:], '"') == len(text)-2
	}
	return false
}

// normaliser reads in from left to right and pushes words onto out. It has its
// own memory, so that it can stay on the stack.
type normaliser struct {
	in       string
	pos      int
	out      [maxCauseOutput + 4*maxWord + 1]byte
	size     int    // bytes of out in use
	mark     int    // where the last word of out begins
	status   bool   // the words before allow a number to stay
	fresh    bool   // at the start of a line that is not the first
	bare     bool   // quotes and braces only separate
	unclosed uint32 // kinds of brackets and quotes known not to close any more, which keeps this linear
	done     bool
}

func (s *normaliser) read(errText string) []byte {
	s.in = firstRunes(message(errText), maxCauseInput)
	s.bare = isDocument(s.in)
	for s.pos < len(s.in) && !s.done {
		if s.space() {
			continue
		}
		switch c := s.in[s.pos]; {
		case isAlnum(c), c == ':' && startsIPv6(s.in[s.pos:]):
			s.chunk()
		case c == '#':
			s.variable(s.pos + 1)
		case c == '/':
			s.path()
		case c == '(':
			s.values()
		case c == '{':
			s.braces()
		case c == '"', c == '\'', c == '`', c >= utf8.RuneSelf:
			s.other()
		default:
			s.pos++
		}
		s.fresh = false
	}
	return s.out[:s.size]
}

// space skips one white space, also one that was escaped to fit a header.
func (s *normaliser) space() bool {
	c, width := s.in[s.pos], 1
	if c == '\\' && s.pos+1 < len(s.in) {
		c, width = s.in[s.pos+1], 2
		switch c {
		case 'n':
			c = '\n'
		case 't', 'r':
			c = ' '
		default:
			return false
		}
	}
	if c != ' ' && (c < '\t' || c > '\r') {
		return false
	}
	s.fresh = s.fresh || c == '\n' && s.size > 0
	s.pos += width
	return true
}

func (s *normaliser) other() {
	r, width := utf8.DecodeRuneInString(s.in[s.pos:])
	q, opens := quoteOf(r)
	switch {
	case isWordRune(r):
		s.chunk()
	case !opens || s.bare:
		s.pos += width
	default:
		s.quoted(q, s.pos+width)
	}
}

func (s *normaliser) quoted(q quote, start int) {
	end, after := -1, 0
	if s.unclosed&q.bit == 0 && (q.close != '\'' || !endsInWord(s.in[:s.pos])) {
		if end, after = q.end(s.in, start); end < 0 {
			s.unclosed |= q.bit
		}
	}
	switch {
	case end < 0: // an apostrophe, or cut off
		s.pos = start
	case s.status && isName(s.in[start:end]): // code: 'ECONNREFUSED'
		s.pos = start
		s.words(end)
		s.pos = after
	default:
		s.variable(after)
	}
}

// braces removes a JSON object or the like: all up to the matching brace, or,
// if it was cut off and begins with a quote, all that follows.
func (s *normaliser) braces() {
	const bit = 1
	next := strings.TrimLeft(s.in[s.pos+1:], " \n\t\\")
	opens := next != "" && (next[0] == '"' || next[0] == '\'' || next[0] == '}' || isAlnum(next[0]))
	if s.bare || !opens || s.unclosed&bit != 0 {
		s.pos++
		return
	}
	end := matching(s.in, s.pos, '{', '}')
	switch {
	case end > 0:
		s.variable(end)
	case next[0] == '"':
		s.variable(len(s.in))
	default:
		s.unclosed |= bit
		s.pos++
	}
}

// values removes SQL values: Key (email)=(…), VALUES (…), row contains (…).
func (s *normaliser) values() {
	last := s.last()
	switch {
	case s.pos > 0 && s.in[s.pos-1] == '=', string(last) == "contains", string(last) == "values":
		end := matching(s.in, s.pos, '(', ')')
		if end < 0 {
			end = len(s.in)
		}
		s.variable(end)
	default:
		s.pos++
	}
}

func (s *normaliser) path() {
	next := s.pos + 1
	inTag := s.pos > 0 && s.in[s.pos-1] == '<'
	if inTag || next == len(s.in) || !isAlnum(s.in[next]) && strings.IndexByte("._-", s.in[next]) < 0 {
		s.pos = next
		return
	}
	s.variable(s.pos + span(s.in[s.pos:], " \t\r\n\"'`()<>,;\\"))
}

// chunk reads a run of letters, digits and what joins them, and removes it if
// it is an address, a path or the like as a whole. Else its words are judged
// one by one.
func (s *normaliser) chunk() {
	end := chunkEnd(s.in, s.pos)
	text, rest := s.in[s.pos:end], s.in[end:]
	switch {
	case text == "at" && s.frame(rest), text == "goroutine" && s.goroutine(rest), s.traceEnds(text, rest):
		s.done = true
	case strings.Contains(text, "://"):
		s.variable(s.pos + span(s.in[s.pos:], " \t\r\n\"'`<>\\"))
	case len(text) == 1 && strings.HasPrefix(rest, `:\`):
		s.variable(s.pos + span(s.in[s.pos:], " \t\r\n\"'`()<>,;"))
	case s.wantsHost(), string(s.last()) == "lookup" && (strings.HasPrefix(rest, ":") || strings.HasPrefix(rest, " on ")),
		isLocation(text), s.connecting() && isEndpoint(text), isSecret(text, rest):
		s.variable(end)
	default:
		s.words(end)
		s.pos = end
	}
}

// frame takes the function of a stack frame after "at" (Java, Node, .NET),
// on its own line or, as in a header, in one line with the message.
func (s *normaliser) frame(rest string) bool {
	if rest == "" || rest[0] != ' ' {
		return false
	}
	start := len(s.in) - len(rest) + 1
	for _, word := range []string{"async ", "new "} {
		if strings.HasPrefix(s.in[start:], word) {
			start += len(word)
		}
	}
	end := start + span(s.in[start:], " (\n\\")
	if !isPlace(s.in[end:]) && !(s.fresh && strings.ContainsAny(s.in[start:end], "./:")) {
		return false
	}
	s.function(start, end)
	return true
}

// goroutine takes the function of the first frame of a Go stack trace.
func (s *normaliser) goroutine(rest string) bool {
	i := strings.Index(rest, "]:")
	if i < 0 || !strings.HasPrefix(rest, " ") || strings.IndexByte(rest, '[') < 0 {
		return false
	}
	start := len(s.in) - len(rest) + i + 2
	for s.pos = start; s.pos < len(s.in) && s.space(); {
		start = s.pos
	}
	end := start + span(s.in[start:], " \t\n\\")
	for i := start; i < end; i++ {
		if s.in[i] == '(' && !strings.HasPrefix(s.in[i:], "(*") { // arguments, not a receiver
			end = i
		}
	}
	s.function(start, end)
	return true
}

func (s *normaliser) function(start, end int) {
	s.letters("at")
	name := s.in[start:end]
	if strings.HasPrefix(name, "/") || strings.IndexByte(name, ':') >= 0 {
		s.variable(end)
		return
	}
	s.pos = start + strings.LastIndexByte(name, '/') + 1 // without the module
	s.words(end)
}

// traceEnds recognises where PHP, Ruby and Rust begin to list frames.
func (s *normaliser) traceEnds(text, rest string) bool {
	if s.size == 0 {
		return false
	}
	listed := (text == "Stack" || text == "stack") &&
		(strings.HasPrefix(rest, " trace:") || strings.HasPrefix(rest, " backtrace:"))
	return listed || s.fresh && text == "from"
}

// words judges each run of letters and digits up to end.
func (s *normaliser) words(end int) {
	inID := false // 7d9f8b6c5-bxkqz: what is chained to an id belongs to it
	for s.pos < end && !s.done {
		r, width := utf8.DecodeRuneInString(s.in[s.pos:end])
		if !isWordRune(r) {
			inID = inID && (r == '-' || r == '_' || r == '+')
			s.pos += width
			continue
		}
		if isUUID(s.in[s.pos:end]) {
			s.variable(s.pos + 36)
			continue
		}
		next := s.pos + wordEnd(s.in[s.pos:end])
		word := s.in[s.pos:next]
		switch {
		case inID:
			s.variable(next)
		default:
			inID = s.word(word)
		}
		s.pos = next
		if len(word) == 4 && strings.EqualFold(word, "http") {
			s.pos += versionEnd(s.in[next:end])
		}
	}
}

// word judges one run of letters and digits and tells whether it is an id.
func (s *normaliser) word(text string) bool {
	digits, hex, ascii := 0, true, true
	for _, r := range text {
		switch {
		case isDigit(r):
			digits++
		case !isHex(r):
			hex = false
		}
		ascii = ascii && r < utf8.RuneSelf
	}
	first, _ := utf8.DecodeRuneInString(text)
	switch {
	case digits == 0:
		s.letters(text)
	case digits == len(text):
		s.number(text)
	case ascii && len(text) == 5 && string(s.last()) == "sqlstate":
		s.push(text)
	case hex && ascii && len(text) >= 6:
		s.variable(s.pos)
		return true
	case isDigit(first):
		s.variable(s.pos)
		return len(text) >= 6
	default:
		return s.mixed(text)
	}
	return false
}

// mixed splits worker12 and X509TrustManager at their digits. Any other mix is
// an id.
func (s *normaliser) mixed(text string) bool {
	i := strings.IndexFunc(text, isDigit)
	tail := strings.TrimLeftFunc(text[i:], isDigit)
	j := len(text) - len(tail)
	if tail != "" && (j-i > 3 || !isTitle(tail)) {
		s.variable(s.pos)
		return len(text) >= 6
	}
	s.letters(text[:i])
	s.number(text[i:j])
	if tail != "" {
		s.letters(tail)
	}
	return false
}

// number keeps what is part of the cause: a status, an errno, a SQLSTATE.
func (s *normaliser) number(text string) {
	last := string(s.last())
	switch {
	case strings.Trim(text, "0123456789") != "": // digits of another script
		s.variable(s.pos)
	case s.status && len(text) <= 4, len(text) == 5 && (last == "sqlstate" || last == "ora"):
		s.push(text)
		s.status = false
	default:
		s.variable(s.pos)
	}
}

func (s *normaliser) letters(text string) {
	switch {
	case s.wantsHost(), len(text) >= 8 && isAllHex(text), len(text) > maxWord && utf8.RuneCountInString(text) > maxWord, isRandomCase(text):
		s.variable(s.pos)
	case len(text) == 1 && string(s.last()) == "token": // unexpected token o in JSON
	default:
		s.push(text)
	}
}

// push appends a word in lower case, unless it is the unit of a number.
func (s *normaliser) push(text string) {
	if s.done {
		return
	}
	before, mark := s.size, s.mark
	if before > 0 {
		s.put(' ')
	}
	s.mark = s.size
	for _, r := range text {
		if r >= 'a' && r <= 'z' {
			s.put(byte(r))
		} else {
			s.size += utf8.EncodeRune(s.out[s.size:], lower(r))
		}
	}
	word := s.last()
	switch {
	case s.size > maxCauseOutput:
		s.size, s.mark, s.done = before, mark, true
	case before > 0 && s.out[before-1] == '#' && isUnit(word):
		s.size, s.mark = before, mark
	case introduces(word):
		s.status = true
	case !isFiller(word):
		s.status = false
		if string(word) == "on" {
			s.lookedUp()
		}
	}
}

func (s *normaliser) put(c byte) {
	s.out[s.size] = c
	s.size++
}

// lookedUp turns "lookup name on" into "lookup # on".
func (s *normaliser) lookedUp() {
	_, start := s.wordBefore(s.mark)
	if head, _ := s.wordBefore(start); string(head) == "lookup" {
		s.mark = start + len("# ")
		s.size = start + copy(s.out[start:], "# on")
	}
}

// variable stands for all up to next, and swallows a month or day of the week
// before it.
func (s *normaliser) variable(next int) {
	s.pos, s.status = next, false
	for isCalendar(s.last()) {
		_, start := s.wordBefore(s.mark)
		s.size, s.mark = max(s.mark-1, 0), start
	}
	switch {
	case s.size > 0 && s.out[s.size-1] == '#', s.done:
	case s.size+len(" #") > maxCauseOutput:
		s.done = true
	default:
		if s.size > 0 {
			s.put(' ')
		}
		s.mark = s.size
		s.put('#')
	}
}

func (s *normaliser) last() []byte { return s.out[s.mark:s.size] }

func (s *normaliser) wordBefore(mark int) (word []byte, start int) {
	end := max(mark-1, 0)
	start = bytes.LastIndexByte(s.out[:end], ' ') + 1
	return s.out[start:end], start
}

// wantsHost tells whether a host name must follow, whatever it looks like.
func (s *normaliser) wantsHost() bool {
	switch string(s.last()) {
	case "enotfound", "unknownhostexception":
		return true
	case "again":
		word, _ := s.wordBefore(s.mark)
		return string(word) == "eai"
	}
	return false
}

func (s *normaliser) connecting() bool {
	switch string(s.last()) {
	case "tcp", "udp", "to", "dial", "connect", "host", "server", "broker", "node", "address", "addr",
		"econnrefused", "econnreset", "etimedout", "ehostunreach", "from", "with":
		return true
	}
	return false
}

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
