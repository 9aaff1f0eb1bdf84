package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

var three = time.Date(2026, 11, 28, 3, 0, 0, 0, time.UTC)

// healthy is an installation of two daemons on a cluster of three, with nothing to complain of.
func healthy() *facts {
	f := &facts{
		url: "nats://n1:4222", now: three, shards: 2, owners: map[int]string{0: "a", 1: "b"},
		account: bus.Account{Server: "n1", Version: "2.15.2", Cluster: "east", RoundTrip: 300 * time.Microsecond, Servers: 3,
			Stores: []bus.Room{{Used: 1 << 20, Limit: 1 << 30}}},
		answers: map[string]*schemas.StatusReply{}, silent: map[string]error{},
		letters: 100, lastHour: &schemas.DeadGroupsReply{TotalLetters: 3, Groups: []schemas.DeadGroup{{Count: 2, Cause: "0123abcd", Reason: "exhausted", Error: "no such order"}}},
		targets: map[string][]string{"orders.>": {"ORDERS"}}, windows: map[string]time.Duration{"ORDERS": 2 * time.Minute},
		watches: &schemas.WatchListReply{Mode: "watch", Watches: []schemas.WatchStatus{{Stream: "MAIL", Consumer: "sender", Exists: true, Exhausted: new(int)}}},
	}
	for _, name := range []string{"FAILED", "DEAD", "ADVISORIES"} {
		x := bus.Examined{Wanted: "RECOVERY_" + name}
		x.StreamState = bus.StreamState{Name: x.Wanted, Messages: 1, Bytes: 1 << 20, MaxBytes: 100 << 20, Replicas: 3, Current: 3}
		f.stores = append(f.stores, x)
	}
	for i, name := range []string{"a", "b"} {
		f.replicas = append(f.replicas, schemas.InstanceStatus{Instance: name, Version: "1.2.3", PolicyHash: "8bc2", Shards: []int{i}, ClockMS: -3})
		f.answers[name] = &schemas.StatusReply{Instance: name, Shards: []schemas.ShardStatus{{Shard: i, OldestDue: stampOf(three.Add(time.Second))}}}
	}
	return f
}

func stampOf(t time.Time) string { return t.Format(time.RFC3339Nano) }

// dark is an installation without a daemon.
func dark(f *facts) {
	f.replicas, f.answers, f.owners, f.lastHour = nil, map[string]*schemas.StatusReply{}, map[int]string{}, nil
	f.apiErr = fmt.Errorf("status.get: %w", bus.ErrNoResponders)
}

func TestDoctorIsContentWithWhatIsWell(t *testing.T) {
	t.Parallel()
	want := []string{
		"connection: n1 at nats://n1:4222, version 2.15.2, cluster east, round trip 300µs", "jetstream: on for this account, which stores 1.0 MiB",
		"streams: 3 streams and buckets, as this version makes them", "copies: 3 copies of everything, up to date",
		"room: RECOVERY_FAILED 1.0 MiB, of 100.0 MiB; RECOVERY_DEAD 1.0 MiB, of 100.0 MiB", "daemons: 2 answer: a, b", "versions: 1.2.3",
		"policies: 8bc2", "clocks: within 3 ms of the server", "shards: all 2 are served", "faults: none told by 2 daemons",
		"overdue work: none: everything due is released", "parked letters: none: every dead letter is stored", "breakers: all are closed",
		"dead letters: 100 in the store, 3 of them from the last hour; most of those, 2, have the cause 0123abcd, exhausted: no such order",
		"targets: 1 named subject is stored", "watches: 1 consumer, nothing keeps their messages from being recovered",
	}
	var got []string
	for _, f := range diagnose(healthy()) {
		got = append(got, f.Check+": "+f.Found)
		if f.State != stateOK || f.Next != "" {
			t.Errorf("%+v is not ok", f)
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Each case makes one thing wrong; nothing but what follows from it may be found.
var ailments = []struct {
	name  string
	wrong func(f *facts)
	want  []string // "state check: part of what was found | part of what to do"
}{
	{"old server", func(f *facts) { f.account.Old = errors.New("nats-server 2.9.0 is too old") }, []string{"fail connection: 2.9.0 is too old | Upgrade the server"}},
	{"slow network", func(f *facts) { f.account.RoundTrip = 1500 * time.Millisecond }, []string{"warn connection: takes 1.5s | network"}},
	{"JetStream off", func(f *facts) { f.account.Off, f.accountErr = true, errors.New("JetStream is off") }, []string{"fail jetstream: JetStream is off | Turn JetStream on"}},
	{"no quorum", func(f *facts) { f.accountErr = errors.New("temporarily unavailable") }, []string{"fail jetstream: does not answer: temporarily unavailable | too few servers"}},
	{"account nearly full", func(f *facts) { f.account.Stores[0].Used = 900 << 20 }, []string{"warn jetstream: storage is 88 % full: 900.0 MiB of 1.0 GiB | Raise the limit"}},
	{"tier full", func(f *facts) {
		f.account.Stores = []bus.Room{{Tier: "R1", Used: 1}, {Tier: "R3", Used: 1 << 30, Limit: 1 << 30}}
	}, []string{"fail jetstream: storage in tier R3 is 100 % full | Raise the limit"}},
	{"no stream at all", func(f *facts) {
		dark(f)
		f.adoptErr = fmt.Errorf("stream RECOVERY_FAILED: %w", schemas.ErrNotFound)
		for i := range f.stores {
			f.stores[i] = bus.Examined{Wanted: f.stores[i].Wanted, Missing: true}
		}
	}, []string{"fail streams: there is none of recoveryd at nats://n1:4222 | recoveryd run", "fail daemons: none runs | recoveryd run"}},
	{"stream gone", func(f *facts) { f.stores[1] = bus.Examined{Wanted: "RECOVERY_DEAD", Missing: true} }, []string{"fail streams: RECOVERY_DEAD is not there | restart a daemon"}},
	{"subjects taken", func(f *facts) { f.stores[1] = bus.Examined{Wanted: "RECOVERY_DEAD", Missing: true, Elsewhere: "ALL"} }, []string{"fail streams: stream ALL takes its subjects | Remove those subjects"}},
	{"advisories elsewhere", func(f *facts) {
		f.stores[2] = bus.Examined{Wanted: "RECOVERY_ADVISORIES", Missing: true, Elsewhere: "ALL"}
	}, nil},
	{"foreign stream", func(f *facts) { f.stores[1].Foreign = true }, []string{"fail streams: RECOVERY_DEAD was not made by recoveryd | STREAM_PREFIX"}},
	{"foreign failures", func(f *facts) { f.stores[0].Foreign, f.adoptErr = true, schemas.ErrForeign }, []string{"fail streams: not made by recoveryd | nats stream info", "fail streams: RECOVERY_FAILED was not made | STREAM_PREFIX"}},
	{"changed stream", func(f *facts) { f.stores[1].Differences = []string{"max_msgs is 10, wanted -1"} }, []string{"warn streams: RECOVERY_DEAD differs: max_msgs is 10, wanted -1 | Restart a daemon"}},
	{"changed for good", func(f *facts) { f.stores[1].Differences, f.stores[1].Fixed = []string{"storage is Memory"}, true }, []string{"fail streams: storage is Memory | cannot be changed"}},
	{"streams silent", func(f *facts) {
		for i := range 2 {
			f.stores[i] = bus.Examined{Wanted: f.stores[i].Wanted, Fault: schemas.ErrTimeout}
		}
	}, []string{"fail copies: RECOVERY_FAILED, RECOVERY_DEAD: no answer in time | no leader"}},
	{"stream denied", func(f *facts) {
		f.stores[1] = bus.Examined{Wanted: "RECOVERY_DEAD", Fault: errors.New("stream RECOVERY_DEAD: denied")}
	}, []string{"fail copies: RECOVERY_DEAD: cannot be looked at: denied | permissions"}},
	{"no leader", func(f *facts) { f.stores[1].Leaderless = true }, []string{"fail copies: RECOVERY_DEAD: no leader | Bring back"}},
	{"copy lags", func(f *facts) {
		for i := range 3 {
			f.stores[i].Behind, f.stores[i].Current = []string{"n2 is offline"}, 2
		}
	}, []string{"warn copies: RECOVERY_FAILED, RECOVERY_DEAD, RECOVERY_ADVISORIES: n2 is offline | Bring that server back"}},
	{"copies lag", func(f *facts) {
		f.stores[1].Behind, f.stores[1].Current = []string{"n2 is offline", "n3 is 7 writes behind"}, 1
	}, []string{"fail copies: RECOVERY_DEAD: too few copies are up to date: n2 is offline, n3 is 7 writes behind | Bring back"}},
	{"one copy", func(f *facts) { f.stores[1].Replicas = 1 }, []string{"warn copies: 3 servers, but fewer than 3 copies have: RECOVERY_DEAD | recoveryd streams replicate 3"}},
	{"one server", func(f *facts) { f.stores[1].Replicas, f.account.Servers = 1, 0 }, nil},
	{"failures full", func(f *facts) { f.stores[0].Bytes = 85 << 20 }, []string{"warn room: RECOVERY_FAILED is 85 % full | FAILED_MAX_BYTES"}},
	{"letters full", func(f *facts) { f.stores[1].Bytes = 97 << 20 }, []string{"fail room: RECOVERY_DEAD is 97 % full | recoveryd dlq groups"}},
	{"no limit", func(f *facts) { f.stores[1].Bytes, f.stores[1].MaxBytes = 97<<20, -1 }, nil},
	{"no daemon", dark, []string{"fail daemons: none runs: nothing is recovered, 1 failure waits in RECOVERY_FAILED | recoveryd run"}},
	{"no permission to ask", func(f *facts) { dark(f); f.apiErr = errors.New("permission") }, []string{"fail daemons: none answers: permission | may send requests"}},
	{"all silent", func(f *facts) {
		f.answers, f.silent = map[string]*schemas.StatusReply{}, map[string]error{"a": errors.New("gone"), "b": errors.New("gone")}
	}, []string{"fail daemons: 2 are there by the leases, but none answers here | wait ten seconds"}},
	{"one silent", func(f *facts) { delete(f.answers, "b"); f.silent["b"] = errors.New("gone") }, []string{"warn daemons: b does not answer: gone | its log"}},
	{"leases denied", func(f *facts) { f.leaseErr = errors.New("denied") }, []string{"warn daemons: leases cannot be read: denied | permissions"}},
	{"versions", func(f *facts) { f.replicas[1].Version = "1.3.0" }, []string{"warn versions: 1.2.3 on a; 1.3.0 on b | same version"}},
	{"policies", func(f *facts) { f.replicas[1].PolicyHash = "ffff" }, []string{"warn policies: 8bc2 on a; ffff on b | same policy file"}},
	{"clock", func(f *facts) { f.replicas[1].ClockMS = -251 }, []string{"warn clocks: -251 ms ahead of b | NTP"}},
	{"shard lost", func(f *facts) { delete(f.owners, 1) }, []string{"fail shards: 1 shard is served by nobody: 1 | wait ten seconds"}},
	{"fault", func(f *facts) {
		f.answers["b"].Faults = []string{"policy: the file cannot be used", "clock: judged here"}
	}, []string{"warn faults: b: policy: the file cannot be used | log of b"}},
	{"late", func(f *facts) { f.answers["b"].Shards[0].OldestDue = stampOf(three.Add(-7 * time.Second)) }, []string{"warn overdue work: the oldest of shard 1 at b is due for 7s | recoveryd ls"}},
	{"not late by the clock of who told it", func(f *facts) {
		f.answers["b"].Shards[0].OldestDue, f.answers["b"].At = stampOf(three.Add(-7*time.Second)), stampOf(three.Add(-7*time.Second))
	}, nil},
	{"very late, by what it announced", func(f *facts) { delete(f.answers, "b"); f.replicas[1].LagMS = 90_000 }, []string{"fail overdue work: the oldest of b is due for 1m30s | recoveryd ls"}},
	{"parked", func(f *facts) { f.answers["b"].Shards[0].Parked = 2 }, []string{"warn parked letters: 2 dead letters cannot be stored | Make room"}},
	{"open breaker", func(f *facts) {
		f.breakers = []schemas.BreakerStatus{{Key: "orders.new", Policy: "orders", State: "open", Held: 4, ChangedAt: stampOf(three), NextAt: stampOf(three.Add(time.Minute)), Reason: "5 failures"}}
	}, []string{"warn breakers: orders.new of policy orders is open since 2026-11-28 03:00:00, holds 4 messages, because 5 failures, next change 2026-11-28 03:01:00 | breaker show orders.new"}},
	{"forced open", func(f *facts) { f.breakers = []schemas.BreakerStatus{{Key: "a b", State: "forced_open", Actor: "me"}} }, []string{"warn breakers: by me, without an end | breaker reset 'a b'"}},
	{"forced open for a time", func(f *facts) {
		f.breakers = []schemas.BreakerStatus{{Key: "a", State: "forced_open", NextAt: stampOf(three)}}
	}, []string{"warn breakers: forced_open | ends by itself"}},
	{"probing", func(f *facts) { f.breakers = []schemas.BreakerStatus{{Key: "a", State: "half_open"}} }, []string{"warn breakers: half_open | whether the outage is over"}},
	{"breakers unknown", func(f *facts) { f.breakersErr = errors.New("denied") }, []string{"warn breakers: cannot be listed: denied | copies"}},
	{"letters unknown", func(f *facts) { f.lettersErr = errors.New("denied") }, []string{"warn dead letters: cannot be counted: denied | copies"}},
	{"target missing", func(f *facts) { f.targets["bills.>"] = nil }, []string{"warn targets: no stream stores bills.> | deliver.mode"}},
	{"short window", func(f *facts) { f.windows["ORDERS"] = time.Second }, []string{"warn targets: stream ORDERS recognises a repeat only for 1s | --dupe-window 2m"}},
	{"watched consumer gone", func(f *facts) { f.watches.Watches[0].Fault = "consumer sender of stream MAIL is not there" }, []string{"warn watches: MAIL/sender: nothing is recovered: consumer sender of stream MAIL is not there | recoveryd watch rm MAIL sender"}},
	{"given up", func(f *facts) { f.watches.Watches[0].Exhausted = new(3) }, []string{"warn watches: MAIL/sender gave up 3 messages that are not recovered | log of the daemons"}},
	{"advisories off", func(f *facts) { f.watches.Mode = "off" }, []string{"warn watches: RECOVERYD_ADVISORIES is off: what 1 watched consumer gives up is not recovered | Set it to watch"}},
	{"no watches, and off", func(f *facts) { f.watches = &schemas.WatchListReply{Mode: "off"} }, nil},
	{"older daemons", func(f *facts) { f.watches = nil }, nil},
	{"watches unknown", func(f *facts) { f.watches, f.watchesErr = nil, errors.New("denied") }, []string{"warn watches: cannot be listed: denied | daemons"}},
	{"targets unknown", func(f *facts) { f.targetsErr = errors.New("denied") }, []string{"warn targets: cannot be looked at: denied | STREAM.NAMES"}},
}

func TestDoctorFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, a := range ailments {
		t.Run(a.name, func(t *testing.T) {
			f := healthy()
			a.wrong(f)
			var bad []finding
			for _, x := range diagnose(f) {
				if x.State != stateOK {
					bad = append(bad, x)
					seen[x.Check] = true
				}
			}
			if len(bad) != len(a.want) {
				t.Fatalf("found %+v, want %q", bad, a.want)
			}
			for i, want := range a.want {
				head, next, _ := strings.Cut(want, " | ")
				said, found, _ := strings.Cut(head, ": ")
				if x := bad[i]; x.State+" "+x.Check != said || !strings.Contains(x.Found, found) || !strings.Contains(x.Next, next) {
					t.Errorf("found %+v, want %q", x, want)
				}
			}
		})
	}
	for _, x := range diagnose(healthy()) {
		if !seen[x.Check] {
			t.Errorf("the check %q can never complain", x.Check)
		}
	}
}

// Ten of a kind are enough for one night.
func TestDoctorIsBrief(t *testing.T) {
	t.Parallel()
	f := healthy()
	for i := range 30 {
		f.breakers = append(f.breakers, schemas.BreakerStatus{Key: fmt.Sprint(i), State: "open"})
		f.answers["a"].Faults = append(f.answers["a"].Faults, fmt.Sprint("redeliver: ", i))
	}
	count := map[string]int{}
	for _, x := range diagnose(f) {
		count[x.Check]++
	}
	if count["breakers"] != mostOfOneKind+1 || count["faults"] != mostOfOneKind+1 {
		t.Errorf("%d findings about breakers and %d about faults", count["breakers"], count["faults"])
	}
}
