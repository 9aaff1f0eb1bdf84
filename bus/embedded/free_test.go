package embedded_test

import (
	"net"
	"testing"

	"github.com/recoveryd/recoveryd/bus/embedded"
)

func TestFreeAddrs(t *testing.T) {
	t.Parallel()
	addrs, err := embedded.FreeAddrs(20)
	if err != nil || len(addrs) != 20 {
		t.Fatalf("got %d addresses, %v", len(addrs), err)
	}
	for _, addr := range addrs {
		l, err := net.Listen("tcp", addr) // twice the same would fail the second time
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if port := l.Addr().(*net.TCPAddr).Port; port < 1024 || port >= 32768 {
			t.Errorf("port %d may be one of an outgoing connection", port)
		}
	}
}
