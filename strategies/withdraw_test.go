package strategies

import (
	"strconv"
	"testing"
)

// A release that reached nobody frees its place at once and says nothing about the handler,
// however many there are.
func TestWithdrawnReleases(t *testing.T) {
	t.Run("half open", func(t *testing.T) {
		r := newRig(t, func(c *BreakerConfig) { c.Evidence = EvidenceReport })
		r.trip()
		out := r.halfOpen(100)
		for i := range 20 {
			if out.Want != 1 || !out.Probing {
				t.Fatalf("after %d withdrawn probes %+v", i, out)
			}
			id := strconv.Itoa(i)
			r.release(id, 2)
			if out := r.tick(100); out.Want != 0 {
				t.Fatalf("a second probe beside the first: %+v", out)
			}
			if out := r.step(Input{Kind: InWithdrawn, ID: id, Delivery: 2}); out.Next == 0 || out.Next > int64(r.now) || out.ProbeResult != "" {
				t.Errorf("the free place is not looked at: %+v", out)
			}
			out = r.tick(100)
		}
		r.in(HalfOpen)
		r.release("answers", 2)
		r.succeed("answers", 2)
		r.in(Recovering)
	})
	t.Run("recovering", func(t *testing.T) {
		r := newRig(t, func(c *BreakerConfig) { c.Evidence = EvidenceReport })
		out := r.recovering(10)
		for i := range 9 {
			if out.Want < 1 {
				t.Fatalf("after %d withdrawn releases %+v", i, out)
			}
			r.release(strconv.Itoa(i), 2)
			r.step(Input{Kind: InWithdrawn, ID: strconv.Itoa(i), Delivery: 2})
			out = r.tick(10)
		}
	})
	t.Run("unknown", func(t *testing.T) {
		r := newRig(t, func(c *BreakerConfig) { c.Evidence = EvidenceReport })
		r.step(Input{Kind: InWithdrawn, ID: "a", Delivery: 2})
		r.in(Closed)
		r.trip()
		r.step(Input{Kind: InWithdrawn, ID: "a", Delivery: 2})
		r.in(Open)
	})
}
