package netcfg_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodeprep/nodeprep/pkg/netcfg"
)

// The tests of this file share the process's namespace as those of netlink_test.go do.

func addNeighbour(t *testing.T, l netlink.Link, ip string, state int) {
	t.Helper()
	n := &netlink.Neigh{LinkIndex: l.Attrs().Index, IP: net.ParseIP(ip), State: state}
	if state != netlink.NUD_FAILED {
		n.HardwareAddr = net.HardwareAddr{2, 0, 0, 0, 0, 9}
	}
	if err := netlink.NeighSet(n); err != nil {
		t.Fatalf("add neighbour %s: %v", ip, err)
	}
	t.Cleanup(func() { _ = netlink.NeighDel(n) })
}

func TestLook(t *testing.T) {
	ens, peer := veth(t, "ens5", "02:29:96:8f:6a:2d", true)
	addAddr(t, ens, "10.0.1.23/24", 0)
	addAddr(t, ens, "10.0.1.24/24", 0)
	addAddr(t, ens, "2001:db8::7/64", unix.IFA_F_NODAD)
	i := ens.Attrs().Index
	gw := net.ParseIP
	addRoute(t, netlink.Route{Dst: ipnet("198.51.100.0/24"), Gw: gw("10.0.1.1"), LinkIndex: i})
	addRoute(t, netlink.Route{Dst: ipnet("198.51.100.128/25"), Gw: gw("10.0.1.2"), LinkIndex: i, Src: gw("10.0.1.24")})
	addRoute(t, netlink.Route{Dst: ipnet("192.0.2.0/25"), Type: unix.RTN_BLACKHOLE})
	addRoute(t, netlink.Route{Dst: ipnet("192.0.2.128/26"), Type: unix.RTN_UNREACHABLE})
	addRoute(t, netlink.Route{Dst: ipnet("192.0.2.192/27"), Type: unix.RTN_PROHIBIT})
	addRoute(t, netlink.Route{Dst: ipnet("192.0.2.224/27"), Type: unix.RTN_THROW})
	addRoute(t, netlink.Route{
		Dst: ipnet("203.0.113.0/24"), LinkIndex: i,
		Via: &netlink.Via{AddrFamily: unix.AF_INET6, Addr: gw("fe80::9")},
	})
	addRoute(t, netlink.Route{Dst: ipnet("2001:db8:1::/48"), Gw: gw("fe80::9"), LinkIndex: i})
	addRoute(t, netlink.Route{Dst: ipnet("2001:db8:dead::/48"), Type: unix.RTN_BLACKHOLE, LinkIndex: 1})
	addRoute(t, netlink.Route{Dst: ipnet("2001:db8:beef::/48"), Type: unix.RTN_PROHIBIT, LinkIndex: 1})
	addRoute(t, netlink.Route{Dst: ipnet("2001:db8:cafe::/48"), Type: unix.RTN_UNREACHABLE, LinkIndex: 1})
	addNeighbour(t, ens, "10.0.1.1", netlink.NUD_REACHABLE)
	addNeighbour(t, ens, "10.0.1.2", netlink.NUD_STALE)
	addNeighbour(t, ens, "10.0.1.77", netlink.NUD_PERMANENT)
	addNeighbour(t, ens, "10.0.1.78", netlink.NUD_FAILED)
	addNeighbour(t, ens, "10.0.1.79", netlink.NUD_NOARP)
	addNeighbour(t, ens, "fe80::9", netlink.NUD_PERMANENT)

	at := netip.MustParseAddr
	dest := func(to, typ, source, gateway, neighbour string) netcfg.Destination {
		d := netcfg.Destination{Address: at(to), Type: typ, Neighbour: neighbour}
		if typ == "unicast" {
			d.Link = "ens5"
		}
		if source != "" {
			d.Source = at(source)
		}
		if gateway != "" {
			d.Gateway = at(gateway)
		}
		return d
	}
	local := dest("10.0.1.23", "local", "10.0.1.23", "", "")
	local.Link = "lo"
	want := []netcfg.Destination{
		dest("198.51.100.1", "unicast", "10.0.1.23", "10.0.1.1", "reachable"),
		dest("198.51.100.200", "unicast", "10.0.1.24", "10.0.1.2", "stale"),
		dest("10.0.1.77", "unicast", "10.0.1.23", "", "permanent"),
		dest("10.0.1.78", "unicast", "10.0.1.23", "", "failed"),
		dest("10.0.1.79", "unicast", "10.0.1.23", "", "noarp"),
		dest("10.0.1.80", "unicast", "10.0.1.23", "", ""),
		local,
		dest("192.0.2.1", "blackhole", "", "", ""),
		dest("192.0.2.129", "unreachable", "", "", ""),
		dest("192.0.2.193", "prohibit", "", "", ""),
		dest("192.0.2.225", "", "", "", ""),
		dest("8.8.8.8", "", "", "", ""),
		dest("::ffff:10.0.1.77", "unicast", "10.0.1.23", "", "permanent"),
		dest("203.0.113.1", "unicast", "10.0.1.23", "fe80::9", "permanent"),
		dest("2001:db8:1::1", "unicast", "2001:db8::7", "fe80::9", "permanent"),
		dest("2001:db8::99", "unicast", "2001:db8::7", "", ""),
		dest("2001:db8:dead::1", "blackhole", "", "", ""),
		dest("2001:db8:beef::1", "prohibit", "", "", ""),
		dest("2001:db8:cafe::1", "unreachable", "", "", ""),
		dest("2600::1", "", "", "", ""),
		dest("fe80::9%nope", "", "", "", ""),
		dest("fe80::9%9999", "", "", "", ""),
		dest("0.0.0.0", "", "", "", ""),
		{},
	}
	var ask []netip.Addr
	for _, d := range want {
		ask = append(ask, d.Address)
	}
	before := sent(t, ens)
	got, err := netcfg.Look(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpNetip); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	zoned, err := netcfg.Look(t.Context(), []netip.Addr{at("fe80::9%ens5")})
	if err != nil || zoned[0].Link != "ens5" || zoned[0].Neighbour != "permanent" || zoned[0].Type != "unicast" {
		t.Errorf("with a zone: %+v, %v", zoned, err)
	}
	if after := sent(t, ens); after != before {
		t.Errorf("%d packets were sent", after-before)
	}

	// A link without carrier: the kernel takes its routes away.
	if err := netlink.LinkSetDown(ens); err != nil {
		t.Fatal(err)
	}
	if got, err := netcfg.Look(t.Context(), []netip.Addr{at("198.51.100.1")}); err != nil || got[0].Type != "" {
		t.Errorf("with the link down: %+v, %v", got, err)
	}
	_ = peer
}

// sent counts the packets that left by a link, once those of duplicate address
// detection and router discovery are out.
func sent(t *testing.T, l netlink.Link) uint64 {
	t.Helper()
	count := func() uint64 {
		l, err := netlink.LinkByIndex(l.Attrs().Index)
		if err != nil {
			t.Fatal(err)
		}
		return l.Attrs().Statistics.TxPackets
	}
	last := count()
	for range 100 {
		time.Sleep(50 * time.Millisecond)
		n := count()
		if n == last {
			return n
		}
		last = n
	}
	return last
}

// What a connect to an address that nobody has leaves behind.
func TestLookAfterFailure(t *testing.T) {
	ens, _ := veth(t, "ens5", "02:29:96:8f:6a:2d", true)
	addAddr(t, ens, "10.0.1.23/24", 0)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if c, err := new(net.Dialer).DialContext(ctx, "tcp", "10.0.1.99:443"); err == nil {
		_ = c.Close()
		t.Fatal("somebody answered")
	}
	got, err := netcfg.Look(t.Context(), addrs("10.0.1.99"))
	if err != nil || !slices.Contains([]string{"incomplete", "failed"}, got[0].Neighbour) {
		t.Errorf("%+v, %v, want incomplete or failed", got, err)
	}
}

func TestLookBounds(t *testing.T) {
	if got, err := netcfg.Look(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("nothing: %v, %v", got, err)
	}
	many := make([]netip.Addr, netcfg.LookLimit+1)
	a := netip.MustParseAddr("127.0.0.1")
	for i := range many {
		many[i] = a
		a = a.Next()
	}
	best := time.Hour
	for i := 0; i < 5 || i < 100 && best > 50*time.Millisecond; i++ {
		began := time.Now()
		got, err := netcfg.Look(t.Context(), many)
		if err != nil || len(got) != netcfg.LookLimit || got[255].Address != many[255] || got[255].Type != "local" {
			t.Fatalf("%d answers, %v", len(got), err)
		}
		best = min(best, time.Since(began))
	}
	if t.Logf("256 addresses took %v", best); best > 50*time.Millisecond {
		t.Errorf("256 addresses took %v, want at most 50ms", best)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := netcfg.Look(ctx, addrs("127.0.0.1")); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// A fakeCards is a machine's network cards.
type fakeCards struct {
	drivers map[string]string
	stats   map[string]map[string]uint64
	asked   []string // for statistics
	closed  bool
}

func (f *fakeCards) DriverName(link string) (string, error) {
	if d, ok := f.drivers[link]; ok {
		return d, nil
	}
	return "", syscall.EOPNOTSUPP
}

func (f *fakeCards) Stats(link string) (map[string]uint64, error) {
	f.asked = append(f.asked, link)
	if s, ok := f.stats[link]; ok {
		return s, nil
	}
	return nil, syscall.EOPNOTSUPP
}

func (f *fakeCards) Close() { f.closed = true }

func TestLinkLocalDropped(t *testing.T) {
	t.Parallel()
	f := &fakeCards{
		drivers: map[string]string{"ens5": "ena", "ens6": "ena", "ens7": "ena", "ens8": "efa", "eth0": "virtio_net"},
		stats: map[string]map[string]uint64{
			"ens5": {"linklocal_allowance_exceeded": 7, "pps_allowance_exceeded": 1000},
			"ens6": {"linklocal_allowance_exceeded": 35, "tx_timeout": 3},
			"eth0": {"linklocal_allowance_exceeded": 1000},
		},
	}
	links := []string{"ens5", "ens6", "ens7", "ens8", "eth0", "gone"}
	if got := netcfg.LinkLocalDropped(links, func() (netcfg.Cards, error) { return f, nil }); got != 42 {
		t.Errorf("%d dropped, want 42", got)
	}
	if diff := cmp.Diff([]string{"ens5", "ens6", "ens7"}, f.asked); diff != "" || !f.closed {
		t.Errorf("closed %v, asked for statistics (-want +got):\n%s", f.closed, diff)
	}
	if got := netcfg.LinkLocalDropped(links, func() (netcfg.Cards, error) { return nil, syscall.EMFILE }); got != 0 {
		t.Errorf("without a socket: %d", got)
	}
	if got := netcfg.LinkLocalDropped(nil, nil); got != 0 { // opens nothing
		t.Errorf("without links: %d", got)
	}
}
