package cli

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// How a payload is shown.
const (
	payloadPretty = "pretty" // JSON indented, other text as it is, else hex
	payloadRaw    = "raw"    // the bytes and nothing else
	payloadHex    = "hex"
	payloadNone   = "none"
)

var payloads = [...]string{payloadPretty, payloadRaw, payloadHex, payloadNone}

// payloadText is a payload for a terminal. Nothing of it is encoded anew: only white space
// of JSON is moved, and control characters are left out.
func payloadText(body []byte, how string) string {
	if how == payloadHex || !utf8.Valid(body) || bytes.IndexByte(body, 0) >= 0 {
		return hex.Dump(body)
	}
	return harmless(indented(body))
}

// indented is JSON with its white space moved, and anything else as it is.
func indented(body []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, body, "", "  ") != nil {
		return string(body)
	}
	return b.String()
}

// harmless keeps a text of many lines from steering the terminal.
func harmless(text string) string {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i, line := range lines {
		lines[i] = printable(strings.ReplaceAll(line, "\t", "    "))
	}
	return strings.Join(lines, "\n")
}
