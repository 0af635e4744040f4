package probe_test

import (
	"net/netip"
	"os"
	"testing"

	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

func TestMain(m *testing.M) { os.Exit(probetest.Isolate(m)) }

// loopback is any free port of 127.0.0.1.
var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// loopbackHosts is what a hosts file may say.
var loopbackHosts = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
