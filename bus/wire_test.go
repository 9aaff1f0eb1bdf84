package bus_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

func TestVersionFloor(t *testing.T) {
	t.Parallel()
	for version, older := range map[string]bool{
		"2.9.25": true, "2.11.9": true, "2.12.4": true, "2.12.5-RC.1": false, "2.12.5": false, "2.12.10": false,
		"2.14.0": false, "2.15.2": false, "3.0.0": false, "": false, "dev": false,
	} {
		if got := bus.Older(version, "2.12.5"); got != older {
			t.Errorf("%q older than 2.12.5: %v, want %v", version, got, older)
		}
	}
}

func TestAckForms(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]schemas.Ack{
		`{"stream":"S","seq":17}`:                                  {Stream: "S", Sequence: 17},
		`{"stream":"S","seq":17,"duplicate": true}`:                {Stream: "S", Sequence: 17, Duplicate: true},
		`{"stream":"S","domain":"hub","seq":17}`:                   {Stream: "S", Sequence: 17},
		`{"stream":"S","domain":"hub","seq":17,"duplicate": true}`: {Stream: "S", Sequence: 17, Duplicate: true},
		`{"stream":"S", "seq": 17, "later": {"a":1}}`:              {Stream: "S", Sequence: 17},
		`{"stream":"S\"x","seq":1}`:                                {Stream: `S"x`, Sequence: 1},
		`{"stream":"S","seq":18446744073709551615}`:                {Stream: "S", Sequence: 1<<64 - 1},
	} {
		if got, err := bus.ReadAck([]byte(data)); err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", data, got, err, want)
		}
	}
}

func FuzzAckCommonFormAgreesWithJSON(f *testing.F) {
	for _, s := range []string{`{"stream":"S","seq":17}`, `{"stream":"S","seq":17,"duplicate": true}`, `{"stream":"","seq":0}`,
		`{"stream":"S","seq":99999999999999999999}`, `{"stream":"S","seq":01}`, `{"stream":"S","seq":1}x`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, ok := bus.ReadAckCommon(data)
		var want struct {
			Stream    string
			Seq       uint64
			Duplicate bool
		}
		if !ok || !utf8.Valid(data) || json.Unmarshal(data, &want) != nil {
			return // left to the JSON decoder, or bytes that no server sends
		}
		if got != (schemas.Ack{Stream: want.Stream, Sequence: want.Seq, Duplicate: want.Duplicate}) {
			t.Errorf("%q: got %+v, want %+v", data, got, want)
		}
	})
}

func TestServerErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code jetstream.ErrorCode
		text string
		want error
	}{
		{10071, "wrong last sequence: 5", schemas.ErrConflict},
		{10164, "wrong last sequence", schemas.ErrConflict},
		{10077, "maximum bytes exceeded", schemas.ErrStoreFull},
		{10077, "maximum messages exceeded", schemas.ErrStoreFull},
		{10077, "maximum messages per subject exceeded", schemas.ErrStoreFull},
		{10023, "insufficient resources", schemas.ErrStoreFull},
		{10047, "insufficient storage resources available", schemas.ErrStoreFull},
		{10002, "resource limits exceeded for account", schemas.ErrStoreFull},
		{10054, "message size exceeds maximum allowed", schemas.ErrTooLarge},
		{10158, "duplicate message id is in process", schemas.ErrTimeout},
		{10059, "stream not found", schemas.ErrNotFound},
	} {
		if err := bus.ServerError(&jetstream.APIError{ErrorCode: c.code, Description: c.text}); !errors.Is(err, c.want) {
			t.Errorf("%d %s: got %v, want %v", c.code, c.text, err, c.want)
		}
	}
	other := &jetstream.APIError{ErrorCode: 10077, Description: "disk is on fire"}
	if err := bus.ServerError(other); errors.Is(err, schemas.ErrStoreFull) || !errors.Is(err, other) {
		t.Errorf("got %v, want just what the server said", err)
	}
}

func TestOnlyASmallClusterGetsOneReplica(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"no suitable peers for placement":                              true,
		"no suitable peers for placement, insufficient storage":        false,
		"no suitable peers for placement, peer offline":                false,
		"no suitable peers for placement, tags not matched ['x']":      false,
		"no suitable peers for placement, jetstream not enabled in cl": false,
	} {
		if got := bus.TooFewServers(&jetstream.APIError{ErrorCode: 10005, Description: text}); got != want {
			t.Errorf("%q: one replica %v, want %v", text, got, want)
		}
	}
	if !bus.TooFewServers(&jetstream.APIError{ErrorCode: 10074}) || bus.TooFewServers(nil) {
		t.Error("a server without a cluster has one replica, and no error has no reason")
	}
}

func TestPlaceForms(t *testing.T) {
	t.Parallel()
	at := time.Unix(0, 1700000000123456789)
	for _, reply := range []string{
		"$JS.ACK.S.C.2.30.4.1700000000123456789.7",
		"$JS.ACK._.accounthash.S.C.2.30.4.1700000000123456789.7",
		"$JS.ACK.hub.accounthash.S.C.2.30.4.1700000000123456789.7.random",
	} {
		stream, consumer, when, err := bus.ReadPlace(reply)
		if got, want := []uint64{stream, consumer}, []uint64{30, 4}; err != nil || !reflect.DeepEqual(got, want) || !when.Equal(at) {
			t.Errorf("%s: got %v at %v, %v", reply, got, when, err)
		}
	}
	for _, reply := range []string{"", "_INBOX.x", "$JS.ACK.S.C.x.30.4.5.6", "$JS.ACK.S.C", "$JS.ACK.S.C.1.2.3"} {
		if _, _, _, err := bus.ReadPlace(reply); err == nil {
			t.Errorf("%q was read", reply)
		}
	}
}

func TestLeaderConfirms(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	if _, err := publish(t, b, schemas.Message{Subject: names.Signal(1), Header: schemas.Header{"aB": {"c"}}, Body: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	store(t, b, names.Signal(1), "without headers")
	for from, body := range map[uint64]string{1: "x", 2: "without headers"} {
		got, err := b.ReadLaneFromLeader(t.Context(), names.Signal(1), from)
		if err != nil || len(got) != 1 || got[0].Sequence != from || string(got[0].Body) != body || got[0].Subject != names.Signal(1) || got[0].Time.IsZero() {
			t.Fatalf("got %+v, %v", got, err)
		}
		if from == 1 && !reflect.DeepEqual(got[0].Header, schemas.Header{"aB": {"c"}}) {
			t.Errorf("got header %v", got[0].Header)
		}
	}
	if got, err := b.ReadLaneFromLeader(t.Context(), names.Signal(1), 3); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v; want nothing", got, err)
	}
}
