package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/schemas"
)

// bulk reports n failures as fast as the servers take them, each with the delay that of
// says.
func (i *installation) bulk(ctx context.Context, n int, name string, of func(int) time.Duration) error {
	js, err := jetstream.New(i.nc, jetstream.WithPublishAsyncMaxPending(4000))
	if err != nil {
		return err
	}
	var futures []jetstream.PubAckFuture
	for k := range n {
		m := nats.NewMsg(subjects.Failed(fmt.Sprintf("jobs.plain.%d", k%1000)))
		m.Data = make([]byte, 256)
		m.Header.Set(schemas.HeaderID, name+strconv.Itoa(k))
		m.Header.Set("Asked-Delay", of(k).String())
		m.Header.Set(schemas.HeaderRetryAfter, of(k).String())
		f, err := js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute))
		if err != nil {
			return err
		}
		futures = append(futures, f)
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// lateness is by how much each redelivery was stored after its time.
type lateness struct {
	all        []time.Duration // sorted
	early      int
	twice      int
	began, end time.Time // of the redeliveries
}

func (l *lateness) String() string {
	n := len(l.all)
	if n == 0 {
		return "nothing was redelivered"
	}
	at := func(permille int) time.Duration {
		return l.all[min(n-1, n*permille/1000)].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("%d redelivered, %d early, %d twice; late p50 %v, p99 %v, p99.9 %v, latest %v", n, l.early, l.twice, at(500), at(990), at(999), l.all[n-1].Round(time.Millisecond))
}

// await waits until the target holds n redeliveries and returns how late they were.
func (i *installation) await(ctx context.Context, n int) (*lateness, error) {
	for {
		s, err := i.js.Stream(ctx, "JOBS")
		if err == nil && s.CachedInfo().State.Msgs >= uint64(n) {
			break
		}
		if !pause(ctx, 200*time.Millisecond) {
			return nil, errors.Join(errors.New("not everything was redelivered in time"), ctx.Err())
		}
	}
	l := &lateness{}
	seen := map[string]bool{}
	err := i.read(ctx, "JOBS", func(m *jetstream.RawStreamMsg) {
		if l.began.IsZero() {
			l.began = m.Time
		}
		l.end = m.Time
		id := m.Header.Get(schemas.HeaderID)
		if seen[id] {
			l.twice++
			return
		}
		seen[id] = true
		failed, _ := time.Parse(time.RFC3339Nano, m.Header.Get("Recovery-First-Failed-At"))
		delay, _ := time.ParseDuration(m.Header.Get("Asked-Delay"))
		late := m.Time.Sub(failed.Add(delay))
		if late < 0 {
			l.early++
		}
		l.all = append(l.all, late)
	})
	slices.Sort(l.all)
	return l, err
}

// Takeover kills the owner of half of the shards with SIGKILL while n failures wait, and
// says how late their redeliveries were.
func Takeover(ctx context.Context, dir string, servers, n int, log func(string, ...any)) error {
	i, err := install(ctx, dir, servers, 2, policies)
	if err != nil {
		return err
	}
	defer i.uninstall()
	if err := i.stream(ctx, "JOBS", "jobs.>"); err != nil {
		return err
	}
	pause(ctx, 2*time.Second) // for the shards to be shared
	begin := time.Now()
	if err := i.bulk(ctx, n, "t", func(k int) time.Duration { return 15*time.Second + time.Duration(k%20000)*time.Millisecond }); err != nil {
		return err
	}
	log("%d failures stored in %v, they are due from 15 s to 35 s", n, time.Since(begin).Round(time.Millisecond))
	pause(ctx, time.Until(begin.Add(20*time.Second)))
	i.daemons[0].kill()
	log("%s killed after %v", i.daemons[0].name, time.Since(begin).Round(time.Millisecond))
	l, err := i.await(ctx, n)
	if err == nil {
		log("%v", l)
	}
	return err
}

// Rolling restarts all daemons one after the other under a load of rate failures a second,
// and says how late the redeliveries were.
func Rolling(ctx context.Context, dir string, servers, rate int, log func(string, ...any)) error {
	i, err := install(ctx, dir, servers, 3, policies)
	if err != nil {
		return err
	}
	defer i.uninstall()
	if err := i.stream(ctx, "JOBS", "jobs.>"); err != nil {
		return err
	}
	pause(ctx, 2*time.Second)
	over, sent := make(chan struct{}), make(chan int, 1)
	fault := make(chan error, 1)
	go func() {
		n := 0
		defer func() { sent <- n }()
		for {
			select {
			case <-over:
				return
			default:
			}
			begin := time.Now()
			if err := i.bulk(ctx, rate/10, "r"+strconv.Itoa(n)+"-", func(k int) time.Duration { return time.Second + time.Duration(k%80)*100*time.Millisecond }); err != nil {
				fault <- err
				return
			}
			n += rate / 10
			pause(ctx, time.Until(begin.Add(100*time.Millisecond)))
		}
	}()
	pause(ctx, 5*time.Second)
	for _, d := range i.daemons {
		took := d.terminate()
		begin := time.Now()
		if err := errors.Join(d.start(), d.waitReady(ctx)); err != nil {
			return err
		}
		log("%s stopped in %v and was ready again after %v", d.name, took.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
		pause(ctx, 4*time.Second)
	}
	close(over)
	n := <-sent
	select {
	case err := <-fault:
		return err
	default:
	}
	l, err := i.await(ctx, n)
	if err == nil {
		log("%d failures a second, %v", rate, l)
	}
	return err
}

// Pace says how many failures a second are recovered with one, two and three daemons, and
// how much CPU each process takes meanwhile.
func Pace(ctx context.Context, dir string, servers, n int, log func(string, ...any)) error {
	for daemons := 1; daemons <= 3; daemons++ {
		if err := pace(ctx, fmt.Sprintf("%s/%d", dir, daemons), servers, daemons, n, log); err != nil {
			return err
		}
	}
	return nil
}

func pace(ctx context.Context, dir string, servers, daemons, n int, log func(string, ...any)) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	i, err := install(ctx, dir, servers, daemons, policies)
	if err != nil {
		return err
	}
	defer i.uninstall()
	if err := i.stream(ctx, "JOBS", "jobs.>"); err != nil {
		return err
	}
	pause(ctx, 3*time.Second)
	all := append(slices.Clone(i.servers), i.daemons...)
	before := make([]time.Duration, len(all))
	for k, p := range all {
		before[k] = cpu(p.pid())
	}
	mine, begin := cpu(os.Getpid()), time.Now()
	if err := i.bulk(ctx, n, "p", func(int) time.Duration { return 500 * time.Millisecond }); err != nil {
		return err
	}
	stored := time.Since(begin)
	for { // a cheap look, so that the measurement is not of itself
		s, err := i.js.Stream(ctx, "JOBS")
		if err == nil && s.CachedInfo().State.Msgs >= uint64(n) {
			break
		}
		if !pause(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
	took := time.Since(begin)
	var shares []string
	for k, p := range all {
		shares = append(shares, fmt.Sprintf("%s %.0f %%", p.name, 100*float64(cpu(p.pid())-before[k])/float64(took)))
	}
	shares = append(shares, fmt.Sprintf("reporter %.0f %%", 100*float64(cpu(os.Getpid())-mine)/float64(took)))
	log("%d daemons: %d failures reported in %.1f s, recovered in %.1f s: %.0f/s; CPU of a core: %s",
		daemons, n, stored.Seconds(), took.Seconds(), float64(n)/took.Seconds(), strings.Join(shares, ", "))
	return nil
}

// cpu is the time a process has used so far, where the system tells it in /proc.
func cpu(pid int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), ") ") // the name before may hold spaces
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	const tick = 10 * time.Millisecond
	return time.Duration(user+system) * tick
}
