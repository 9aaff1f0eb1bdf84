package crash

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/handlers"
	"github.com/recoveryd/recoveryd/schemas"
)

var letters = flag.Int("crash.letters", 30_000, "dead letters that are replayed")

// operator asks a replica that recovers nothing itself: any may be asked.
type operator struct {
	t   *testing.T
	api map[string]handlers.APIFunc
}

func newOperator(t *testing.T, b *bus.Bus) *operator {
	key, err := b.SealKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e, err := handlers.New(handlers.Config{
		Bus: b, Dead: b, Subjects: subjects, Policies: handlers.DefaultPolicies(), SealKey: key, Created: b.Created(), Shards: b.Partitions(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &operator{t, e.API()}
}

func (o *operator) ask(name string, request, reply any) {
	o.t.Helper()
	data, err := json.Marshal(request)
	if err != nil {
		o.t.Fatal(err)
	}
	answer, err := o.api[name](o.t.Context(), data)
	if err == nil {
		data, err = json.Marshal(answer)
	}
	if err == nil {
		err = json.Unmarshal(data, reply)
	}
	if err != nil {
		o.t.Fatalf("%s: %v", name, err)
	}
}

// until looks at a job until it is as wanted.
func (o *operator) until(id string, what string, ok func(schemas.JobStatus) bool) (j schemas.JobStatus) {
	o.t.Helper()
	for deadline := time.Now().Add(4 * time.Minute); ; time.Sleep(20 * time.Millisecond) { // jobs are looked at, not announced
		j = schemas.JobStatus{}
		o.ask("replay.show", schemas.JobNameRequest{ID: id}, &j)
		if ok(j) {
			return j
		}
		if time.Now().After(deadline) {
			o.t.Fatalf("the job is not %s in time: %+v", what, j)
		}
	}
}

func bury(t *testing.T, b *bus.Bus, n int) {
	t.Helper()
	var wg sync.WaitGroup
	places := make(chan struct{}, 2048)
	at := time.Now()
	for i := range n {
		text := fmt.Sprintf("timeout after %d ms", i)
		d := schemas.DeadLetter{
			Work: schemas.Work{
				ID: "letter-" + strconv.Itoa(i), Subject: fmt.Sprintf("jobs.%d", i%50), Attempt: 3, Delivery: 3, Fallback: schemas.NoFallback,
				FirstFailedAt: at, LastFailedAt: at, Error: text, Class: schemas.ClassTimeout, Body: []byte(strings.Repeat("x", 200)),
			},
			Reason: schemas.ReasonExhausted, Cause: deadletter.Cause(schemas.ReasonExhausted, text), Policy: "all", DeadAt: at,
		}
		places <- struct{}{}
		wg.Add(1)
		b.Publish(subjects.DeadLetterMessage(&d), func(_ schemas.Ack, err error) {
			if err != nil {
				t.Errorf("store letter %d: %v", i, err)
			}
			<-places
			wg.Done()
		})
	}
	wg.Wait()
}

// A replay goes on where it was when its daemon is killed three times: every letter is
// replayed, the target holds each exactly once, the store is empty, and the counts add up.
func TestReplayKilled(t *testing.T) {
	n := *letters
	if testing.Short() {
		n = min(n, 5000)
	}
	_, url := start(t, "server", t.TempDir(), "127.0.0.1:0")
	daemon, _ := start(t, "daemon", url)
	nc, err := bus.Connect(bus.Options{Servers: url, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	b, err := bus.New(nc, bus.Config{Subjects: subjects, StreamPrefix: "RECOVERY"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "JOBS", Subjects: []string{"jobs.>"}})
	if err != nil {
		t.Fatal(err)
	}
	bury(t, b, n)
	o := newOperator(t, b)
	var reply schemas.JobReply
	random := rand.New(rand.NewPCG(*seed, 7))
	began := time.Now()
	o.ask("replay.create", schemas.JobRequest{FollowMS: 2000}, &reply)
	id := reply.Job.ID
	for kill := range int64(3) {
		share := (2*kill + 1) * int64(n) / 6
		j := o.until(id, "on its way", func(j schemas.JobStatus) bool { return j.Done >= share })
		time.Sleep(time.Duration(random.Int64N(int64(200 * time.Millisecond)))) // the moment is the point of the test
		daemon.kill()
		t.Logf("killed after %d of %d were noted as replayed, and a while", j.Done, n)
		daemon.start()
	}
	j := o.until(id, "over", func(j schemas.JobStatus) bool { return j.State != "running" && j.State != "following" })
	t.Logf("%d letters and three kills in %s, %d found stored already", j.Done, time.Since(began).Round(time.Millisecond), j.Repeated)
	f := j.Followed
	if j.State != "done" || j.Done != int64(n) || len(j.Skipped) != 0 || f.Presumed != int64(n) || f.Pending+f.Failed+f.Open+f.Recovered != 0 {
		t.Errorf("job %+v", j)
	}
	if left, err := b.DeadState(context.Background()); err != nil || left.Messages != 0 {
		t.Errorf("%d letters are left, %v", left.Messages, err)
	}
	each(t, js, jobs, n)
	if most := peak(daemon); most > 256<<10 {
		t.Errorf("the daemon took %d KiB of memory, at most 256 MiB are promised", most)
	} else {
		t.Logf("the daemon took %d KiB of memory", most)
	}
}

// peak is the most memory that a process took, in KiB; 0 where the system does not tell.
func peak(p *process) (n int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			_, err = fmt.Sscan(rest, &n)
		}
	}
	return n
}

// each checks that a stream holds every letter exactly once.
func each(t *testing.T, js jetstream.JetStream, s jetstream.Stream, n int) {
	t.Helper()
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs != uint64(n) {
		t.Errorf("the target holds %d messages, want %d", info.State.Msgs, n)
	}
	consumer, err := js.OrderedConsumer(t.Context(), "JOBS", jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]int, n)
	for left := int(info.State.Msgs); left > 0; {
		batch, err := consumer.Fetch(min(left, 1000), jetstream.FetchMaxWait(20*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			seen[m.Headers().Get(schemas.HeaderID)]++
			left--
		}
	}
	for i := range n {
		if id := "letter-" + strconv.Itoa(i); seen[id] != 1 {
			t.Errorf("%s is there %d times", id, seen[id])
		}
	}
}
