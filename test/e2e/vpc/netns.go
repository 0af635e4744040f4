package vpc

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// onThread runs f on an OS thread that no other goroutine ever gets: it is
// locked and never unlocked, so it ends with f, and f may move it into other
// namespaces. The process's first thread is avoided, because it cannot end and
// /proc/self shows its namespaces.
func onThread(f func() error) error {
	err := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// While this goroutine holds the first thread, the next one gets another.
			err <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		err <- f()
	}()
	return <-err
}

// in runs f in a network namespace, on a thread of its own. Goroutines that f
// starts are not in there.
func in(ns netns.NsHandle, f func() error) error {
	return onThread(func() error {
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// newNamespace makes a network namespace which lives as long as its handle.
func newNamespace() (netns.NsHandle, error) {
	handle := netns.None()
	err := onThread(func() error {
		var err error
		handle, err = netns.New()
		return err
	})
	if err != nil {
		return handle, fmt.Errorf("new network namespace: %w", err)
	}
	return handle, nil
}

// wire gives the router's namespace its addresses and routes, and a link into
// the node's.
func (v *VPC) wire() error {
	mac, err := net.ParseMAC(nodeMAC)
	if err != nil {
		return err
	}
	if v.options.Latency > 0 {
		v.slow, err = newSlowLink(v.router, v.node, mac, v.options.Latency)
	} else {
		err = netlink.LinkAdd(&netlink.Veth{
			// With the index of its peer the kernel would take its time over carrier
			// events (linkwatch_urgent_event in net/core/link_watch.c).
			LinkAttrs:        netlink.LinkAttrs{Name: "subnet-a", Index: 100, MTU: wireMTU},
			PeerName:         "eth0",
			PeerNamespace:    netlink.NsFd(int(v.node)),
			PeerHardwareAddr: mac,
			PeerMTU:          wireMTU,
		})
	}
	if err != nil {
		return fmt.Errorf("make the node's link: %w", err)
	}
	local := []netip.Addr{AmazonDNSAddr(), LinkLocalDNSAddr(), MetadataAddr(), TimeAddr(), ProxyAddr()}
	if v.options.CustomDNS {
		local = append(local, CustomDNSAddr())
	}
	router := []string{netip.PrefixFrom(v.options.gateway(), v.options.subnet().Bits()).String()}
	if v.options.IPv6 {
		local = append(local, netip.MustParseAddr(linkLocalDNS6), netip.MustParseAddr(metadata6), netip.MustParseAddr(time6))
		router = append(router, "2600:1f14:c0:de01::1/64", "fe80::1/64")
	}
	for _, e := range v.endpoints {
		local = append(local, e.spare...)
		for _, a := range e.private {
			switch {
			case e.extra: // a route makes all of them exist
			case a.Is6() && netip.MustParsePrefix(subnetA6).Contains(a):
				// Neighbour discovery, unlike ARP, finds an address only on the
				// interface where it is asked for.
				router = append(router, a.String()+"/128")
			default:
				local = append(local, a)
			}
		}
	}
	lo, err := linkUp("lo")
	if err != nil {
		return err
	}
	for _, a := range local {
		if err := addAddress(lo, netip.PrefixFrom(a, a.BitLen()).String()); err != nil {
			return err
		}
	}
	for _, r := range v.routerRoutes(lo) {
		if err := netlink.RouteAdd(&r); err != nil {
			return fmt.Errorf("add route %s: %w", r.Dst, err)
		}
	}
	v.routerAddresses = router
	_, err = linkUp("subnet-a", router...)
	return err
}

// routerRoutes are the router's routes beside those of its subnets. A route of
// type local makes a block of addresses exist, without one address each.
func (v *VPC) routerRoutes(lo netlink.Link) []netlink.Route {
	blackhole := func(dst string) netlink.Route {
		return netlink.Route{Dst: ipNet(dst), Type: unix.RTN_BLACKHOLE, Table: unix.RT_TABLE_MAIN}
	}
	routes := []netlink.Route{blackhole("0.0.0.0/0"), localRoute(lo, s3Block)}
	if v.options.IPv6 {
		routes = append(routes, blackhole("::/0"))
	}
	if v.options.NAT {
		for _, b := range natBlocks() {
			routes = append(routes, localRoute(lo, b))
		}
	}
	if v.options.ExtraEndpoints > 0 {
		for _, b := range extraBlocks() {
			routes = append(routes, localRoute(lo, b))
		}
	}
	return routes
}

func localRoute(lo netlink.Link, dst string) netlink.Route {
	return netlink.Route{
		Dst: ipNet(dst), Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL,
		Scope: unix.RT_SCOPE_HOST, LinkIndex: lo.Attrs().Index,
	}
}

// wireNode configures the node's namespace the way DHCP would.
func (v *VPC) wireNode(ctx context.Context) error {
	if _, err := linkUp("lo"); err != nil {
		return err
	}
	addresses := []string{netip.PrefixFrom(v.options.node(), v.options.subnet().Bits()).String()}
	gateways := []string{v.options.gateway().String()}
	if v.options.IPv6 {
		addresses = append(addresses, node6+"/64")
		gateways = append(gateways, "fe80::1")
	}
	eth0, err := linkUp("eth0", addresses...)
	if err != nil {
		return err
	}
	for _, gw := range gateways {
		if err := netlink.RouteAdd(defaultRoute(eth0, gw)); err != nil {
			return fmt.Errorf("add default route via %s: %w", gw, err)
		}
	}
	return running(ctx, "eth0", addresses...)
}

// running waits until packets come and go on a link. One that was up before its
// peer drops them until the kernel's link watch has seen the carrier: the first
// ARP reply would be lost, and the next one asked for a second later. An IPv6
// address is not found by its neighbours until the kernel's work queue has joined
// its solicited-node group (addrconf_dad_begin in net/ipv6/addrconf.c).
func running(ctx context.Context, name string, prefixes ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		// On recent kernels asking is enough: rtnl_getlink runs the link watch.
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find link %s: %w", name, err)
		}
		// A TAP device has a carrier as long as it is, and no link watch.
		state := link.Attrs().OperState
		if state == netlink.OperUp || state == netlink.OperUnknown && link.Type() == "tuntap" {
			joined, err := hasJoined(prefixes)
			if joined || err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("link %s has no carrier or no neighbours: %w", name, ctx.Err())
		}
	}
}

// hasJoined reports whether the solicited-node groups (RFC 4291 section 2.7.1)
// of all IPv6 addresses are joined in the calling thread's network namespace.
func hasJoined(prefixes []string) (bool, error) {
	var groups []byte
	for _, s := range prefixes {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return false, err
		}
		if p.Addr().Is4() {
			continue
		}
		if groups == nil {
			if groups, err = os.ReadFile("/proc/thread-self/net/igmp6"); err != nil {
				return false, err
			}
		}
		a := p.Addr().As16()
		if !bytes.Contains(groups, fmt.Appendf(nil, "ff0200000000000000000001ff%x", a[13:])) {
			return false, nil
		}
	}
	return true, nil
}

func defaultRoute(link netlink.Link, gateway string) *netlink.Route {
	dst := "0.0.0.0/0"
	gw := net.ParseIP(gateway)
	if gw.To4() == nil {
		dst = "::/0"
	}
	return &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(dst), Gw: gw}
}

// linkUp adds the addresses to a link and brings it up.
func linkUp(name string, addresses ...string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find link %s: %w", name, err)
	}
	for _, a := range addresses {
		if err := addAddress(link, a); err != nil {
			return nil, err
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("bring %s up: %w", name, err)
	}
	return link, nil
}

// addAddress adds an address that is valid at once: nobody else can have it, so
// duplicate address detection would only cost its second.
func addAddress(link netlink.Link, prefix string) error {
	a, err := netlink.ParseAddr(prefix)
	if err != nil {
		return fmt.Errorf("address %s: %w", prefix, err)
	}
	if a.IP.To4() == nil {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrAdd(link, a); err != nil {
		return fmt.Errorf("add %s to %s: %w", prefix, link.Attrs().Name, err)
	}
	return nil
}

// ipNet parses a prefix that is known to be good.
func ipNet(prefix string) *net.IPNet {
	p := netip.MustParsePrefix(prefix)
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
