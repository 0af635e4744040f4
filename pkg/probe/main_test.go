package probe_test

import (
	"flag"
	"net/netip"
	"os"
	"testing"

	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

func TestMain(m *testing.M) {
	// The tests compute little and wait for much that does not answer.
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	os.Exit(probetest.Isolate(m))
}

// loopback is any free port of 127.0.0.1.
var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// loopbackHosts is what a hosts file may say.
var loopbackHosts = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
