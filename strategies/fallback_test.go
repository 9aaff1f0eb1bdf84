package strategies

import (
	"slices"
	"testing"
)

func TestNextFallback(t *testing.T) {
	t.Parallel()
	three := []string{"a", "b", "c"}
	tests := []struct {
		name     string
		n        int
		subjects []string
		open     []int
		want     int
		skipped  []int
		ok       bool
	}{
		{"none configured", -1, nil, nil, 0, nil, false},
		{"first", -1, three, nil, 0, nil, true},
		{"after the first", 0, three, nil, 1, nil, true},
		{"after the last", 2, three, nil, 0, nil, false},
		{"beyond the last", 9, three, nil, 0, nil, false},
		{"nonsense is none tried", -7, three, nil, 0, nil, true},
		{"an open one is skipped", -1, three, []int{0}, 1, []int{0}, true},
		{"all the rest is open", 0, three, []int{1, 2}, 0, []int{1, 2}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			skip := func(i int) bool { return slices.Contains(tt.open, i) }
			if tt.open == nil {
				skip = nil
			}
			got, skipped, ok := NextFallback(tt.n, tt.subjects, skip)
			if got != tt.want || ok != tt.ok || !slices.Equal(skipped, tt.skipped) {
				t.Errorf("got %d, %v, %v; want %d, %v, %v", got, skipped, ok, tt.want, tt.skipped, tt.ok)
			}
		})
	}
}
