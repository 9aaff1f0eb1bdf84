package config

import (
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/recoveryd/recoveryd/schemas"
)

// HTTPOff as HTTP_ADDR means that nothing is served.
const HTTPOff = "off"

var streamName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// relations finds what no single range can say.
func (c *Config) relations() []*Fault {
	var faults []*Fault
	fault := func(field, value, problem string) {
		f := variableOf(field).fault(value, problem)
		f.Allowed = ""
		faults = append(faults, f)
	}
	if err := schemas.CheckLiteral(c.Prefix); err != nil {
		fault("Prefix", c.Prefix, "is no prefix: "+err.Error())
	} else if len(c.Prefix) > 64 || strings.HasPrefix(c.Prefix, "$") || strings.HasPrefix(c.Prefix, "_") {
		fault("Prefix", c.Prefix, "is no prefix: at most 64 bytes, and neither $ nor _ in front")
	}
	if !streamName.MatchString(c.StreamPrefix) {
		fault("StreamPrefix", c.StreamPrefix, "is no name: 1 to 32 letters, digits, - and _")
	}
	c.checkHTTP(fault)
	if c.Embedded && c.EmbeddedDir == "" {
		fault("EmbeddedDir", "", "is missing: an embedded server must store its streams somewhere")
	}
	if ok, _ := address(c.EmbeddedAddr); !ok {
		fault("EmbeddedAddr", c.EmbeddedAddr, "is no address")
	} else if !loopback(c.EmbeddedAddr) {
		fault("EmbeddedAddr", c.EmbeddedAddr, "can be reached from elsewhere, and the embedded server knows no passwords: use 127.0.0.1")
	}
	return faults
}

func (c *Config) checkHTTP(fault func(field, value, problem string)) {
	if (c.HTTPUser == "") != (c.HTTPPassword == "") {
		fault("HTTPUser", c.HTTPUser, "and "+Prefix+"HTTP_PASSWORD go together: set both or none")
	}
	if c.HTTPAddr == HTTPOff {
		return
	}
	if ok, why := address(c.HTTPAddr); !ok {
		fault("HTTPAddr", c.HTTPAddr, "is no address: "+why)
		return
	}
	if open := c.HTTPPassword == "" && c.HTTPToken == ""; open && !loopback(c.HTTPAddr) {
		fault("HTTPAddr", c.HTTPAddr, "can be reached from elsewhere: set "+Prefix+"HTTP_USER and "+Prefix+"HTTP_PASSWORD, or "+Prefix+"HTTP_TOKEN, or use 127.0.0.1")
	}
}

func address(s string) (ok bool, why string) {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false, "write it as 127.0.0.1:9222"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return false, "the port must be a number from 0 to 65535"
	}
	return true, ""
}

func loopback(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
