package netcfg

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// links fills s.Links without their addresses.
func (k *kernel) links(s *State) error {
	list, err := k.handle.LinkList()
	if err != nil {
		return err
	}
	s.Links = make([]Link, 0, len(list))
	k.cards = nil
	for _, l := range list {
		a := l.Attrs()
		// A link of a kind is the kernel's own; a pod's veth, say.
		if l.Type() == "device" && a.RawFlags&unix.IFF_LOOPBACK == 0 {
			k.cards = append(k.cards, a.Name)
		}
		s.Links = append(s.Links, Link{
			Index:    a.Index,
			Name:     a.Name,
			MAC:      a.HardwareAddr.String(),
			MTU:      a.MTU,
			Up:       a.RawFlags&unix.IFF_UP != 0,
			Running:  a.RawFlags&unix.IFF_RUNNING != 0,
			Loopback: a.RawFlags&unix.IFF_LOOPBACK != 0,
		})
	}
	return nil
}

// addresses adds the addresses of all links.
func (k *kernel) addresses(s *State) error {
	list, err := k.handle.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	byIndex := make(map[int]*Link, len(s.Links))
	for i := range s.Links {
		l := &s.Links[i]
		l.Addresses, l.Tentative = nil, nil // of an interrupted attempt
		byIndex[l.Index] = l
	}
	for _, a := range list {
		l := byIndex[a.LinkIndex]
		p := prefixOf(a.IPNet)
		if l == nil || !p.IsValid() {
			continue // the link appeared after it was asked for
		}
		l.Addresses = append(l.Addresses, p)
		if a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 && a.Flags&unix.IFA_F_OPTIMISTIC == 0 {
			l.Tentative = append(l.Tentative, p.Addr())
		}
	}
	return nil
}

// rules fills s.Rules. The library's own listing drops the action, without
// which a prohibit rule looks like a lookup, so the messages are read here.
func (k *kernel) rules(s *State) error {
	s.Rules = nil
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		req := nl.NewNetlinkRequest(unix.RTM_GETRULE, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfInfomsg(family))
		msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWRULE)
		if err != nil {
			return err
		}
		for _, m := range msgs {
			head := nl.DeserializeRtMsg(m)
			if int(head.Family) != family {
				continue // a kernel without IPv6 answers for another family
			}
			attrs, err := nl.ParseRouteAttr(m[head.Len():])
			if err != nil {
				return err
			}
			r := Rule{Action: ruleActions[head.Type], Not: head.Flags&netlink.FibRuleInvert != 0, Table: int(head.Table)}
			for _, a := range attrs {
				switch int(a.Attr.Type) {
				case nl.FRA_PRIORITY:
					r.Priority = int(u32(a.Value))
				case unix.RTA_TABLE:
					r.Table = int(u32(a.Value))
				case nl.FRA_SRC:
					r.Source = prefix(a.Value, int(head.Src_len))
				case nl.FRA_DST:
					r.Destination = prefix(a.Value, int(head.Dst_len))
				case nl.FRA_FWMARK:
					r.Mark = u32(a.Value)
				case nl.FRA_FWMASK:
					r.Mask = u32(a.Value)
				case nl.FRA_IIFNAME:
					r.In = unix.ByteSliceToString(a.Value)
				case nl.FRA_OIFNAME:
					r.Out = unix.ByteSliceToString(a.Value)
				}
			}
			if !kernelMade(r) {
				s.Rules = append(s.Rules, r)
			}
		}
	}
	return nil
}

var ruleActions = map[uint8]string{
	nl.FR_ACT_GOTO:        "goto",
	nl.FR_ACT_NOP:         "nop",
	nl.FR_ACT_BLACKHOLE:   "blackhole",
	nl.FR_ACT_UNREACHABLE: "unreachable",
	nl.FR_ACT_PROHIBIT:    "prohibit",
}

// kernelMade reports whether r is one of the rules every namespace begins with
// (fib_default_rules_init in the kernel's net/ipv4/fib_rules.c and fib6_rules.c).
func kernelMade(r Rule) bool {
	switch r {
	case Rule{Priority: 0, Table: unix.RT_TABLE_LOCAL},
		Rule{Priority: 32766, Table: unix.RT_TABLE_MAIN},
		Rule{Priority: 32767, Table: unix.RT_TABLE_DEFAULT}:
		return true
	}
	return false
}

// routes fills s.Routes with the main table and the tables that rules name.
func (k *kernel) routes(s *State) error {
	s.Routes = nil
	tables := map[int]bool{unix.RT_TABLE_MAIN: true}
	for _, r := range s.Rules {
		if r.Action == "" && r.Table != unix.RT_TABLE_LOCAL {
			tables[r.Table] = true
		}
	}
	all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := k.handle.RouteListFiltered(family, all, netlink.RT_FILTER_TABLE)
		if err != nil {
			return err
		}
		for _, r := range list {
			typ, ok := routeTypes[r.Type]
			dst := prefixOf(r.Dst)
			if !ok || !tables[r.Table] || !dst.IsValid() {
				continue
			}
			out := Route{
				Destination: dst.Masked(),
				Gateway:     gateway(r.Gw, r.Via),
				Source:      addr(r.Src),
				Link:        r.LinkIndex,
				Metric:      r.Priority,
				Table:       r.Table,
				Type:        typ,
			}
			if len(r.MultiPath) > 0 && !out.Gateway.IsValid() && out.Link == 0 {
				// The first of several equal next hops stands for all.
				hop := r.MultiPath[0]
				out.Gateway, out.Link = gateway(hop.Gw, hop.Via), hop.LinkIndex
			}
			s.Routes = append(s.Routes, out)
		}
	}
	return nil
}

// routeTypes are the types that say what becomes of a packet to elsewhere; the
// others (local, broadcast, multicast, …) say what belongs to this machine.
var routeTypes = map[int]string{
	unix.RTN_UNICAST:     "unicast",
	unix.RTN_BLACKHOLE:   "blackhole",
	unix.RTN_UNREACHABLE: "unreachable",
	unix.RTN_PROHIBIT:    "prohibit",
	unix.RTN_THROW:       "throw",
}

// gateway is the next hop; an IPv4 route may have an IPv6 one (RFC 9229), which comes as via.
func gateway(gw net.IP, via netlink.Destination) netip.Addr {
	if v, ok := via.(*netlink.Via); ok && v != nil {
		return addr(v.Addr)
	}
	return addr(gw)
}

// addr returns the zero Addr for no address.
func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// prefixOf keeps the host bits.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	ones, bits := n.Mask.Size()
	if bits == 0 {
		return netip.Prefix{}
	}
	ip := n.IP
	if v4 := ip.To4(); v4 != nil && bits == 32 {
		ip = v4
	}
	return prefix(ip, ones)
}

func prefix(ip []byte, bits int) netip.Prefix {
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, bits)
}

// u32 reads a number in host byte order, 0 when the kernel sent less.
func u32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return nl.NativeEndian().Uint32(b)
}
