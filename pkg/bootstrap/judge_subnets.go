package bootstrap

import (
	"net/netip"
	"slices"
)

// A kind says where an address lies, seen from the node.
type kind uint8

const (
	kindLinkLocal kind = iota // or this machine itself
	kindSubnet                // in the node's own subnet
	kindVPC                   // elsewhere in the VPC
	kindPrivate               // private, outside the VPC
	kindPublic
)

func (k kind) inVPC() bool { return k == kindSubnet || k == kindVPC }

// sharedSpace is the carriers' range, which VPCs use too (RFC 6598).
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

func (v *view) kindOf(a netip.Addr) kind {
	in := func(ps []netip.Prefix) bool {
		return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	switch {
	case a.IsLinkLocalUnicast(), a.IsLoopback(), a.IsUnspecified():
		return kindLinkLocal
	case in(v.plan.Instance.Subnet):
		return kindSubnet
	case in(v.plan.Instance.VPC):
		return kindVPC
	case a.IsPrivate(), sharedSpace.Contains(a):
		if len(v.plan.Instance.VPC) == 0 {
			return kindVPC // nothing is known of the VPC: the common case
		}
		return kindPrivate
	}
	return kindPublic
}

// A subnetView is the addresses that share a subnet, as far as the node can know:
// its own subnet is given, others are taken to be as large.
type subnetView struct {
	prefix netip.Prefix
	// answering and silent are the targets with such an address in the group.
	answering, silent []*targetView
	// own says that it is the node's own: what goes there passes no network ACL
	// and no route table.
	own bool
	// filtered says that the pattern follows the subnet: nothing in it answers,
	// and a target silent here answers elsewhere.
	filtered bool
}

func (v *view) subnetOf(a netip.Addr, k kind) *subnetView {
	if !k.inVPC() {
		return nil
	}
	bits := 24
	if a.Is6() {
		bits = 64
	}
	for _, p := range v.plan.Instance.Subnet {
		if p.Addr().Is6() == a.Is6() {
			bits = p.Bits()
		}
	}
	prefix, err := a.Prefix(bits)
	if err != nil {
		return nil
	}
	g := v.subnets[prefix]
	if g == nil {
		g = &subnetView{prefix: prefix, own: slices.Contains(v.plan.Instance.Subnet, prefix)}
		v.subnets[prefix] = g
	}
	return g
}
