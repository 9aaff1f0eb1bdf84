package strategies

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// genConfig draws small numbers, so that everything happens soon.
func genConfig(t *rapid.T) BreakerConfig {
	c := DefaultBreaker()
	c.Evidence = rapid.SampledFrom([]Evidence{EvidenceSilence, EvidenceReport, EvidenceAck}).Draw(t, "evidence")
	c.FailureThreshold = rapid.IntRange(1, 6).Draw(t, "threshold")
	c.MinDistinct = rapid.IntRange(1, min(3, c.FailureThreshold)).Draw(t, "distinct")
	c.Probes = rapid.IntRange(1, 3).Draw(t, "probes")
	c.Successes = rapid.IntRange(1, c.Probes).Draw(t, "successes")
	c.RampMax = rapid.IntRange(1, 8).Draw(t, "ramp_max")
	c.OpenMultiplier = rapid.SampledFrom([]float64{1, 2}).Draw(t, "multiplier")
	c.Window = 2 * time.Hour
	return c
}

// world draws inputs that could have come from real messages, duplicates and late ones among them.
type world struct {
	now      int64
	occurred map[string]int64 // a record that is delivered twice occurred once
}

func (w *world) draw(t *rapid.T, generation int64) Input {
	w.now += rapid.SampledFrom([]int64{0, 1, 1e6, 3e9, 5e9, 30e9, 70e9}).Draw(t, "pause")
	in := Input{
		Kind:     InputKind(rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2, 3, 3, 3, 4, 4, 5}).Draw(t, "kind")),
		Now:      w.now,
		ID:       rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "id"),
		Delivery: rapid.IntRange(1, 5).Draw(t, "delivery"),
		Lane:     rapid.SampledFrom([]int{0, 1, 9}).Draw(t, "lane"),
	}
	switch in.Kind {
	case InFailure, InSuccess:
		in.Generation = rapid.SampledFrom([]int64{0, max(0, generation-1), generation, generation}).Draw(t, "generation")
		in.Class = rapid.SampledFrom([]Class{"", "", ClassTimeout, ClassThrottled, ClassPermanent, ClassIgnored}).Draw(t, "class")
		in.Hint = rapid.SampledFrom([]time.Duration{0, 0, 0, time.Minute, 5 * time.Minute, time.Hour}).Draw(t, "hint")
		if _, known := w.occurred[name(in)]; !known {
			w.occurred[name(in)] = w.now - rapid.Int64Range(0, 90e9).Draw(t, "ago")
		}
		in.OccurredAt = w.occurred[name(in)]
	case InOperator:
		if rapid.IntRange(0, 3).Draw(t, "rarely") > 0 {
			in.Kind = InTick
			break
		}
		in.Op = Operation{To: State(rapid.IntRange(0, int(states)).Draw(t, "to")), Actor: "eve"}
		if rapid.Bool().Draw(t, "limited") {
			in.Op.Until = w.now + 20e9
		}
	}
	return in
}

// Invariants 1, 2 and 4 to 6 and 8, beside the reference model.
func TestBreakerIsTheReference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cfg := genConfig(t)
		set := NewBreakerSet("test", cfg)
		model := &reference{c: cfg, key: rigKey}
		w := &world{now: 1_000 * int64(time.Hour), occurred: map[string]int64{}}
		// A key enters memory with its first failure; from then on both know everything.
		first := Input{Kind: InFailure, Now: w.now, OccurredAt: w.now, ID: "first", Delivery: 1}
		set.Step(rigKey, first)
		model.step(first)
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			before, _ := set.Snapshot(rigKey)
			in := w.draw(t, before.Generation)
			got, want := set.Step(rigKey, in), model.step(in)
			after, _ := set.Snapshot(rigKey)
			compare(t, in, got, want, after, model)
			checkStep(t, cfg, in, got, before, after)
		}
	})
}

func compare(t *rapid.T, in Input, got, want Output, after Snapshot, m *reference) {
	type essence struct {
		State      State
		Generation int64
		Level      int
		Until      int64
		Leases     int
		Limit      int
		Verdict    Verdict
		Want       int
		Late       bool
		Probe      string
	}
	limit := m.limit
	if after.State != Recovering {
		limit, after.RampLimit = 0, 0
	}
	g := essence{after.State, after.Generation, after.Level, max(after.OpenUntil, after.Until), len(after.Leases), after.RampLimit, got.Verdict, got.Want, got.Late, got.ProbeResult}
	w := essence{m.state, m.generation, m.level, m.until, len(m.away), limit, want.Verdict, want.Want, want.Late, want.ProbeResult}
	if g != w {
		t.Fatalf("after %+v\n got %+v\nwant %+v", in, g, w)
	}
	if got.Duplicate && !want.Duplicate {
		t.Fatalf("%+v is no duplicate", in)
	}
}

func checkStep(t *rapid.T, c BreakerConfig, in Input, out Output, before, after Snapshot) {
	outcome := in.Kind == InFailure || in.Kind == InSuccess
	switch {
	case out.Changed != (after.Generation > before.Generation):
		t.Fatalf("changed is %v, generations %d and %d", out.Changed, before.Generation, after.Generation)
	case out.Changed && outcome != (out.Change.ID != ""):
		t.Fatalf("the transition does not name its record: %+v", out.Change)
	case before.State == Open && after.State == Open && before.OpenUntil != after.OpenUntil:
		t.Fatalf("open_until moved from %d to %d", before.OpenUntil, after.OpenUntil)
	case before.State == Open && out.Changed && in.Kind != InTick && in.Kind != InOperator:
		t.Fatalf("%+v ended an opening", in)
	case after.State == HalfOpen && len(after.Leases) > c.Probes:
		t.Fatalf("%d probes, want at most %d", len(after.Leases), c.Probes)
	case before.State == HalfOpen && out.Changed && outcome && len(before.Leases) == 0:
		t.Fatalf("%+v decided without a lease", in)
	case after.State == Recovering && out.Want > 0 && out.Want+len(after.Leases) > after.RampLimit:
		t.Fatalf("want %d beside %d with a limit of %d", out.Want, len(after.Leases), after.RampLimit)
	case after.State != Closed && after.State != ForcedOpen && after.State != Disabled && out.Next == 0:
		t.Fatalf("%s without a next look", after.State)
	}
}

// Invariant 2: every record twice in a row is the same as once.
func TestDuplicatesChangeNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cfg := genConfig(t)
		set := NewBreakerSet("test", cfg)
		w := &world{now: 1_000 * int64(time.Hour), occurred: map[string]int64{}}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			in := w.draw(t, set.Step(rigKey, Input{Kind: InDue}).Generation)
			set.Step(rigKey, in)
			if in.Kind != InFailure && in.Kind != InSuccess {
				continue
			}
			once, _ := set.Snapshot(rigKey)
			out := set.Step(rigKey, in)
			twice, _ := set.Snapshot(rigKey)
			if !reflect.DeepEqual(once, twice) {
				t.Fatalf("%+v, again: %+v\nonce  %+v\ntwice %+v", in, out, once, twice)
			}
		}
	})
}

// Invariant 3: any order of the same records of a closed breaker gives the same run, and the run is what the whole
// history says.
func TestRunDoesNotDependOnOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cfg := genConfig(t)
		cfg.Window = 20
		records := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Input {
			return Input{
				Kind: InputKind(rapid.SampledFrom([]int{0, 0, 0, 0, 1}).Draw(t, "kind")), ID: rapid.StringMatching("[abc]").Draw(t, "id"),
				Delivery: rapid.IntRange(1, 1_000).Draw(t, "delivery"), OccurredAt: rapid.Int64Range(1, 60).Draw(t, "at"), Now: 1_000,
			}
		}), 1, 30).Draw(t, "records")
		occurred := map[string]int64{}
		for i := range records { // one delivery has one outcome
			if at, known := occurred[name(records[i])]; known {
				records[i].OccurredAt = at
			}
			occurred[name(records[i])] = records[i].OccurredAt
		}
		one, other := &run{}, &run{}
		model := &reference{c: cfg}
		for _, in := range records {
			one.apply(in, &cfg)
			if in.Kind == InFailure {
				model.count(in)
			} else {
				model.success = max(model.success, in.OccurredAt)
			}
		}
		for _, in := range rapid.Permutation(records).Draw(t, "order") {
			other.apply(in, &cfg)
			other.apply(in, &cfg)
		}
		if fmt.Sprint(one) != fmt.Sprint(other) {
			t.Fatalf("%+v in one order, %+v in another", one, other)
		}
		all, messages := model.run()
		if want := len(all) >= cfg.FailureThreshold && len(messages) >= cfg.MinDistinct; one.tripped(&cfg) != want {
			t.Fatalf("tripped is %v; the run has %d failures of %d messages", !want, len(all), len(messages))
		}
		if len(one.deliveries) != min(len(all), cfg.FailureThreshold) || len(one.messages) != min(len(messages), cfg.MinDistinct) {
			t.Fatalf("run %+v of %d failures and %d messages", one, len(all), len(messages))
		}
	})
}

func (r *run) apply(in Input, c *BreakerConfig) {
	if in.Kind == InSuccess {
		r.succeed(in.OccurredAt)
		return
	}
	r.fail(Mark{in.OccurredAt, workHash(in.ID, in.Delivery)}, idHash(in.ID), c)
}

// Invariant 3 for rates.
func TestTotalsDoNotDependOnOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfN(rapid.Int64Range(0, 300), 1, mostRecent).Draw(t, "times")
		one, other := newTimeWindow(100), newTimeWindow(100)
		for i, at := range times {
			one.add(Mark{at, Hash(i)}, i%3 == 0)
		}
		order := make([]int, len(times))
		for i := range order {
			order[i] = i
		}
		for _, i := range rapid.Permutation(order).Draw(t, "order") {
			other.add(Mark{times[i], Hash(i)}, i%3 == 0)
			other.add(Mark{times[i], Hash(i)}, i%3 == 0)
		}
		newest, total, failed := slices.Max(times)/10, 0, 0
		for i, at := range times {
			if at/10 > newest-windowParts {
				total++
				if i%3 == 0 {
					failed++
				}
			}
		}
		for _, w := range []*timeWindow{one, other} {
			if gotTotal, gotFailed := w.totals(); gotTotal != total || gotFailed != failed {
				t.Fatalf("%d of %d failed, want %d of %d", gotFailed, gotTotal, failed, total)
			}
		}
	})
}

// Invariants 10 and 12: if deliveries succeed in the end, the lane empties and the key is forgotten; and a breaker
// that is stored and restored at any moment goes on as if nothing had happened.
func TestLaneEmptiesInTheEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cfg := genConfig(t)
		set, stored := NewBreakerSet("test", cfg), NewBreakerSet("test", cfg)
		w := &world{now: 1_000 * int64(time.Hour), occurred: map[string]int64{}}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			in := w.draw(t, set.Step(rigKey, Input{Kind: InDue}).Generation)
			if in.Op.Until == 0 && (in.Op.To == ForcedOpen || in.Op.To == Disabled) {
				in.Op.Until = w.now + 1 // without a limit it is the operator who ends it
			}
			set.Step(rigKey, in)
		}
		if s, known := set.Snapshot(rigKey); known {
			text := asJSON(t, s)
			var back Snapshot
			if err := json.Unmarshal(text, &back); err != nil {
				t.Fatal(err)
			}
			stored.Restore(back)
			if back, _ = stored.Snapshot(rigKey); !bytes.Equal(text, asJSON(t, back)) {
				t.Fatalf("stored %s\nrestored %s", text, asJSON(t, back))
			}
		}
		now := w.now
		for _, s := range []*BreakerSet{set, stored} {
			drain(t, s, now)
		}
	})
}

func asJSON(t *rapid.T, s Snapshot) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// drain looks only when the set asks for it, once it was told of the lane.
func drain(t *rapid.T, s *BreakerSet, now int64) {
	lane, released := 20, 0
	look := now
	for turn := 0; lane > 0 || s.Len() > 0; turn++ {
		if turn > 5_000 {
			snapshot, _ := s.Snapshot(rigKey)
			t.Fatalf("%d messages still held: %+v", lane, snapshot)
		}
		now = max(now, look)
		out := s.Step(rigKey, Input{Kind: InTick, Now: now, Lane: lane})
		for range out.Want {
			released++
			lane--
			id := fmt.Sprintf("held-%d", released)
			s.Step(rigKey, Input{Kind: InReleased, Now: now, ID: id, Delivery: 1})
			if s.cfg.Evidence.Reported() {
				s.Step(rigKey, Input{Kind: InSuccess, Now: now, ID: id, Delivery: 1, Generation: out.Generation})
			}
		}
		if look = s.Next(); look == 0 && s.Len() > 0 {
			snapshot, _ := s.Snapshot(rigKey)
			t.Fatalf("nobody looks again: %+v", snapshot)
		}
	}
}

func FuzzStep(f *testing.F) {
	f.Add([]byte("failure, tick and success"), uint8(1))
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}, uint8(0))
	f.Fuzz(func(t *testing.T, script []byte, kind uint8) {
		cfg := DefaultBreaker()
		cfg.MaxKeys, cfg.FailureThreshold, cfg.Probes = 2, 2, 2
		if kind%2 == 1 {
			cfg.Mode, cfg.Evidence = ModeRate, EvidenceReport
		}
		set := NewBreakerSet("fuzz", cfg)
		generations := map[string]int64{}
		for i := 0; i+3 < len(script); i += 4 {
			key := string('a' + rune(script[i+1]%4))
			at := rand.New(rand.NewPCG(uint64(script[i+2]), uint64(i)))
			out := set.Step(key, Input{
				Kind: InputKind(script[i] % 7), Now: int64(i) * int64(script[i+3]) * 1e8, ID: string(script[i+2 : i+3]),
				Delivery: int(script[i+3] % 8), Generation: at.Int64N(1<<40) - 5, OccurredAt: at.Int64() - 1<<62, Lane: int(script[i+3]) - 9,
				Class: Class(script[i+1 : i+2]), Hint: time.Duration(at.Int64()), Op: Operation{To: State(script[i+2] % 8), Until: at.Int64()},
			})
			if out.Want < 0 || out.Changed && out.Generation <= generations[out.Key] {
				t.Fatalf("%+v after generation %d", out, generations[out.Key])
			}
			generations[out.Key] = max(out.Generation, generations[out.Key])
			set.PickProbes(key, int(script[i]), []Candidate{{Seq: 1, ID: key}, {Seq: 2, ID: key}})
			if total := sum(set.Counts()); total != set.Len() || len(set.queue) > set.Len() {
				t.Fatalf("%d keys, %d counted, %d queued", set.Len(), total, len(set.queue))
			}
		}
	})
}

func sum(counts map[State]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}
