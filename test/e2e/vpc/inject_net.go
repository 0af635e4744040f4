package vpc

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// A chain is a base chain of nft(8) with the rules of a fault.
type chain struct {
	// node says that it is in the node's namespace, not in the router's.
	node   bool
	family string // inet when empty
	hook   string // of the input when empty
	// before are further objects of the table.
	before string
	rules  func(*VPC) []string
}

func (c chain) apply(v *VPC, name string) (undo, error) {
	ns := v.router
	if c.node {
		ns = v.node
	}
	table := cmp.Or(c.family, "inet") + " fault-" + name
	add := "table " + table + " {\n" + c.before + "\tchain in {\n\t\ttype filter " + cmp.Or(c.hook, "hook input priority 0") +
		"; policy accept;\n\t\t" + strings.Join(c.rules(v), "\n\t\t") + "\n\t}\n}\n"
	if err := nft(ns, add); err != nil {
		return nil, err
	}
	return func() error { return nft(ns, "delete table "+table+"\n") }, nil
}

// filter lets the router judge packets that arrive.
func filter(rules func(*VPC) []string) func(*VPC, string) (undo, error) {
	return chain{rules: rules}.apply
}

// hostFirewall is a rule of the node's own firewall.
func hostFirewall(rules ...string) func(*VPC, string) (undo, error) {
	return chain{node: true, hook: "hook output priority 0", rules: func(*VPC) []string { return rules }}.apply
}

func nft(ns netns.NsHandle, script string) error {
	path, err := lookNFT()
	if err != nil {
		return err
	}
	return in(ns, func() error {
		// It ends by itself within milliseconds, so there is nothing to cancel.
		cmd := &exec.Cmd{Path: path, Args: []string{"nft", "-f", "-"}, Stdin: strings.NewReader(script)}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s\n%s", err, out, script)
		}
		return nil
	})
}

// lookNFT also looks where administrators' programs are, which is not in every user's PATH.
func lookNFT() (string, error) {
	path, err := exec.LookPath("nft")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/nft")
	}
	return path, err
}

const syn = "tcp flags & (syn | ack) == syn "

// to makes the rules for new connections to port 443 of some addresses.
func to(addresses []netip.Addr, verdict string) []string {
	var rules []string
	for _, family := range []struct {
		match string
		want  func(netip.Addr) bool
	}{{"ip daddr", netip.Addr.Is4}, {"ip6 daddr", netip.Addr.Is6}} {
		if set := nftSet(addresses, family.want); set != "" {
			rules = append(rules, family.match+" "+set+" tcp dport 443 "+syn+verdict)
		}
	}
	return rules
}

func nftSet(addresses []netip.Addr, want func(netip.Addr) bool) string {
	var list []string
	for _, a := range addresses {
		if want(a) {
			list = append(list, a.String())
		}
	}
	if list == nil {
		return ""
	}
	return "{ " + strings.Join(list, ", ") + " }"
}

// service filters connections to all addresses of services.
func service(verdict string, services ...string) func(*VPC, string) (undo, error) {
	return filter(func(v *VPC) []string {
		var addresses []netip.Addr
		for _, s := range services {
			addresses = append(addresses, v.Addresses(s)...)
		}
		return to(addresses, verdict)
	})
}

// servers filters DNS to the servers that resolv.conf names.
func servers(udp, tcp string) func(*VPC, string) (undo, error) {
	return filter(func(v *VPC) []string {
		var rules []string
		for _, a := range v.options.DNSServers {
			family := "ip"
			if a.Is6() {
				family = "ip6"
			}
			rules = append(rules,
				fmt.Sprintf("%s daddr %s udp dport 53 %s", family, a, udp),
				fmt.Sprintf("%s daddr %s tcp dport 53 %s", family, a, tcp))
		}
		return rules
	})
}

// imdsRule filters connections to metadata.
func imdsRule(verdict string) func(*VPC, string) (undo, error) {
	return filter(func(*VPC) []string {
		return []string{
			"ip daddr " + MetadataAddr().String() + " tcp dport 80 " + syn + verdict,
			"ip6 daddr " + metadata6 + " tcp dport 80 " + syn + verdict,
		}
	})
}

// routeS3 takes the gateway endpoint's route out of the route table.
func routeS3(v *VPC, _ string) (undo, error) {
	change := func(do func(*netlink.Route) error) error {
		return in(v.router, func() error {
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			r := localRoute(lo, s3Block)
			return do(&r)
		})
	}
	if err := change(netlink.RouteDel); err != nil {
		return nil, err
	}
	return func() error { return change(netlink.RouteAdd) }, nil
}

// A direction is that of packets which a path swallows.
type direction int

const (
	outbound direction = iota // from the node
	inbound                   // to the node
)

// pathMTU is the size of the largest packet, in bytes, that gets through a black hole.
const pathMTU = 1400

// blackHole swallows packets larger than pathMTU and says nothing about it, on the
// way to or from some blocks of addresses. Path MTU discovery needs the ICMP
// message that says so (RFC 8899 section 1.1).
//
// The packets of a veth pair are not those of a wire: a sender hands over up to
// 64 KiB as one (GSO), which a filter would take for one large packet although the
// wire's would be small. With gso_max_segs 1 on both ends every packet is one segment,
// and the filter sits behind the wire, where it arrives.
func blackHole(d direction, blocks func(*VPC) []netip.Prefix) func(*VPC, string) (undo, error) {
	c := chain{family: "netdev", hook: `hook ingress device "subnet-a" priority 0`}
	match := "daddr"
	if d == inbound {
		c.node, c.hook, match = true, `hook ingress device "eth0" priority 0`, "saddr"
	}
	c.rules = func(v *VPC) []string {
		var rules []string
		for _, b := range blocks(v) {
			family := "ip "
			if b.Addr().Is6() {
				family = "ip6 "
			}
			rules = append(rules, fmt.Sprintf("%s%s %s meta length > %d drop", family, match, b, pathMTU))
		}
		return rules
	}
	return all(wholeSegments, c.apply)
}

// wholeSegments lets both ends of the node's link send one segment per packet.
func wholeSegments(v *VPC, _ string) (undo, error) {
	const usual = 65535
	set := func(segments int) error {
		var errs []error
		for _, end := range []struct {
			ns   netns.NsHandle
			name string
		}{{v.router, "subnet-a"}, {v.node, "eth0"}} {
			errs = append(errs, in(end.ns, func() error {
				link, err := netlink.LinkByName(end.name)
				if err != nil {
					return err
				}
				return netlink.LinkSetGSOMaxSegs(link, segments)
			}))
		}
		return errors.Join(errs...)
	}
	return func() error { return set(usual) }, set(1)
}

// prefixes are the blocks of single addresses.
func prefixes(addresses []netip.Addr) []netip.Prefix {
	out := make([]netip.Prefix, len(addresses))
	for i, a := range addresses {
		out[i] = netip.PrefixFrom(a, a.BitLen())
	}
	return out
}
