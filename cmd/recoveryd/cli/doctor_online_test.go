package cli

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recoveryd/recoveryd/bus"
)

// patient makes what a doctor measures the same in every run.
func patient(t *testing.T, url string) *session {
	t.Helper()
	s := newSession(t, "NATS_URL="+url)
	s.change = append(s.change, []change{
		{regexp.MustCompile(`round trip [0-9.]+(µs|ms)`), "round trip <span>"},
		{regexp.MustCompile(`within \d+ ms of the server`), "within <n> ms of the server"},
		{regexp.MustCompile(`account, which stores .*`), "account, which stores <size>"},
		{regexp.MustCompile(`(RECOVERY_(FAILED|DEAD)) [0-9.]+ \w+,`), "$1 <size>,"},
		{regexp.MustCompile(`(1 answers:) \S+`), "$1 <instance>"},
		{regexp.MustCompile(`by \S+@\S+,`), "by <actor>,"},
	}...)
	return s
}

func connected(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestDoctorWithoutADaemon(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	s := patient(t, server.URL())
	s.run("doctor")
	makeStreams(t, server.URL(), bus.Config{Replicas: 1, DeadMaxBytes: 1 << 20})
	s.run("doctor")

	js := connected(t, server.URL())
	changed, err := js.Stream(t.Context(), "RECOVERY_SUCCEEDED")
	if err != nil {
		t.Fatal(err)
	}
	c := changed.CachedInfo().Config
	c.MaxAge, c.Duplicates = time.Minute, time.Minute
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"RECOVERY_OUTCOMES", "RECOVERY_ADVISORIES", "RECOVERY_LEDGER_1"} {
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	for name, subject := range map[string]string{"RECOVERY_LEDGER_1": "mine.>", "EVERYTHING": "recovery.outcomes.>", "ADVICE": "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.*.*"} {
		stream(t, server.URL(), name, subject)
	}
	if _, err := js.Publish(t.Context(), "recovery.dead.0123abcd.orders.new", make([]byte, 900<<10)); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "recovery.failed.orders.new", nil); err != nil {
		t.Fatal(err)
	}
	s.run("doctor")
	s.golden("doctor")
}

func TestDoctorWithADaemon(t *testing.T) {
	t.Parallel()
	dev := background(t, []string{"RECOVERYD_HTTP_ADDR=off", "RECOVERYD_PARTITIONS=2", "RECOVERYD_POLICY_FILE=testdata/targets.yaml"}, "dev")
	eventually(t, "dev does not come up", func() bool { return strings.Contains(dev.stdout.String(), "sub 'recovery.outcomes.>'") })
	url := regexp.MustCompile(`nats://\S+`).FindString(dev.stdout.String())
	s := patient(t, url)
	findings := func() (code int, all []finding) {
		t.Helper()
		a, stdout, stderr := s.app()
		code = a.Run(t.Context(), []string{"doctor", "--json"})
		if err := json.Unmarshal(stdout.Bytes(), &all); err != nil {
			t.Fatalf("exit %d: %v: %s%s", code, err, stdout, stderr)
		}
		return code, all
	}
	states := func(want map[string]string) func() bool {
		return func() bool {
			_, all := findings()
			worst := map[string]string{}
			for _, f := range all {
				worst[f.Check] = f.State
			}
			for check, state := range want {
				if worst[check] != state {
					return false
				}
			}
			return true
		}
	}
	eventually(t, "the shards are not served", states(map[string]string{"shards": stateOK, "daemons": stateOK, "targets": stateWarn}))
	s.run("doctor")

	js := connected(t, url)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, Duplicates: time.Second}); err != nil {
		t.Fatal(err)
	}
	stream(t, url, "MANUAL", "manual.>")
	publish(t, url, "recovery.failed.calls.bad", nats.Header{"Recovery-Error": {"no such caller"}, "Recovery-Class": {"permanent"}})
	a, _, stderr := s.app()
	if code := a.Run(t.Context(), words(`breaker open orders.new --yes --reason "the shop is closed"`)); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	dead := func() bool {
		letters, err := js.Stream(t.Context(), "RECOVERY_DEAD")
		return err == nil && letters.CachedInfo().State.Msgs == 1
	}
	eventually(t, "no dead letter comes", dead)
	s.run("doctor")

	// Nothing that is left warns any more.
	orders, err := js.Stream(t.Context(), "ORDERS")
	if err != nil {
		t.Fatal(err)
	}
	c := orders.CachedInfo().Config
	c.Duplicates = 2 * time.Minute
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	a, _, stderr = s.app()
	if code := a.Run(t.Context(), words("breaker reset orders.new --yes")); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if code, all := findings(); code != 0 || !states(map[string]string{"targets": stateOK, "breakers": stateOK})() {
		t.Errorf("exit %d: %+v", code, all)
	}
	if code := dev.end(t); code != 0 {
		t.Errorf("dev ended with %d: %s", code, &dev.stderr)
	}
	s.golden("doctor-daemon")
}

func TestDoctorAsksEveryDaemon(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	environ := []string{"NATS_URL=" + server.URL(), "RECOVERYD_HTTP_ADDR=off", "RECOVERYD_PARTITIONS=2"}
	background(t, environ, "run")
	other := background(t, append(environ, "RECOVERYD_POLICY_FILE=testdata/targets.yaml"), "run")
	s := newSession(t, environ...)
	says := func(texts ...string) func() bool {
		return func() bool {
			a, stdout, _ := s.app()
			a.Run(t.Context(), []string{"doctor"})
			for _, text := range texts {
				if !strings.Contains(stdout.String(), text) {
					return false
				}
			}
			return true
		}
	}
	eventually(t, "it does not hear of both", says("2 answer: ", "all 2 are served", "none told by 2 daemons", "warn  policies        they differ: ", "no stream stores orders.>"))
	if code := other.end(t); code != 0 {
		t.Errorf("ended with %d", code)
	}
	eventually(t, "it still hears of the one that ended", says("1 answers: ", "all 2 are served", "ok    policies", "no policy names a subject"))
}

// Without a daemon the breakers are read from where the daemons keep them, and of those that
// are killed the leases tell for ten seconds more.
func TestDoctorAfterADaemonWasKilled(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	streamsOfOneCopy(t, server.URL())
	js := connected(t, server.URL())
	for bucket, values := range map[string]map[string]string{
		"RECOVERY_STATE": {"breaker.0.orders.orders=2Enew": `{"policy":"orders","key":"orders.new","state":"open","reason":"5 failures"}`},
		"RECOVERY_LEASES": {
			"member.a": `{"instance":"a","version":"1.2.3","policy_hash":"8bc2","shards":[0],"clock_difference_ms":900}`,
			"shard.0":  `{"instance":"a","session":"x"}`,
		},
	} {
		kv, err := js.KeyValue(t.Context(), bucket)
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range values {
			if _, err := kv.PutString(t.Context(), key, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := patient(t, server.URL())
	if code := s.run("doctor"); code != exitFailed {
		t.Errorf("exit %d", code)
	}
	s.golden("doctor-killed")
}

func TestDoctorLooksAtCopies(t *testing.T) {
	t.Parallel()
	urls, servers := threeServers(t)
	streamsOfOneCopy(t, urls)
	s := newSession(t, "NATS_URL="+urls)
	copies := func() (found string) {
		t.Helper()
		a, stdout, stderr := s.app()
		a.Run(t.Context(), []string{"doctor", "--json"})
		var all []finding
		if err := json.Unmarshal(stdout.Bytes(), &all); err != nil {
			t.Fatalf("%v: %s%s", err, stdout, stderr)
		}
		for _, f := range all {
			if f.Check == "copies" || f.State == stateFail {
				found += f.State + " " + f.Check + ": " + f.Found + "\n"
			}
		}
		return found
	}
	if got := copies(); !strings.Contains(got, "warn copies: the cluster has 3 servers, but fewer than 3 copies have: RECOVERY_FAILED, ") {
		t.Errorf("of one copy it says %s", got)
	}
	if code := s.run("streams replicate 3 --yes"); code != 0 {
		t.Fatalf("exit %d: %s", code, s.text.String())
	}
	if got := copies(); !strings.Contains(got, "ok copies: 3 copies of everything, up to date\n") {
		t.Errorf("of three copies it says %s", got)
	}
	servers[2].Stop()
	eventually(t, "it does not notice that a server is away", func() bool {
		return strings.Contains(copies(), "warn copies: RECOVERY_FAILED, ") && strings.Contains(copies(), "s2 is offline")
	})
	servers[1].Stop()
	eventually(t, "it does not notice that nothing can be stored", func() bool {
		got := copies()
		return strings.Contains(got, "fail copies: RECOVERY_FAILED, ") || strings.Contains(got, "fail jetstream: JetStream does not answer")
	})
}
