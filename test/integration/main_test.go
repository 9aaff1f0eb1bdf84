package integration

import (
	"flag"
	"os"
	"runtime"
	"strconv"
	"testing"
)

// TestMain lets more tests run at the same time than there are cores: most of the time they
// wait. Another -parallel than the default is kept.
func TestMain(m *testing.M) {
	flag.Parse()
	const enough = 6
	if f := flag.Lookup("test.parallel"); f.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) && runtime.GOMAXPROCS(0) < enough {
		if err := flag.Set("test.parallel", strconv.Itoa(enough)); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
