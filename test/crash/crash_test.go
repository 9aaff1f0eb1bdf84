// Package crash kills the daemon and the server while work waits, and accounts for every id.
package crash

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/bus/embedded"
	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

var (
	subjects = schemas.Subjects{Prefix: schemas.DefaultPrefix}
	seed     = flag.Uint64("crash.seed", uint64(time.Now().UnixNano()), "seed of delays and of the moment of the kill")
)

// roleVariable makes this test binary run as one of the processes that get killed.
const roleVariable = "RECOVERYD_CRASH_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(roleVariable) {
	case "":
		flag.Parse()
		os.Exit(m.Run())
	case "server":
		err = runServer(os.Args[1], os.Args[2])
	case "daemon":
		err = runDaemon(os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func untilTerminated() context.Context {
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	return ctx
}

func runServer(dir, addr string) error {
	s, err := embedded.Start(embedded.Options{Dir: dir, Addr: addr})
	if err != nil {
		return err
	}
	fmt.Println("ready", s.URL())
	<-untilTerminated().Done()
	s.Stop()
	return nil
}

func runDaemon(url string) error {
	ctx := untilTerminated()
	nc, err := bus.Connect(bus.Options{Servers: url, Name: "daemon"})
	if err != nil {
		return err
	}
	defer nc.Close()
	b, err := bus.New(nc, bus.Config{Subjects: subjects, StreamPrefix: "RECOVERY"})
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.Ensure(ctx); err != nil {
		return err
	}
	key, err := b.SealKey(ctx)
	if err != nil {
		return err
	}
	none := "none"
	delay, hint := schemas.Duration(500*time.Millisecond), schemas.Duration(time.Minute)
	p, err := handlers.CompilePolicies(schemas.PolicyDocument{Version: 1, Policies: []schemas.PolicySpec{guarded(), {
		Name: "all", Subjects: []string{">"}, Retry: schemas.RetrySpec{Jitter: &none, InitialDelay: &delay, MaxHint: &hint},
		Breaker: schemas.BreakerSpec{Disabled: true}, Outcomes: schemas.OutcomesAttempts,
	}}}, subjects)
	if err != nil {
		return err
	}
	e, err := handlers.New(handlers.Config{
		Bus: b, Dead: b, Subjects: subjects, Policies: p, SealKey: key, Created: b.Created(), Shards: b.Partitions(), Observer: faults{},
	})
	if err != nil {
		return err
	}
	endpoints := map[string]bus.Endpoint{}
	for name, answer := range e.API() {
		endpoints[name] = answer
	}
	withdraw, err := b.Serve("0.0.0", endpoints)
	if err != nil {
		return err
	}
	defer withdraw()
	fmt.Println("ready", url)
	return e.Run(ctx)
}

// faults writes to standard error what went wrong in the daemon.
type faults struct{}

func (faults) Observe(e handlers.Event) {
	if e.Kind == handlers.EventAlarm {
		fmt.Fprintf(os.Stderr, "ALARM %s %s: %v\n", e.Op, e.Subject, e.Err)
	}
}

// process is a child that can be killed and started again.
type process struct {
	t    *testing.T
	role string
	args []string
	cmd  *exec.Cmd
}

func start(t *testing.T, role string, args ...string) (*process, string) {
	t.Helper()
	p := &process{t: t, role: role, args: args}
	url := p.start()
	t.Cleanup(p.kill)
	return p, url
}

func (p *process) start() (url string) {
	p.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmd = exec.Command(exe, p.args...)
	p.cmd.Env = append(os.Environ(), roleVariable+"="+p.role)
	p.cmd.Stderr = p
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if err != nil || !ok {
		p.t.Errorf("%s said %q: %v", p.role, line, err)
	}
	return url
}

// Write shows what a child writes to standard error. An alarm fails the test.
func (p *process) Write(b []byte) (int, error) {
	if text := strings.TrimSpace(string(b)); strings.Contains(text, "ALARM") {
		p.t.Errorf("%s: %s", p.role, text)
	} else {
		p.t.Logf("%s: %s", p.role, text)
	}
	return len(b), nil
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be dead already
	_ = p.cmd.Wait()
}

func client(t *testing.T, url string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := bus.Connect(bus.Options{Servers: url, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// work is one reported failure and what became of it.
type work struct {
	earliest time.Time // its redelivery must not be stored before
	arrived  int
}

type account struct {
	mu    sync.Mutex
	works map[string]*work
	early []string
	late  time.Duration
	left  int
	done  chan struct{}
}

// arrive takes a redelivery.
func (a *account) arrive(m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	id := m.Headers().Get(schemas.HeaderID)
	w := a.works[id]
	if w == nil {
		a.early = append(a.early, "unknown id "+id)
		return
	}
	if w.arrived++; w.arrived == 1 {
		if a.left--; a.left == 0 {
			close(a.done)
		}
	}
	if meta.Timestamp.Before(w.earliest) {
		a.early = append(a.early, fmt.Sprintf("%s by %s", id, w.earliest.Sub(meta.Timestamp)))
	}
	a.late = max(a.late, meta.Timestamp.Sub(w.earliest))
}

// report publishes failures whose delays lie between two bounds, repeating each until its
// PubAck came.
func (a *account) report(t *testing.T, js jetstream.JetStream, random *rand.Rand, name string, n int, from, to time.Duration) {
	t.Helper()
	type failure struct {
		id    string
		delay time.Duration
	}
	list := make([]failure, n)
	a.mu.Lock()
	for i := range list {
		list[i] = failure{fmt.Sprintf("%s-%d", name, i), from + time.Duration(random.Int64N(int64(to-from)))}
		a.works[list[i].id] = &work{}
	}
	a.left += n
	a.mu.Unlock()
	var wg sync.WaitGroup
	const lanes = 64
	for lane := range lanes {
		wg.Go(func() {
			for i := lane; i < n; i += lanes {
				f := list[i]
				m := nats.NewMsg(subjects.Failed(fmt.Sprintf("jobs.%s.%d", name, i%50)))
				m.Data = []byte(strings.Repeat("x", 200) + f.id)
				m.Header.Set(schemas.HeaderID, f.id)
				m.Header.Set(schemas.HeaderOccurredAt, time.Now().UTC().Format(time.RFC3339Nano)) // a repeat of the report is the same failure
				m.Header.Set(schemas.HeaderRetryAfter, strconv.FormatFloat(f.delay.Seconds(), 'f', 3, 64))
				a.publish(t, js, m, f.id, f.delay)
			}
		})
	}
	wg.Wait()
}

func (a *account) publish(t *testing.T, js jetstream.JetStream, m *nats.Msg, id string, delay time.Duration) {
	var first time.Time
	for {
		if first.IsZero() {
			first = time.Now()
			a.mu.Lock()
			// The stream's time of the report is not before this moment, nor is a repeat's.
			a.works[id].earliest = first.Add(delay.Truncate(time.Millisecond))
			a.mu.Unlock()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_, err := js.PublishMsg(ctx, m)
		cancel()
		if err == nil {
			return
		}
		if t.Context().Err() != nil {
			t.Errorf("report %s: %v", id, err)
			return
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			time.Sleep(50 * time.Millisecond) // the server is being killed; there is no event to wait for
		}
	}
}

// TestKilled kills a process with SIGKILL at a random moment while 20,000 failures wait, half
// of them in memory and half in the ledger: every one comes back, none early, none twice.
func TestKilled(t *testing.T) {
	n, far := 10_000, 30*time.Second
	if testing.Short() {
		n, far = 1_000, 12*time.Second
	}
	for _, victim := range []string{"daemon", "server"} {
		t.Run(victim, func(t *testing.T) {
			t.Parallel()
			killed(t, victim, n, far)
		})
	}
}

func killed(t *testing.T, victim string, n int, far time.Duration) {
	random := rand.New(rand.NewPCG(*seed, uint64(len(victim)*int(victim[0]))))
	moment := time.Duration(random.Int64N(int64(14 * time.Second)))
	t.Logf("seed %d: %s is killed after %s", *seed, victim, moment.Round(time.Millisecond))
	dir := t.TempDir()
	addrs, err := embedded.FreeAddrs(1) // it starts there again
	if err != nil {
		t.Fatal(err)
	}
	server, url := start(t, "server", dir, addrs[0])
	daemon, _ := start(t, "daemon", url)
	_, js := client(t, url)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "JOBS", Subjects: []string{"jobs.>"}}); err != nil {
		t.Fatal(err)
	}
	a := &account{works: map[string]*work{}, done: make(chan struct{})}
	a.left = 1 // until all are reported
	consumer, err := js.OrderedConsumer(t.Context(), "JOBS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	consuming, err := consumer.Consume(a.arrive)
	if err != nil {
		t.Fatal(err)
	}
	defer consuming.Stop()

	killing := make(chan struct{})
	go func() {
		defer close(killing)
		time.Sleep(moment) // the moment is the point of the test
		p := map[string]*process{"daemon": daemon, "server": server}[victim]
		p.kill()
		p.start()
	}()
	a.report(t, js, random, "near", n, time.Second, 4*time.Second)
	a.report(t, js, random, "far", n, 8*time.Second, far)
	a.mu.Lock()
	if a.left--; a.left == 0 {
		close(a.done)
	}
	a.mu.Unlock()
	<-killing
	select {
	case <-a.done:
	case <-time.After(far + 100*time.Second):
	}
	a.check(t, js, 2*n)
	settled(t, js)
}

// check accounts for every id, by what the target stream holds.
func (a *account) check(t *testing.T, js jetstream.JetStream, want int) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	lost, twice := 0, 0
	for _, w := range a.works {
		switch {
		case w.arrived == 0:
			lost++
		case w.arrived > 1:
			twice++
		}
	}
	if lost+twice+len(a.early) > 0 {
		t.Errorf("of %d: %d lost, %d twice, %d early, for example %q", want, lost, twice, len(a.early), a.early[:min(3, len(a.early))])
	}
	s, err := js.Stream(context.Background(), "JOBS")
	if err != nil {
		t.Fatal(err)
	}
	if held := s.CachedInfo().State.Msgs; held != uint64(want) {
		t.Errorf("the target holds %d messages, want %d", held, want)
	}
	t.Logf("%d redelivered, latest %s after its time", want-lost, a.late.Round(time.Millisecond))
}

// settled waits until nothing is left where work waits.
func settled(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for name := range js.StreamNames(context.Background()).Name() {
		if name != "RECOVERY_FAILED" && !strings.HasPrefix(name, "RECOVERY_LEDGER_") {
			continue
		}
		for {
			s, err := js.Stream(context.Background(), name)
			if err == nil && s.CachedInfo().State.Msgs == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%s still holds %d messages, %v", name, s.CachedInfo().State.Msgs, err)
				break
			}
			time.Sleep(200 * time.Millisecond) // purges are not announced
		}
	}
}
