package handlers

import (
	"reflect"
	"testing"

	"github.com/recoveryd/recoveryd/schemas"
)

func TestRoster(t *testing.T) {
	t.Parallel()
	instances, owners := Roster(map[string][]byte{
		"member.b": []byte(`{"instance":"b","shards":[1]}`), "member.a": []byte(`{"instance":"a"}`), "member.c": []byte(`no JSON`),
		"shard.1": []byte(`{"instance":"b","session":"x"}`), "shard.2": []byte(`no JSON`), "shard.x": []byte(`{"instance":"b"}`),
		"duty.sweep": []byte(`{"instance":"a"}`),
	})
	want := []schemas.InstanceStatus{{Instance: "a"}, {Instance: "b", Shards: []int{1}}}
	if !reflect.DeepEqual(instances, want) || !reflect.DeepEqual(owners, map[int]string{1: "b"}) {
		t.Errorf("%+v, %v", instances, owners)
	}
}

func TestStoredBreaker(t *testing.T) {
	t.Parallel()
	b, err := StoredBreaker([]byte(`{"policy":"orders","key":"orders.new","state":"open","reason":"5 failures"}`))
	if err != nil || b.Key != "orders.new" || b.State != "open" || b.Reason != "5 failures" {
		t.Errorf("%+v, %v", b, err)
	}
	if _, err := StoredBreaker([]byte("no JSON")); err == nil {
		t.Error("what cannot be read is no error")
	}
}
