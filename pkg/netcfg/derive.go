package netcfg

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// TableMain is the main routing table (RT_TABLE_MAIN in linux/rtnetlink.h).
const TableMain = 254

// linkLocalServices is the range of the services that EC2 and EKS offer on
// IPv6 addresses of the machine itself or its link: metadata fd00:ec2::254, Pod
// Identity fd00:ec2::23. Such an address on an interface is no connection to anywhere.
var linkLocalServices = netip.MustParsePrefix("fd00:ec2::/32")

// Link returns the link with the given index and whether there is one.
func (s State) Link(index int) (Link, bool) {
	for _, l := range s.Links {
		if l.Index == index {
			return l, true
		}
	}
	return Link{}, false
}

// Primary returns the link that carries the machine's primary address. mac is
// what the metadata service calls the primary interface's; among several links
// with it (a bond, an ipvlan) the one with the default route wins, then one with a
// global address, then the first. An empty mac means unknown: then it is the
// link of the default route, IPv4 before IPv6.
func (s State) Primary(mac string) (Link, bool) {
	var byRoute []int
	for _, v6 := range []bool{false, true} {
		if r, ok := s.DefaultRoute(v6); ok && r.Link != 0 {
			byRoute = append(byRoute, r.Link)
		}
	}
	if mac == "" {
		if len(byRoute) == 0 {
			return Link{}, false
		}
		return s.Link(byRoute[0])
	}
	var best Link
	bestRank := -1
	for _, l := range s.Links {
		if l.Loopback || !strings.EqualFold(l.MAC, mac) {
			continue
		}
		rank := 0
		if slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return l.usable(p.Addr()) }) {
			rank = 1
		}
		if slices.Contains(byRoute, l.Index) {
			rank = 2
		}
		if rank > bestRank {
			best, bestRank = l, rank
		}
	}
	return best, bestRank >= 0
}

// usable reports whether a is an address of l that may be used to talk to
// other networks: not tentative, not link-local, not one of the machine's own services.
func (l Link) usable(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !linkLocalServices.Contains(a) && !slices.Contains(l.Tentative, a)
}

// Usable returns the link's addresses of one family that may be used to talk to
// other networks, in the kernel's order: neither tentative nor link-local.
func (l Link) Usable(v6 bool) []netip.Addr {
	var out []netip.Addr
	for _, p := range l.Addresses {
		if a := p.Addr(); a.Is6() == v6 && l.usable(a) {
			out = append(out, a)
		}
	}
	return out
}

// DefaultRoute returns the default route of the main table that the kernel
// prefers: the one with the lowest metric. It may be one that drops packets;
// see Route.Type.
func (s State) DefaultRoute(v6 bool) (Route, bool) {
	return s.best(func(r Route) bool {
		return r.Destination.Bits() == 0 && r.Destination.Addr().Is6() == v6
	})
}

// RouteTo returns the route of the main table that a packet to a takes: the
// longest prefix, then the lowest metric. It may be one that drops packets; see
// Route.Type. A throw route ends the search in the table and so counts as none.
// The zone of a scoped address chooses the link. Rules and this machine's own
// addresses are not considered.
func (s State) RouteTo(a netip.Addr) (Route, bool) {
	zone := a.Zone()
	a = a.Unmap().WithZone("")
	return s.best(func(r Route) bool {
		return r.Destination.Contains(a) && (zone == "" || s.inZone(r.Link, zone))
	})
}

// inZone reports whether zone names the link: by its name or its index (RFC 4007 section 11.2).
func (s State) inZone(index int, zone string) bool {
	l, ok := s.Link(index)
	return ok && (l.Name == zone || strconv.Itoa(index) == zone)
}

// best returns the route of the main table with the longest prefix, then the
// lowest metric, among those that match. Equal ones: the first, as the kernel does.
func (s State) best(match func(Route) bool) (Route, bool) {
	var best Route
	found := false
	for _, r := range s.Routes {
		if r.Table != TableMain || !match(r) {
			continue
		}
		longer := r.Destination.Bits() > best.Destination.Bits()
		equal := r.Destination.Bits() == best.Destination.Bits()
		if !found || longer || (equal && r.Metric < best.Metric) {
			best, found = r, true
		}
	}
	if best.Type == "throw" {
		return Route{}, false
	}
	return best, found
}

// HasIPv6 reports whether the machine has an IPv6 address that reaches beyond
// its link: a global or a unique local one (RFC 4193), not tentative, on a link
// that is up and no loopback. The addresses of the Pod Identity agent and other
// services on fd00:ec2::/32 do not count.
func (s State) HasIPv6() bool {
	return slices.ContainsFunc(s.Links, func(l Link) bool {
		return l.Up && !l.Loopback && len(l.Usable(true)) > 0
	})
}

// Offsets of the addresses that every cluster assigns in its service range.
const (
	apiServiceOffset = 1  // the first service made is default/kubernetes
	clusterDNSOffset = 10 // EKS: the kube-dns service, in both families
)

// ErrServiceRange says that a service range is invalid or too small for the
// addresses that every cluster takes from it.
var ErrServiceRange = errors.New("unusable service range")

// ClusterDNS returns the address of the cluster's DNS service: the service
// range's base plus 10. The error is ErrServiceRange.
func ClusterDNS(service netip.Prefix) (netip.Addr, error) {
	return offset(service, clusterDNSOffset)
}

// APIServiceIP returns the address of the service default/kubernetes: the
// service range's base plus 1. The error is ErrServiceRange.
func APIServiceIP(service netip.Prefix) (netip.Addr, error) {
	return offset(service, apiServiceOffset)
}

func offset(service netip.Prefix, n int) (netip.Addr, error) {
	if !service.IsValid() {
		return netip.Addr{}, fmt.Errorf("%w: no prefix", ErrServiceRange)
	}
	a := service.Masked().Addr()
	for range n {
		if a = a.Next(); !service.Contains(a) {
			return netip.Addr{}, fmt.Errorf("%w: %s has no address number %d", ErrServiceRange, service, n)
		}
	}
	return a, nil
}
