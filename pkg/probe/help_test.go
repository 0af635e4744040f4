package probe_test

import (
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func wantEqual[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	equal := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	if diff := cmp.Diff(want, got, equal); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// waitForEnd takes everything and says nothing.
func waitForEnd(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
