package handlers

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestABusyLoopTurnsOnTheBeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p pacer
		defer p.stop()
		ctx, cancel := context.WithCancel(t.Context())
		waited := func() time.Duration {
			t.Helper()
			start := time.Now()
			if !p.wait(ctx) {
				t.Fatal("it gave up")
			}
			return time.Since(start)
		}
		if d := waited(); d != 0 {
			t.Errorf("the first turn waits %s", d)
		}
		time.Sleep(300 * time.Microsecond)
		p.began()
		for range 3 {
			if d := waited(); d == 0 || d > tact || time.Now().Truncate(tact) != time.Now() {
				t.Errorf("a busy loop waits %s, until %s", d, time.Now())
			}
			p.began()
		}
		time.Sleep(tact)
		if d := waited(); d != 0 {
			t.Errorf("after a pause it waits %s", d)
		}
		p.began()
		cancel()
		if p.wait(ctx) {
			t.Error("it turns although it was stopped")
		}
	})
}
