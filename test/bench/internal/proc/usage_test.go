package proc

import (
	"os"
	"testing"
	"time"
)

const (
	stat   = "17 (a) b (c) S 1 17 17 0 -1 4194304 100 0 0 0 250 50 7 8 20 0 9 0 100 1000 200 18446744073709551615"
	status = "Name:\ta) b (c\nVmPeak:\t  900 kB\nVmHWM:\t  700 kB\nVmRSS:\t  300 kB\nThreads:\t9\n"
)

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := parse([]byte(stat), []byte(status))
	want := Usage{CPU: 3 * time.Second, RSS: 300 << 10, Peak: 700 << 10}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for name, c := range map[string]struct{ stat, status string }{
		"short":     {"17 (x) S 1 2", status},
		"no number": {"17 (x) S 1 17 17 0 -1 4194304 100 0 0 0 a b 7 8", status},
		"ended":     {stat, "Name:\tx\n"},
		"no size":   {stat, "VmRSS:\t 300 MB\nVmHWM:\t1 kB\n"},
	} {
		if got, err := parse([]byte(c.stat), []byte(c.status)); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
}

func TestReadsThisProcess(t *testing.T) {
	t.Parallel()
	u, err := Read(os.Getpid())
	if err != nil || u.RSS < 1<<20 || u.Peak < 1<<20 {
		t.Errorf("got %+v, %v", u, err)
	}
}
