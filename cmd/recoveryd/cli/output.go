package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"golang.org/x/term"
)

// printJSON writes a document for programs, indented for the people who read along.
func printJSON(w io.Writer, document any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // subjects hold > and nobody puts this into a page
	return e.Encode(document)
}

// table writes rows in columns, without trailing blanks.
func table(w io.Writer, rows ...[]string) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// width is how many columns the terminal behind w has, or COLUMNS says; 0 if nobody knows.
func (a *App) width(w io.Writer) int {
	if n, err := strconv.Atoi(a.getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	if f, ok := w.(*os.File); ok && terminal(w) {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil {
			return n
		}
	}
	return 0
}

// leastLast is what the last column of a table keeps on a narrow terminal.
const leastLast = 24

// fitted writes rows in columns and shortens the last one, so that a row takes one line of
// the terminal. What is not read at a terminal is not shortened.
func (a *App) fitted(rows ...[]string) error {
	room := a.width(a.Stdout)
	if room > 0 {
		most := make([]int, len(rows[0])-1)
		for _, row := range rows {
			for i := range most {
				most[i] = max(most[i], utf8.RuneCountInString(row[i])+2)
			}
		}
		for _, n := range most {
			room -= n
		}
		for _, row := range rows {
			row[len(most)] = shorten(row[len(most)], max(room, leastLast))
		}
	}
	return table(a.Stdout, rows...)
}

// Colours of a terminal.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
	dim    = "2"
)

func paint(text, code string, on bool) string {
	if !on || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// printable makes a text from strangers harmless for a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}
