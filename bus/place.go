package bus

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// place is where a delivered message is in its stream and consumer, as the subject for
// its acknowledgement tells.
type place struct {
	delivered uint64 // how often it was delivered
	stream    uint64 // sequence in the stream
	consumer  uint64 // sequence among the consumer's deliveries
	time      time.Time
}

// readPlace reads $JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer
// sequence>.<time>.<pending>, or the longer form with domain and account before the
// stream (ADR-15).
func readPlace(reply string) (place, error) {
	var numbers [4]uint64
	rest, ok := strings.CutPrefix(reply, "$JS.ACK.")
	skip := 2
	if strings.Count(rest, ".") > 6 {
		skip = 4
	}
	for i := 0; i < skip && ok; i++ {
		_, rest, ok = strings.Cut(rest, ".")
	}
	for i := range numbers {
		var token string
		var err error
		if token, rest, ok = strings.Cut(rest, "."); !ok {
			return place{}, fmt.Errorf("%q is no subject of an acknowledgement", reply)
		}
		if numbers[i], err = strconv.ParseUint(token, 10, 63); err != nil {
			return place{}, fmt.Errorf("%q is no subject of an acknowledgement", reply)
		}
	}
	return place{delivered: numbers[0], stream: numbers[1], consumer: numbers[2], time: time.Unix(0, int64(numbers[3]))}, nil
}
