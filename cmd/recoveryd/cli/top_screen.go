package cli

import (
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// Sequences of a terminal: the other screen without a cursor and back, the upper left
// corner, and what clears the rest of a line and of the screen.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// screen draws each picture over the one before, on the terminal's other screen, so that
// what was on it is there again at the end.
type screen struct {
	w      io.Writer
	colour bool
	area   func(io.Writer) (columns, rows int) // asked each time: it may be resized
}

func newScreen(w io.Writer, colour bool, area func(io.Writer) (int, int)) *screen {
	s := &screen{w, colour, area}
	_, _ = io.WriteString(w, enterScreen) // what cannot be written fails again with the first picture
	return s
}

func (s *screen) live() bool { return true }

func (s *screen) end() { _, _ = io.WriteString(s.w, leaveScreen) }

// show writes a picture at once, so that none is seen half drawn.
func (s *screen) show(f frame) error {
	columns, rows := s.area(s.w)
	lines := f.lines(s.colour)
	lines = lines[:min(len(lines), rows)]
	for i := range lines {
		lines[i] = clip(lines[i], columns) + clearLine
	}
	_, err := io.WriteString(s.w, home+strings.Join(lines, "\r\n")+clearBelow)
	return err
}

// area is how large the terminal behind w is.
func (a *App) area(w io.Writer) (columns, rows int) {
	columns, rows = 80, 24
	if f, ok := w.(*os.File); ok {
		if c, r, err := term.GetSize(int(f.Fd())); err == nil && c > 0 && r > 0 {
			columns, rows = c, r
		}
	}
	return columns, rows
}

// clip cuts a line that is longer than the terminal is wide. Colours take no room, and are
// ended.
func clip(line string, columns int) string {
	room := columns
	for i := 0; i < len(line); {
		if end := strings.IndexByte(line[i:], 'm'); strings.HasPrefix(line[i:], "\x1b[") && end > 0 {
			i += end + 1
			continue
		}
		if room == 0 {
			cut := line[:i]
			if strings.Contains(cut, "\x1b[") {
				cut += "\x1b[0m"
			}
			return cut
		}
		room--
		_, n := utf8.DecodeRuneInString(line[i:])
		i += n
	}
	return line
}
