package vpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// dnsServer lets a further address answer like the others.
func dnsServer(a netip.Addr) func(*VPC, string) (undo, error) {
	return func(v *VPC, _ string) (undo, error) {
		err := in(v.router, func() error {
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			if err := addAddress(lo, netip.PrefixFrom(a, a.BitLen()).String()); err != nil {
				return err
			}
			return v.resolver.listen(context.Background(), a)
		})
		return nothing, err
	}
}

// nothing takes nothing back: a shape lasts as long as its VPC.
func nothing() error { return nil }

// stub lets the node have systemd-resolved's stub, which answers what the servers
// answer, and its list of servers.
func stub(v *VPC, name string) (undo, error) {
	const (
		run      = "/run/systemd"
		list     = "/run/systemd/resolve/resolv.conf"
		stubAddr = "127.0.0.53"
	)
	before, err := os.ReadFile(v.ResolvConf())
	if err != nil {
		return nil, err
	}
	_, search, _ := strings.Cut(string(before), "search ")
	stubFile := "nameserver " + stubAddr + "\noptions edns0 trust-ad\nsearch " + search
	below := map[string]string{list: string(before)}
	// What resolv.conf of this machine is may be there, too.
	if real, err := filepath.EvalSymlinks("/etc/resolv.conf"); err == nil && strings.HasPrefix(real, run+"/") {
		below[real] = stubFile
	}
	for path, content := range below {
		path = filepath.Join(v.dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return nil, err
		}
	}
	if _, err := edit((*VPC).ResolvConf, func(*VPC, string) string { return stubFile })(v, name); err != nil {
		return nil, err
	}
	if err := v.Bind(filepath.Join(v.dir, run), run); err != nil {
		return nil, err
	}
	return nothing, in(v.node, func() error { return v.resolver.listen(context.Background(), netip.MustParseAddr(stubAddr)) })
}

// plug connects a further network interface of the node.
func (v *VPC) plug(name string, index int) error {
	return in(v.router, func() error {
		far := fmt.Sprintf("eni-%d", index)
		err := netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: far, Index: 100 + index, MTU: wireMTU},
			PeerName:  name, PeerNamespace: netlink.NsFd(int(v.node)), PeerMTU: wireMTU,
		})
		if err != nil {
			return err
		}
		_, err = linkUp(far)
		return err
	})
}

// barePorts are network interfaces that are up and have no address.
func barePorts(n int) func(*VPC, string) (undo, error) {
	return func(v *VPC, _ string) (undo, error) {
		var errs []error
		for i := 1; i <= n; i++ {
			name := fmt.Sprintf("eth%d", i)
			errs = append(errs, v.plug(name, i), in(v.node, func() error {
				_, err := linkUp(name)
				return err
			}))
		}
		return nothing, errors.Join(errs...)
	}
}

// secondENI attaches a network interface of the node's subnet as amazon-ec2-net-utils
// sets it up: what comes from its address has a table of its own, and in the main
// one its routes have the larger metric.
func secondENI(v *VPC, _ string) (undo, error) {
	const (
		metric = 512 // of the first interface; the second one has ten more
		table  = 10001
	)
	if err := v.plug("eth1", 1); err != nil {
		return nil, err
	}
	gateway := v.options.gateway().String()
	return nothing, in(v.node, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		first := defaultRoute(eth0, gateway)
		if err := netlink.RouteDel(first); err != nil {
			return err
		}
		first.Priority = metric
		if err := netlink.RouteAdd(first); err != nil {
			return err
		}
		eth1, err := linkUp("eth1")
		if err != nil {
			return err
		}
		own := v.options.node().AsSlice()
		own[3] += 10
		err = netlink.AddrAdd(eth1, &netlink.Addr{
			IPNet: &net.IPNet{IP: own, Mask: net.CIDRMask(v.options.subnet().Bits(), 32)}, Flags: unix.IFA_F_NOPREFIXROUTE,
		})
		if err != nil {
			return err
		}
		subnet := netlink.Route{LinkIndex: eth1.Attrs().Index, Dst: ipNet(v.options.subnet().String()), Src: own, Scope: unix.RT_SCOPE_LINK}
		for _, r := range []netlink.Route{subnet, *defaultRoute(eth1, gateway)} {
			r.Priority = metric + 10
			if err := netlink.RouteAdd(&r); err != nil {
				return err
			}
			r.Priority, r.Table = 0, table
			if err := netlink.RouteAdd(&r); err != nil {
				return err
			}
		}
		rule := netlink.NewRule()
		rule.Src, rule.Table, rule.Priority = &net.IPNet{IP: own, Mask: net.CIDRMask(32, 32)}, table, table
		return netlink.RuleAdd(rule)
	})
}

// podRoutes are the rules and routes of the VPC CNI for two pods: one has an address of
// the first network interface, one of the second (docs/ of amazon-vpc-cni-k8s).
func podRoutes(v *VPC, _ string) (undo, error) {
	const (
		toPod, marked, fromPod = 512, 1024, 1536 // priorities
		mark                   = 0x80
		table                  = 2 // of the second network interface
	)
	return nothing, in(v.node, func() error {
		eth1, err := netlink.LinkByName("eth1")
		if err != nil {
			return err
		}
		way := defaultRoute(eth1, v.options.gateway().String())
		way.Table = table
		way.Flags = int(netlink.FLAG_ONLINK)
		byMark := netlink.NewRule()
		byMark.Priority, byMark.Mark, byMark.Mask, byMark.Table = marked, mark, new(uint32), unix.RT_TABLE_MAIN
		*byMark.Mask = mark
		errs := []error{netlink.RouteAdd(way), netlink.RuleAdd(byMark)}
		for i, pod := range []byte{77, 78} {
			host := fmt.Sprintf("eni%011d", i)
			address := v.options.node().AsSlice()
			address[3] = pod
			own := &net.IPNet{IP: address, Mask: net.CIDRMask(32, 32)}
			errs = append(errs, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: host}, PeerName: fmt.Sprintf("pod%d", i)}))
			link, err := linkUp(host)
			if err != nil {
				return errors.Join(append(errs, err)...)
			}
			rule := netlink.NewRule()
			rule.Priority, rule.Dst, rule.Table = toPod, own, unix.RT_TABLE_MAIN
			errs = append(errs,
				netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: own, Scope: unix.RT_SCOPE_LINK}),
				netlink.RuleAdd(rule),
			)
			if i == 1 {
				rule := netlink.NewRule()
				rule.Priority, rule.Src, rule.Table = fromPod, own, table
				errs = append(errs, netlink.RuleAdd(rule))
			}
		}
		return errors.Join(errs...)
	})
}
