package bus_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

func TestServe(t *testing.T) {
	t.Parallel()
	b, nc := start(t)
	noted := make(chan string, 10)
	var meeting sync.WaitGroup
	meeting.Add(2)
	stop, err := b.Serve("v1.2.3", map[string]bus.Endpoint{
		"test.echo": func(_ context.Context, request []byte) (any, error) { return string(request), nil },
		"test.refuse": func(context.Context, []byte) (any, error) {
			return nil, &schemas.APIError{Code: 403, Message: "not you"}
		},
		"test.fail":  func(context.Context, []byte) (any, error) { return nil, errors.New("the disk is full") },
		"test.large": func(context.Context, []byte) (any, error) { return strings.Repeat("x", 2<<20), nil },
		"test.note":  func(context.Context, []byte) (any, error) { noted <- "noted"; return "", nil },
		"test.meet": func(context.Context, []byte) (any, error) {
			meeting.Done()
			meeting.Wait()
			return "met", nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}

	t.Run("replies", func(t *testing.T) {
		var echo string
		if err := b.Call(t.Context(), "test", "echo", "a", &echo); err != nil || echo != `"a"` {
			t.Errorf("got %q, %v", echo, err)
		}
	})
	t.Run("errors", func(t *testing.T) {
		for verb, want := range map[string]schemas.APIError{
			"refuse": {Code: 403, Message: "not you"},
			"fail":   {Code: 500, Message: "the disk is full"},
			"large":  {Code: 500, Message: "nats: maximum payload exceeded"},
		} {
			var got *schemas.APIError
			if err := b.Call(t.Context(), "test", verb, nil, nil); !errors.As(err, &got) || *got != want {
				t.Errorf("%s: got %v, want %v", verb, err, want)
			}
		}
	})
	t.Run("two of one kind at once", func(t *testing.T) {
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				var reply string
				if err := b.Call(t.Context(), "test", "meet", nil, &reply); err != nil || reply != "met" {
					t.Errorf("got %q, %v", reply, err)
				}
			})
		}
		both.Wait()
	})
	t.Run("not to the server, nor to recoveryd", func(t *testing.T) {
		replies, err := nc.SubscribeSync("recovery.ledger.>")
		if err != nil {
			t.Fatal(err)
		}
		defer replies.Unsubscribe()
		for _, reply := range []string{"$JS.API.STREAM.NAMES", "recovery.ledger.0.signal", "answers.here"} {
			if err := nc.PublishRequest("recovery.api.v1.test.note", reply, nil); err != nil {
				t.Fatal(err)
			}
		}
		if got := <-noted; got != "noted" || len(noted) != 0 {
			t.Errorf("%d requests were served, want the last one only", 1+len(noted))
		}
		if n, _, _ := replies.Pending(); n != 0 {
			t.Errorf("%d answers came to subjects of recoveryd", n)
		}
	})
	t.Run("many", func(t *testing.T) {
		var callers sync.WaitGroup
		for range 8 {
			callers.Go(func() {
				for i := range 100 {
					var echo string
					if err := b.Call(t.Context(), "test", "echo", i, &echo); err != nil || echo != strconv.Itoa(i) {
						t.Errorf("got %q, %v, want %d", echo, err, i)
					}
					var got *schemas.APIError
					if err := b.Call(t.Context(), "test", "refuse", i, nil); !errors.As(err, &got) || got.Code != 403 {
						t.Errorf("got %v", err)
					}
				}
			})
		}
		callers.Wait()
	})

	stop()
	wantError(t, b.Call(t.Context(), "test", "echo", "a", nil), bus.ErrNoResponders, "test.echo")
}
