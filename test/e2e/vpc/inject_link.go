package vpc

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// noDefaultRoute takes the node's default routes.
func noDefaultRoute(v *VPC, _ string) (undo, error) {
	gateways := []string{"10.20.1.1"}
	if v.options.IPv6 {
		gateways = append(gateways, "fe80::1")
	}
	change := func(do func(*netlink.Route) error) error {
		return in(v.node, func() error {
			eth0, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			for _, gw := range gateways {
				if err := do(defaultRoute(eth0, gw)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := change(netlink.RouteDel); err != nil {
		return nil, err
	}
	return func() error { return change(netlink.RouteReplace) }, nil
}

// nodeRoutes adds routes of a type to the node.
func nodeRoutes(kind int, blocks func(*VPC) []netip.Prefix) func(*VPC, string) (undo, error) {
	return func(v *VPC, _ string) (undo, error) {
		change := func(do func(*netlink.Route) error) error {
			return in(v.node, func() error {
				for _, b := range blocks(v) {
					r := &netlink.Route{Dst: ipNet(b.String()), Type: kind, Table: unix.RT_TABLE_MAIN}
					if err := do(r); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := change(netlink.RouteAdd); err != nil {
			return nil, err
		}
		return func() error { return change(netlink.RouteDel) }, nil
	}
}

// gone takes addresses away from whoever has them: nobody answers ARP any more.
func gone(addresses func(*VPC) []netip.Addr) func(*VPC, string) (undo, error) {
	return func(v *VPC, _ string) (undo, error) {
		change := func(do func(netlink.Link, *netlink.Addr) error) error {
			return in(v.router, func() error {
				lo, err := netlink.LinkByName("lo")
				if err != nil {
					return err
				}
				for _, a := range addresses(v) {
					if err := do(lo, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, a.BitLen()).String())}); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := change(netlink.AddrDel); err != nil {
			return nil, err
		}
		return func() error { return change(netlink.AddrAdd) }, nil
	}
}

// noCarrier pulls the cable out at the far end.
func noCarrier(v *VPC, _ string) (undo, error) {
	change := func(do func(netlink.Link) error) error {
		return in(v.router, func() error {
			link, err := netlink.LinkByName("subnet-a")
			if err != nil {
				return err
			}
			return do(link)
		})
	}
	if err := change(netlink.LinkSetDown); err != nil {
		return nil, err
	}
	if err := in(v.node, noticed(false)); err != nil {
		return nil, err
	}
	return func() error {
		if err := change(netlink.LinkSetUp); err != nil {
			return err
		}
		// A link that goes down loses its IPv6 addresses.
		err := change(func(link netlink.Link) error {
			for _, p := range v.routerAddresses {
				if err := addAddress(link, p); err != nil && !errors.Is(err, unix.EEXIST) {
					return err
				}
			}
			return running(context.Background(), "subnet-a", v.routerAddresses...)
		})
		return errors.Join(err, in(v.node, noticed(true)))
	}, nil
}

// noticed waits until the kernel's link watch has seen that eth0 has a carrier, or
// none, which takes up to a second where nobody asks.
func noticed(carrier bool) func() error {
	return func() error { return awaitCarrier(carrier) }
}

func awaitCarrier(carrier bool) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if (link.Attrs().RawFlags&unix.IFF_RUNNING != 0) == carrier {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("the carrier of eth0 does not change")
		}
	}
}

// unaddressed takes the addresses of one or both families off the node's
// interface, and with them its routes.
func unaddressed(families ...int) func(*VPC, string) (undo, error) {
	return func(v *VPC, _ string) (undo, error) {
		var addresses []netlink.Addr
		err := in(v.node, func() error {
			eth0, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			for _, family := range families {
				list, err := netlink.AddrList(eth0, family)
				if err != nil {
					return err
				}
				for _, a := range list {
					if a.Scope != unix.RT_SCOPE_UNIVERSE {
						continue
					}
					if err := netlink.AddrDel(eth0, &a); err != nil {
						return err
					}
					addresses = append(addresses, a)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		return func() error {
			return in(v.node, func() error {
				eth0, err := netlink.LinkByName("eth0")
				if err != nil {
					return err
				}
				for _, a := range addresses {
					gateway := "10.20.1.1"
					if a.IP.To4() == nil {
						gateway = "fe80::1"
					}
					if err := addAddress(eth0, a.IPNet.String()); err != nil {
						return err
					}
					if err := netlink.RouteReplace(defaultRoute(eth0, gateway)); err != nil {
						return err
					}
				}
				return nil
			})
		}, nil
	}
}

// secondInterface attaches another network interface of the same subnet, whose
// DHCP lease brought a default route as good as the first one's.
func secondInterface(v *VPC, _ string) (undo, error) {
	err := in(v.router, func() error {
		err := netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "eni-2", Index: 101, MTU: wireMTU},
			PeerName:  "eth1", PeerNamespace: netlink.NsFd(int(v.node)), PeerMTU: wireMTU,
		})
		if err != nil {
			return err
		}
		_, err = linkUp("eni-2")
		return err
	})
	if err != nil {
		return nil, err
	}
	err = in(v.node, func() error {
		eth1, err := linkUp("eth1", "10.20.1.60/24")
		if err != nil {
			return err
		}
		return netlink.RouteAppend(defaultRoute(eth1, "10.20.1.1"))
	})
	return func() error {
		return in(v.router, func() error {
			link, err := netlink.LinkByName("eni-2")
			if err != nil {
				return err
			}
			return netlink.LinkDel(link)
		})
	}, err
}
