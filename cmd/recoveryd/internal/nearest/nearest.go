// Package nearest finds the word that somebody probably meant.
package nearest

// Of is the known word with the fewest edits to s, if they are few enough to be a slip:
// a third of the longer word, at least one.
func Of(s string, known []string) (word string, ok bool) {
	best := -1
	for _, k := range known {
		if d := distance(s, k); (best < 0 || d < best) && d <= max(len(s), len(k))/3 {
			best, word = d, k
		}
	}
	return word, best >= 0
}

// distance counts insertions, deletions and replacements (V. Levenshtein, 1966), and swaps
// of neighbours as one.
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, previous, row := rows[0], rows[1], rows[2]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(previous[j]+1, row[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		rows[0], rows[1], rows[2] = previous, row, before
	}
	return rows[1][len(b)]
}
