package probetest_test

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/probe/probetest"
)

func TestMain(m *testing.M) { os.Exit(probetest.Isolate(m)) }

// There is lo, it works, and there is no way to anywhere else.
func TestIsolate(t *testing.T) {
	t.Parallel()
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if up := l.Flags&net.FlagUp != 0; up != (l.Name == "lo") {
			t.Errorf("link %s up = %v", l.Name, up)
		}
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		t.Fatalf("dial on lo: %v", err)
	}
	_ = c.Close()
	if _, err := d.DialContext(ctx, "tcp", "192.0.2.1:443"); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("dial out of the namespace: %v, want ENETUNREACH", err)
	}
}
