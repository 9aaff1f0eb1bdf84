package strategies

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"
)

func BenchmarkStepClosed(b *testing.B) {
	inputs := map[string]Input{
		"due":     {Kind: InDue},
		"failure": {Kind: InFailure, ID: "01JABCDEFGHJKMNPQRSTVW", Class: ClassTransient},
		"success": {Kind: InSuccess, ID: "01JABCDEFGHJKMNPQRSTVW"},
	}
	for name, in := range inputs {
		b.Run(name, func(b *testing.B) {
			set := NewBreakerSet("p", DefaultBreaker())
			set.Step("orders.new", Input{Kind: InFailure, Now: 1, ID: "first", Delivery: 1})
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				in.Now, in.Delivery = int64(n)*int64(time.Second), n // one message alone never trips
				set.Step("orders.new", in)
			}
		})
	}
}

func BenchmarkDelay(b *testing.B) {
	r, err := RetryPreset("patient")
	if err != nil {
		b.Fatal(err)
	}
	for n := 0; b.Loop(); n++ {
		r.Delay("01JABCDEFGHJKMNPQRSTVW", n%20+1)
	}
}

func BenchmarkExecute(b *testing.B) {
	r, err := RetryPreset("fast")
	if err != nil {
		b.Fatal(err)
	}
	circuit, err := NewCircuitBreaker(CircuitConfig{Name: "b", Breaker: DefaultBreaker()})
	if err != nil {
		b.Fatal(err)
	}
	s := Strategy[int]{Retry: r, Breaker: circuit}
	work := func(context.Context) (int, error) { return 1, nil }
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Execute(context.Background(), s, work); err != nil {
			b.Fatal(err)
		}
	}
}

// TestUsualPathsDoNotAllocate is not parallel: it counts the allocations of the process.
func TestUsualPathsDoNotAllocate(t *testing.T) {
	set := NewBreakerSet("p", DefaultBreaker())
	set.Step("k", Input{Kind: InFailure, Now: 1, ID: "a", Delivery: 1})
	delivery := 1
	step := func(in Input) func() {
		return func() {
			delivery++
			in.Now, in.Delivery = int64(delivery)*int64(time.Minute), delivery
			set.Step("k", in)
		}
	}
	circuit := newCircuit(t, nil)
	strategy := Strategy[int]{Retry: preset(t, "fast"), Breaker: circuit}
	work := func(context.Context) (int, error) { return 1, nil }
	for name, f := range map[string]func(){
		"failure": step(Input{Kind: InFailure, ID: "a"}),
		"success": step(Input{Kind: InSuccess, ID: "a"}),
		"due":     step(Input{Kind: InDue, ID: "a"}),
		"execute": func() {
			if _, err := Execute(context.Background(), strategy, work); err != nil {
				t.Fatal(err)
			}
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestMemoryPerKey is not parallel: it reads the heap.
func TestMemoryPerKey(t *testing.T) {
	const keys = 100_000
	names, ids := make([]string, keys), make([]string, keys)
	for i := range keys {
		names[i], ids[i] = fmt.Sprintf("orders.tenant-%06d", i), fmt.Sprintf("01JABCDEFGHJKM%08d", i)
	}
	before := heapInUse()
	set := NewBreakerSet("p", DefaultBreaker())
	for i := range keys {
		set.Step(names[i], Input{Kind: InFailure, Now: int64(i), ID: ids[i], Delivery: 1})
	}
	perKey := (heapInUse() - before) / keys
	t.Logf("%d B per key that failed once", perKey)
	if perKey > 270 {
		t.Errorf("a key that failed once takes %d B, want about 256 at most", perKey)
	}
	if set.Len() != keys || set.Overflowed() {
		t.Errorf("%d keys, overflowed %v", set.Len(), set.Overflowed())
	}
	runtime.KeepAlive(names)
	runtime.KeepAlive(ids)
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
