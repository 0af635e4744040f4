package bootstrap

import (
	"net/netip"
	"slices"

	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// Link-local services of every VPC (EC2 user guide, VPC user guide "DNS attributes";
// fd00:ec2::123 by analogy).
var (
	amazonDNS4  = netip.MustParseAddrPort("169.254.169.253:53")
	amazonDNS6  = netip.MustParseAddrPort("[fd00:ec2::253]:53")
	amazonTime4 = netip.MustParseAddrPort("169.254.169.123:123")
	amazonTime6 = netip.MustParseAddrPort("[fd00:ec2::123]:123")
)

// maxNames is how many names of other targets a round gets for its experiments.
const maxNames = 2

// experiments are those that a round may make.
func (r *run) experiments() probe.Experiments {
	e := r.out.Plan.Experiments(r.out.Network)
	if !e.SecondSNI {
		return e
	}
	for _, t := range r.out.Plan.Targets {
		_, err := netip.ParseAddr(t.Host)
		if res, ok := r.out.Report.Result(t.Name); ok && err != nil && t.TLS && t.Proxy == "" && passes(res) && len(e.Names) < maxNames {
			e.Names = append(e.Names, t.Host)
		}
	}
	return e
}

// Experiments are those that a round may make on this network by the policy. Their
// Clock is left to the caller.
func (p Plan) Experiments(s netcfg.State) probe.Experiments {
	x := p.Policy.Experiments
	e := probe.Experiments{MSSClamp: x.MSSClamp, SmallHello: x.SmallHello, SecondSNI: x.SecondSNI, UDPTest: x.UDPTest}
	v4, v6 := p.families(s)
	if x.CompareDNS == compareAWSNames || x.CompareDNS == compareAll {
		e.References = p.references(v4, v6)
	}
	if x.NTP && v4 {
		e.NTP = append(e.NTP, amazonTime4)
	}
	if x.NTP && v6 {
		e.NTP = append(e.NTP, amazonTime6)
	}
	if x.DirectPath == directPrivate {
		e.Direct = p.isPrivate
	}
	return e
}

// references are the addresses of AmazonProvidedDNS as seen from this node.
func (p Plan) references(v4, v6 bool) []netip.AddrPort {
	var out []netip.AddrPort
	if v4 {
		out = append(out, amazonDNS4)
		// The primary IPv4 block is the first; others have no resolver.
		i := slices.IndexFunc(p.Instance.VPC, func(b netip.Prefix) bool { return b.Addr().Is4() })
		if i >= 0 {
			out = append(out, netip.AddrPortFrom(p.Instance.VPC[i].Masked().Addr().Next().Next(), 53))
		}
	}
	if v6 {
		out = append(out, amazonDNS6)
	}
	return out
}

// families says which families this node has an address of beyond its own links.
// Without a network state that is what the metadata service says.
func (p Plan) families(s netcfg.State) (v4, v6 bool) {
	if len(s.Links) == 0 {
		return p.Instance.LocalIPv4.IsValid(), len(p.Instance.IPv6) > 0
	}
	for _, l := range s.Links {
		for _, a := range l.Addresses {
			if l.Loopback || a.Addr().IsLinkLocalUnicast() || slices.Contains(l.Tentative, a.Addr()) {
				continue
			}
			v4, v6 = v4 || a.Addr().Is4(), v6 || a.Addr().Is6()
		}
	}
	return v4, v6
}

// isPrivate reports whether an address is in this VPC, or could be in another one.
func (p Plan) isPrivate(a netip.Addr) bool {
	return a.IsPrivate() || sharedSpace.Contains(a) ||
		slices.ContainsFunc(p.Instance.VPC, func(b netip.Prefix) bool { return b.Contains(a) })
}
