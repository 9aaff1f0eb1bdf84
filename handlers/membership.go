package handlers

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

// Keys of the leases.
const (
	memberKeys = "member."
	dutyKeys   = "duty."
	shardKeys  = "shard."
)

func shardKey(shard int) string { return shardKeys + strconv.Itoa(shard) }

// Roster is what leases tell of the replicas: what each says of itself, sorted by name, and
// who holds which shard. Values that cannot be read are passed over.
func Roster(leases map[string][]byte) (instances []schemas.InstanceStatus, owners map[int]string) {
	owners = map[int]string{}
	for key, value := range leases {
		var member schemas.InstanceStatus
		var h holder
		if strings.HasPrefix(key, memberKeys) {
			if json.Unmarshal(value, &member) == nil {
				instances = append(instances, member)
			}
		} else if shard, err := strconv.Atoi(strings.TrimPrefix(key, shardKeys)); err == nil && json.Unmarshal(value, &h) == nil {
			owners[shard] = h.Instance
		}
	}
	slices.SortFunc(instances, func(a, b schemas.InstanceStatus) int { return cmp.Compare(a.Instance, b.Instance) })
	return instances, owners
}

// holder is the value of a lease: who has it. The session tells two processes of the same
// name apart.
type holder struct {
	Instance string `json:"instance"`
	Session  string `json:"session"`
}

// membership is what a replica knows of all replicas, as it heard it of the leases. Times
// are its own: what was not heard of for as long as a lease lasts has run out.
type membership struct {
	members map[string]sighting[schemas.InstanceStatus] // by key
	holders map[string]sighting[holder]                 // by key
}

type sighting[T any] struct {
	what T
	at   time.Time
}

func newMembership() *membership {
	return &membership{members: map[string]sighting[schemas.InstanceStatus]{}, holders: map[string]sighting[holder]{}}
}

// heard takes note of a lease that was taken, kept or freed (value nil).
func (m *membership) heard(now time.Time, key string, value []byte) error {
	if strings.HasPrefix(key, memberKeys) {
		return hear(m.members, now, key, value)
	}
	return hear(m.holders, now, key, value)
}

func hear[T any](all map[string]sighting[T], now time.Time, key string, value []byte) error {
	if value == nil {
		delete(all, key)
		return nil
	}
	s := sighting[T]{at: now}
	err := json.Unmarshal(value, &s.what)
	all[key] = s // one that cannot be read is held all the same
	return err
}

// forget drops what ran out long ago, so that names that never come back take no memory.
func (m *membership) forget(now time.Time) {
	old := func(at time.Time) bool { return now.Sub(at) > 6*leaseTTL }
	for key, s := range m.members {
		if old(s.at) {
			delete(m.members, key)
		}
	}
	for key, s := range m.holders {
		if old(s.at) {
			delete(m.holders, key)
		}
	}
}

// holder is who has a lease; ok is false if nobody does.
func (m *membership) holder(now time.Time, key string) (h holder, ok bool) {
	s, ok := m.holders[key]
	return s.what, ok && now.Sub(s.at) < leaseTTL
}

// refused takes note that a lease that seemed free is not: it is left alone for a second.
func (m *membership) refused(now time.Time, key string) {
	s := m.holders[key]
	s.at = now.Add(time.Second - leaseTTL)
	m.holders[key] = s
}

// live are the keys of the replicas that were heard of lately.
func (m *membership) live(now time.Time) []string {
	var keys []string
	for key, s := range m.members {
		if now.Sub(s.at) < leaseTTL {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// instances is what they said of themselves.
func (m *membership) instances(now time.Time) []schemas.InstanceStatus {
	var all []schemas.InstanceStatus
	for _, key := range m.live(now) {
		s := m.members[key]
		s.what.AgeMS = now.Sub(s.at).Milliseconds()
		all = append(all, s.what)
	}
	slices.SortFunc(all, func(a, b schemas.InstanceStatus) int { return cmp.Compare(a.Instance, b.Instance) })
	return all
}

// share decides what a replica takes and gives back: each of the members has at most
// ceil(shards/members). mine and free are in the order in which it prefers them.
func share(shards, members int, mine, free []int) (take, give []int) {
	fair := (shards + max(1, members) - 1) / max(1, members)
	if len(mine) > fair {
		return nil, mine[fair:]
	}
	return free[:min(len(free), fair-len(mine))], nil
}
