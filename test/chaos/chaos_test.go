package chaos

import (
	"flag"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

var (
	runs     = flag.Int("chaos.runs", 1, "how many runs, each with the next seed")
	duration = flag.Duration("chaos.duration", 0, "of load and faults in each run; 0 = a few seconds")
	seed     = flag.Uint64("chaos.seed", uint64(time.Now().UnixNano()%1e9), "seed of the first run")
)

func TestMain(m *testing.M) {
	if Child() {
		return
	}
	flag.Parse()
	os.Exit(m.Run())
}

// TestEverythingFindsItsPlace breaks three servers and three daemons for a while. It is
// the short run; the long one is go run ./test/chaos/cmd.
func TestEverythingFindsItsPlace(t *testing.T) {
	lasts, rate := 12*time.Second, 40
	if testing.Short() {
		lasts, rate = 4*time.Second, 20
	}
	if *duration > 0 {
		lasts = *duration
	}
	for n := range *runs {
		r, err := Run(t.Context(), Options{Seed: *seed + uint64(n), Lasts: lasts, Rate: rate, Far: 8 * time.Second, Dir: t.TempDir(), Log: t.Logf})
		if err != nil {
			t.Fatalf("seed %d: %v", r.Seed, err)
		}
		t.Logf("%s\n%v", Heading, r)
		if !r.OK() {
			t.Errorf("seed %d: a promise was broken: %q", r.Seed, r.Examples)
		}
	}
}

func TestScheduleFollowsFromTheSeed(t *testing.T) {
	t.Parallel()
	of := func(seed uint64) []fault {
		return schedule(rand.New(rand.NewPCG(seed, 2)), 10*time.Minute, 3, 3)
	}
	if !slices.Equal(of(1), of(1)) || slices.Equal(of(1), of(2)) {
		t.Error("the same seed must give the same faults, another one others")
	}
	kinds := map[kind]int{}
	for _, f := range of(1) {
		kinds[f.kind]++
	}
	if len(kinds) != len(repertoire) {
		t.Errorf("ten minutes show %v, want every kind", kinds)
	}
}

func TestScheduleBreaksOneServerAtATime(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		var until time.Duration
		for _, f := range schedule(rand.New(rand.NewPCG(seed, 2)), time.Minute, 3, 3) {
			if !f.kind.ofServer() {
				continue
			}
			if f.at < until {
				t.Fatalf("seed %d: %v comes before the one before is over", seed, f)
			}
			until = f.at + f.lasts + recovery
		}
	}
}
