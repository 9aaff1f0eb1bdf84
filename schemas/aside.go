package schemas

import (
	"fmt"
	"net/url"
	"strings"
)

// Headers that must not or cannot travel are kept aside while the work is not delivered:
// on ledger entries and dead letters as Recovery-Original-<name>.

func isAside(name string) bool { return strings.HasPrefix(name, HeaderOriginalPrefix) }

// setAside adds the barred headers to those of a message.
func setAside(h, barred Header) {
	for name, values := range barred {
		h[HeaderOriginalPrefix+escapeName(name)] = values
	}
}

// parseAside reads them back, nil if there are none.
func parseAside(own Header) (barred Header) {
	for name, values := range own {
		if original, ok := strings.CutPrefix(name, HeaderOriginalPrefix); ok {
			if barred == nil {
				barred = make(Header, 2)
			}
			barred[unescapeName(original)] = values
		}
	}
	return barred
}

// nameByte says whether a byte may be part of a header's name. ADR-4 of NATS allows more,
// but the Go client refuses to send a name with any other, and one such header would make
// its message undeliverable.
func nameByte(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte("\"()/,:;<=>?@[\\]{}", c) < 0
}

func validName(name string) bool {
	for i := 0; i < len(name); i++ {
		if !nameByte(name[i]) {
			return false
		}
	}
	return name != ""
}

// escapeName writes what cannot be in a name, and %, as %XX.
func escapeName(name string) string {
	if validName(name) && strings.IndexByte(name, '%') < 0 {
		return name
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if c := name[i]; nameByte(c) && c != '%' {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// unescapeName reverses escapeName; what is no escape stays as it is.
func unescapeName(name string) string {
	if plain, err := url.PathUnescape(name); err == nil {
		return plain
	}
	return name
}

// CheckUserHeader says why a header cannot be given to a message: its name cannot be sent,
// is one of recoveryd's own or one that must not travel, or its value breaks the line.
func CheckUserHeader(name, value string) error {
	switch {
	case hasPrefixFold(name, HeaderPrefix):
		return fmt.Errorf("header %q belongs to recoveryd", name)
	case !travels(name):
		return fmt.Errorf("header %q is one that the server acts on", name)
	}
	return checkHeader(name, value)
}

// CheckStoredHeader says why a header cannot be one of a stored dead letter.
func CheckStoredHeader(name, value string) error {
	if !travels(name) && name != HeaderMsgID {
		return fmt.Errorf("header %q is one that the server acts on", name)
	}
	return checkHeader(name, value)
}

func checkHeader(name, value string) error {
	switch {
	case !validName(name):
		return fmt.Errorf("header %q has a name that cannot be sent", name)
	case strings.ContainsAny(value, "\r\n"), strings.TrimSpace(value) != value:
		return fmt.Errorf("header %q has a value with a line break, or space around it", name)
	}
	return nil
}
