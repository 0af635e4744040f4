package netcfg_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/netcfg"
)

// route is a unicast route of the main table.
func route(dst, gw string, link, metric int) netcfg.Route {
	r := netcfg.Route{
		Destination: netip.MustParsePrefix(dst),
		Link:        link,
		Metric:      metric,
		Table:       netcfg.TableMain,
		Type:        "unicast",
	}
	if gw != "" {
		r.Gateway = netip.MustParseAddr(gw)
	}
	return r
}

func typed(r netcfg.Route, typ string) netcfg.Route { r.Type = typ; return r }

func inTable(r netcfg.Route, table int) netcfg.Route { r.Table = table; return r }

// node is an EKS node with two interfaces, as the VPC CNI leaves it.
func node() netcfg.State {
	return netcfg.State{
		Links: []netcfg.Link{
			{Index: 1, Name: "lo", Up: true, Running: true, Loopback: true, Addresses: prefixes("127.0.0.1/8", "::1/128")},
			{
				Index: 2, Name: "ens5", MAC: "02:29:96:8f:6a:2d", Up: true, Running: true,
				Addresses: prefixes("10.0.1.23/24", "fe80::29:96ff:fe8f:6a2d/64"),
			},
			{Index: 3, Name: "ens6", MAC: "02:29:96:8f:6a:2e", Up: true, Running: true, Addresses: prefixes("fe80::1/64")},
			{
				Index: 4, Name: "pod-id-link0", MAC: "aa:bb:cc:dd:ee:ff", Up: true,
				Addresses: prefixes("169.254.170.23/32", "fd00:ec2::23/128"),
			},
		},
		Routes: []netcfg.Route{
			inTable(route("0.0.0.0/0", "10.0.2.1", 3, 0), 2),
			route("0.0.0.0/0", "10.0.9.1", 3, 1024),
			route("0.0.0.0/0", "10.0.1.1", 2, 512),
			route("10.0.0.2/32", "10.0.1.1", 2, 512),
			route("10.0.1.0/24", "", 2, 512),
			typed(route("10.0.7.0/24", "", 0, 0), "blackhole"),
			typed(route("10.0.8.0/24", "", 0, 0), "throw"),
			typed(route("192.0.2.0/24", "", 0, 0), "prohibit"),
			route("192.0.2.0/25", "10.0.1.9", 2, 0),
			route("fe80::/64", "", 3, 256),
			route("fe80::/64", "", 2, 256),
		},
	}
}

func TestPrimary(t *testing.T) {
	t.Parallel()
	bond := node()
	bond.Links = append(bond.Links, netcfg.Link{Index: 9, Name: "bond0", MAC: "02:29:96:8f:6a:2d", Up: true})
	bond.Routes = append(bond.Routes, route("0.0.0.0/0", "10.0.1.1", 9, 1))
	child := node() // the first with the MAC has no address; neither has a default route
	child.Routes = nil
	child.Links = append([]netcfg.Link{{Index: 8, Name: "ipvl0", MAC: "02:29:96:8f:6a:2d", Up: true}}, child.Links...)
	v6only := node()
	v6only.Routes = []netcfg.Route{route("::/0", "fe80::9", 3, 1024)}

	tests := []struct {
		name  string
		state netcfg.State
		mac   string
		want  string // link name, empty for none
	}{
		{"by MAC", node(), "02:29:96:8f:6a:2e", "ens6"},
		{"upper case", node(), "02:29:96:8F:6A:2D", "ens5"},
		{"no such MAC", node(), "02:00:00:00:00:01", ""},
		{"unknown MAC", node(), "", "ens5"},
		{"unknown MAC, IPv6 only", v6only, "", "ens6"},
		{"unknown MAC, no routes", netcfg.State{Links: node().Links}, "", ""},
		{"default route wins among equals", bond, "02:29:96:8f:6a:2d", "bond0"},
		{"address wins among equals", child, "02:29:96:8f:6a:2d", "ens5"},
		{"empty state", netcfg.State{}, "02:29:96:8f:6a:2d", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, ok := tt.state.Primary(tt.mac)
			if got.Name != tt.want || ok != (tt.want != "") {
				t.Errorf("Primary(%q) = %q, %v, want %q", tt.mac, got.Name, ok, tt.want)
			}
		})
	}
}

func TestRouteTo(t *testing.T) {
	t.Parallel()
	tests := []struct {
		to   string
		want netcfg.Route // zero for none
	}{
		{"198.51.100.1", route("0.0.0.0/0", "10.0.1.1", 2, 512)},
		{"::ffff:198.51.100.1", route("0.0.0.0/0", "10.0.1.1", 2, 512)},
		{"10.0.0.2", route("10.0.0.2/32", "10.0.1.1", 2, 512)},
		{"10.0.1.200", route("10.0.1.0/24", "", 2, 512)},
		{"10.0.7.1", typed(route("10.0.7.0/24", "", 0, 0), "blackhole")},
		{"10.0.8.1", netcfg.Route{}},
		{"192.0.2.200", typed(route("192.0.2.0/24", "", 0, 0), "prohibit")},
		{"192.0.2.1", route("192.0.2.0/25", "10.0.1.9", 2, 0)},
		{"2001:db8::1", netcfg.Route{}},
		{"fe80::2%ens5", route("fe80::/64", "", 2, 256)},
		{"fe80::2%3", route("fe80::/64", "", 3, 256)},
		{"fe80::2%nope", netcfg.Route{}},
	}
	for _, tt := range tests {
		t.Run(tt.to, func(t *testing.T) {
			t.Parallel()
			got, ok := node().RouteTo(netip.MustParseAddr(tt.to))
			if diff := cmp.Diff(tt.want, got, cmpNetip); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if ok != tt.want.Destination.IsValid() {
				t.Errorf("found = %v", ok)
			}
		})
	}
	if _, ok := (netcfg.State{}).RouteTo(netip.MustParseAddr("10.0.0.1")); ok {
		t.Error("found a route in an empty state")
	}
	if _, ok := node().RouteTo(netip.Addr{}); ok {
		t.Error("found a route to no address")
	}
}

func TestDefaultRoute(t *testing.T) {
	t.Parallel()
	s := node()
	if r, ok := s.DefaultRoute(false); !ok || r.Metric != 512 {
		t.Errorf("IPv4: %+v, %v, want the one with metric 512", r, ok)
	}
	if r, ok := s.DefaultRoute(true); ok {
		t.Errorf("IPv6: %+v, want none", r)
	}
	s.Routes = append(
		s.Routes,
		typed(route("0.0.0.0/0", "", 0, 5), "unreachable"),
		route("::/0", "fe80::a", 2, 1024),
		route("::/0", "fe80::b", 3, 512),
		route("::/0", "fe80::c", 3, 512),
	)
	if r, ok := s.DefaultRoute(false); !ok || r.Type != "unreachable" {
		t.Errorf("IPv4: %+v, %v, want the unreachable one", r, ok)
	}
	if r, ok := s.DefaultRoute(true); !ok || r.Gateway != netip.MustParseAddr("fe80::b") {
		t.Errorf("IPv6: %+v, %v, want the first of metric 512", r, ok)
	}
}

func TestHasIPv6(t *testing.T) {
	t.Parallel()
	with := func(change func(*netcfg.Link)) netcfg.State {
		s := node()
		change(&s.Links[1])
		return s
	}
	tests := []struct {
		name  string
		state netcfg.State
		want  bool
	}{
		{"link-local and Pod Identity only", node(), false},
		{"global", with(func(l *netcfg.Link) { l.Addresses = prefixes("2600:1f13::7/128") }), true},
		{"unique local", with(func(l *netcfg.Link) { l.Addresses = prefixes("fd12:3456::7/64") }), true},
		{"tentative", with(func(l *netcfg.Link) {
			l.Addresses = prefixes("2600:1f13::7/128")
			l.Tentative = addrs("2600:1f13::7")
		}), false},
		{"one of two tentative", with(func(l *netcfg.Link) {
			l.Addresses = prefixes("2600:1f13::7/128", "2600:1f13::8/128")
			l.Tentative = addrs("2600:1f13::7")
		}), true},
		{"link down", with(func(l *netcfg.Link) {
			l.Addresses = prefixes("2600:1f13::7/128")
			l.Up = false
		}), false},
		{"on the loopback", with(func(l *netcfg.Link) {
			l.Addresses = prefixes("2600:1f13::7/128")
			l.Loopback = true
		}), false},
		{"multicast", with(func(l *netcfg.Link) { l.Addresses = prefixes("ff05::2/128") }), false},
		{"empty", netcfg.State{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.state.HasIPv6(); got != tt.want {
				t.Errorf("HasIPv6() = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestUsable(t *testing.T) {
	t.Parallel()
	l := netcfg.Link{
		Addresses: prefixes("169.254.7.7/16", "10.0.1.23/24", "10.0.1.24/32", "fe80::1/64", "2600::1/64", "2600::2/64"),
		Tentative: addrs("2600::1"),
	}
	if diff := cmp.Diff(addrs("10.0.1.23", "10.0.1.24"), l.Usable(false), cmpNetip); diff != "" {
		t.Errorf("IPv4: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(addrs("2600::2"), l.Usable(true), cmpNetip); diff != "" {
		t.Errorf("IPv6: -want +got:\n%s", diff)
	}
}

func TestServiceAddresses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		service  string
		dns, api string // empty: ErrServiceRange
	}{
		{"10.100.0.0/16", "10.100.0.10", "10.100.0.1"},
		{"172.20.0.0/16", "172.20.0.10", "172.20.0.1"},
		{"172.20.3.4/16", "172.20.0.10", "172.20.0.1"}, // not masked
		{"10.0.0.240/28", "10.0.0.250", "10.0.0.241"},
		{"10.0.0.0/29", "", "10.0.0.1"},
		{"10.0.0.1/32", "", ""},
		{"255.255.255.248/29", "", "255.255.255.249"},
		{"fd40:6404:f93b::/108", "fd40:6404:f93b::a", "fd40:6404:f93b::1"},
		{"fd40:6404:f93b::1230:0/108", "fd40:6404:f93b::1230:a", "fd40:6404:f93b::1230:1"},
		{"fd40::/125", "", "fd40::1"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.service, func(t *testing.T) {
			t.Parallel()
			p := netip.MustParsePrefix(tt.service)
			for _, f := range []struct {
				name string
				fn   func(netip.Prefix) (netip.Addr, error)
				want string
			}{{"ClusterDNS", netcfg.ClusterDNS, tt.dns}, {"APIServiceIP", netcfg.APIServiceIP, tt.api}} {
				got, err := f.fn(p)
				if f.want == "" {
					if !errors.Is(err, netcfg.ErrServiceRange) {
						t.Errorf("%s = %v, %v, want ErrServiceRange", f.name, got, err)
					}
					continue
				}
				if err != nil || got.String() != f.want {
					t.Errorf("%s = %v, %v, want %s", f.name, got, err, f.want)
				}
			}
		})
	}
	if _, err := netcfg.ClusterDNS(netip.Prefix{}); !errors.Is(err, netcfg.ErrServiceRange) {
		t.Errorf("no prefix: %v, want ErrServiceRange", err)
	}
}
