package ec2meta_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/ec2meta"
)

// A machine without any route to the IPv4 address asks on IPv6. This test has the
// address of the service on the loopback interface, so no other test may run beside it.
func TestReadIPv6(t *testing.T) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr("fd00:ec2::254/128")
	if err != nil {
		t.Fatal(err)
	}
	a.Flags = unix.IFA_F_NODAD
	if err := netlink.AddrAdd(lo, a); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.AddrDel(lo, a) })

	// The kernel adds the address's route a little later.
	for range 100 {
		if routes, err := netlink.RouteGet(a.IP); err == nil && routes[0].Type == unix.RTN_LOCAL {
			break
		}
		<-time.After(10 * time.Millisecond)
	}

	c := ec2meta.New(ec2meta.Options{})
	t.Cleanup(c.Close)
	// IPv6 of the service is off: both failures are told, that of IPv4 first.
	_, err = c.Read(t.Context())
	wantFailure(t, err, failure{method: "PUT", path: "/latest/api/token", phase: "connect", is: errNetUnreachable})
	var list interface{ Unwrap() []error }
	if !errors.As(err, &list) || len(list.Unwrap()) != 2 {
		t.Fatalf("error %v, want two", err)
	}
	second, ok := errors.AsType[*bootstrap.MetadataError](list.Unwrap()[1])
	if !ok || !errors.Is(second.Err, syscall.ECONNREFUSED) || second.Address != netip.MustParseAddrPort("[fd00:ec2::254]:80") {
		t.Errorf("second failure %+v, want refused by fd00:ec2::254", second)
	}

	f := &fake{values: fixture(t, "ipv6-only"), tokens: map[string]time.Time{}}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "[fd00:ec2::254]:80")
	if err != nil {
		t.Fatal(err)
	}
	f.server = &httptest.Server{Listener: l, Config: &http.Server{Handler: f, ConnState: f.connState}}
	f.server.Start()
	t.Cleanup(f.server.Close)
	m, err := c.Read(t.Context())
	if err != nil || len(m.Instance.IPv6) == 0 || m.Clock == nil {
		t.Errorf("%+v, %v", m, err)
	}
	if puts, gets, conns := f.counts(); puts != 1 || gets != 15 || conns > 8 {
		t.Errorf("%d token requests, %d others, %d connections; want 1, 15, at most 8", puts, gets, conns)
	}
	// A token is signed with credentials from there too; the fixture has none to sign with.
	_, err = c.Token(t.Context(), "cluster", "us-west-2", "sts.us-west-2.amazonaws.com", time.Now())
	if !errors.Is(err, ec2meta.ErrMalformedCredentials) {
		t.Errorf("token: %v, want ErrMalformedCredentials", err)
	}
}
