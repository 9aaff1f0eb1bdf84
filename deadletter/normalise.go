package deadletter

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

const (
	maxCauseInput  = 1000 // characters of the error that are looked at
	maxCauseOutput = 512  // bytes of the normalised text
	maxWord        = 64   // characters; a longer run of letters is data, not a word
)

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
