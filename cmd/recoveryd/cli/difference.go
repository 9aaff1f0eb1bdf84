package cli

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/recoveryd/recoveryd/schemas"
)

// sample shows what an edit makes of a letter, as far as the daemon tells.
func sample(s *schemas.EditSample, colour bool) string {
	text := "dead letter " + strconv.FormatUint(s.Sequence, 10) + ", id " + printable(s.ID) + "\n"
	text += difference(headerLines(s.HeadersBefore), headerLines(s.HeadersAfter), colour)
	return text + difference(bodyLines(whole(s.BodyBefore)), bodyLines(whole(s.BodyAfter)), colour)
}

// whole leaves out the last character of a text that was cut within it.
func whole(body []byte) []byte {
	for n := range min(utf8.UTFMax, len(body)) {
		if cut := body[:len(body)-n]; utf8.Valid(cut) {
			return cut
		}
	}
	return body
}

func headerLines(h schemas.Header) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			lines = append(lines, printable(name+": "+value))
		}
	}
	return lines
}

// bodyLines shows text as lines, JSON indented, and anything else as a dump.
func bodyLines(body []byte) []string {
	if len(body) == 0 {
		return nil
	}
	var lines []string
	for line := range strings.Lines(payloadText(body, payloadPretty)) {
		line = strings.TrimSuffix(line, "\n")
		if len(line) > longLine {
			lines = append(lines, strings.SplitAfter(line, ",")...)
			continue
		}
		lines = append(lines, line)
	}
	return lines
}

const (
	longLine  = 200     // bytes; longer lines are broken at commas and shortened
	around    = 2       // unchanged lines shown beside changed ones
	mostTable = 4 << 20 // cells of the table of common lines
)

// difference shows what changed from one text to another, line by line; "" if nothing did.
func difference(before, after []string, colour bool) string {
	head := 0
	for head < min(len(before), len(after)) && before[head] == after[head] {
		head++
	}
	tail := 0
	for tail < min(len(before), len(after))-head && before[len(before)-1-tail] == after[len(after)-1-tail] {
		tail++
	}
	if head == len(before) && head == len(after) {
		return ""
	}
	steps := make([]step, 0, len(before)+len(after))
	for _, line := range before[:head] {
		steps = append(steps, step{' ', line})
	}
	steps = append(steps, changes(before[head:len(before)-tail], after[head:len(after)-tail])...)
	for _, line := range before[len(before)-tail:] {
		steps = append(steps, step{' ', line})
	}
	return hunks(steps, colour)
}

// step is a line of a difference: kept, taken away or added.
type step struct {
	sign byte // ' ', '-' or '+'
	line string
}

// changes finds the longest common subsequence of lines; texts too long for that are
// replaced as a whole.
func changes(before, after []string) []step {
	var steps []step
	i, j := 0, 0
	if n, m := len(before), len(after); n > 0 && m > 0 && n*m <= mostTable {
		common := make([][]int32, n+1)
		for k := range common {
			common[k] = make([]int32, m+1)
		}
		for k := n - 1; k >= 0; k-- {
			for l := m - 1; l >= 0; l-- {
				if before[k] == after[l] {
					common[k][l] = common[k+1][l+1] + 1
				} else {
					common[k][l] = max(common[k+1][l], common[k][l+1])
				}
			}
		}
		for i < n && j < m {
			switch {
			case before[i] == after[j]:
				steps = append(steps, step{' ', before[i]})
				i, j = i+1, j+1
			case common[i+1][j] >= common[i][j+1]:
				steps = append(steps, step{'-', before[i]})
				i++
			default:
				steps = append(steps, step{'+', after[j]})
				j++
			}
		}
	}
	for ; i < len(before); i++ {
		steps = append(steps, step{'-', before[i]})
	}
	for ; j < len(after); j++ {
		steps = append(steps, step{'+', after[j]})
	}
	return steps
}

// hunks prints the changed lines and some beside them.
func hunks(steps []step, colour bool) string {
	near := make([]bool, len(steps))
	for i, s := range steps {
		if s.sign != ' ' {
			for k := max(0, i-around); k <= min(len(steps)-1, i+around); k++ {
				near[k] = true
			}
		}
	}
	var b strings.Builder
	skipped := false
	for i, s := range steps {
		if !near[i] {
			skipped = true
			continue
		}
		if skipped {
			b.WriteString("  ...\n")
			skipped = false
		}
		b.WriteString(paint(string(s.sign)+" "+shorten(s.line, longLine), signColour(s.sign), colour) + "\n")
	}
	return b.String()
}

func signColour(sign byte) string {
	switch sign {
	case '-':
		return red
	case '+':
		return green
	}
	return ""
}
