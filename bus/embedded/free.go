package embedded

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports below those that systems take for outgoing connections, and above those of services.
const (
	lowestFree  = 10_000
	highestFree = 32_000
)

// FreeAddrs chooses n addresses on loopback at which nobody listens now: for a server whose
// address must be known before it starts, or stay when it starts again. A port that the
// system chooses (host:0) could meanwhile be taken by any outgoing connection.
func FreeAddrs(n int) ([]string, error) {
	var addrs []string
	for tries := 0; len(addrs) < n; tries++ {
		port := lowestFree + rand.IntN(highestFree-lowestFree)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			if tries < 100*n {
				continue
			}
			return nil, fmt.Errorf("find %d free addresses: %w", n, err)
		}
		defer l.Close() // only at the end, so that all differ
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}
