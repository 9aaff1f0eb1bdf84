package strategies

// NextFallback returns the first fallback after n that may be tried (n = -1: none was tried yet), and those passed
// over on the way because skip said so, as it does for a fallback whose own breaker is open. A nil skip passes over
// none. ok is false when no fallback is left: the work is dead.
func NextFallback(n int, subjects []string, skip func(i int) bool) (index int, skipped []int, ok bool) {
	for i := max(n, -1) + 1; i < len(subjects); i++ {
		if skip == nil || !skip(i) {
			return i, skipped, true
		}
		skipped = append(skipped, i)
	}
	return 0, skipped, false
}
