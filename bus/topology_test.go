package bus_test

import "testing"

func TestEnsureIsIdempotent(t *testing.T) {
	t.Parallel()
	b, _ := start(t)
	created := b.Created()
	if created.IsZero() {
		t.Fatal("the age of the stream of failures is unknown")
	}
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !b.Created().Equal(created) {
		t.Errorf("the stream of failures was made again")
	}
	store(t, b, "recovery.failed.x", "hello")
}
