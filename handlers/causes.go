package handlers

import (
	"cmp"
	"slices"
	"strings"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

// Bounds of what is remembered of the failures that breakers counted: it is shown to
// operators and decides nothing.
const (
	maxCausedKeys = 1000 // of a shard; any of them is forgotten for a new one
	maxCauses     = 5    // of a key, the most frequent
	maxSample     = 120  // bytes of an error text
)

// causeBook counts the causes of the failures of a shard's breakers.
type causeBook map[breakerKey][]schemas.CauseCount

func (b causeBook) add(k breakerKey, class, errText string) {
	causes, known := b[k]
	if !known && len(b) >= maxCausedKeys {
		for other := range b {
			delete(b, other)
			break
		}
	}
	cause := deadletter.Cause(class, errText)
	i := slices.IndexFunc(causes, func(c schemas.CauseCount) bool { return c.Cause == cause })
	if i < 0 {
		if len(causes) == maxCauses {
			causes = causes[:maxCauses-1]
		}
		i = len(causes)
		causes = append(causes, schemas.CauseCount{Cause: cause, Error: strings.ToValidUTF8(errText[:min(len(errText), maxSample)], "")})
	}
	causes[i].Count++
	slices.SortStableFunc(causes, func(a, b schemas.CauseCount) int { return cmp.Compare(b.Count, a.Count) })
	b[k] = causes
}
