package bootstrap

import (
	"net/netip"
	"slices"

	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// A reference is what AmazonProvidedDNS says about the name of a target that
// fails: asked for comparison, or because it is among the configured servers.
// No program on this node uses a comparison's answer.
type reference struct {
	server    netip.Addr
	outcome   outcome // outUnknown when it was not asked
	addresses []netip.Addr
}

func (r reference) answered() bool { return r.outcome == outAnswer }

// refer finds the reference of a target. Of several that were asked the first
// that responded counts: they are one service.
func (v *view) refer(t *targetView) {
	if t == v.meta || t.proxied() {
		return
	}
	byServer := make([]reference, 0, 2)
	for _, l := range t.res.Compared {
		if !v.asksFor(l.Type) {
			continue
		}
		o := outcomeOf(l)
		i := slices.IndexFunc(byServer, func(r reference) bool { return r.server == l.Server.Addr() })
		if i < 0 {
			i = len(byServer)
			byServer = append(byServer, reference{server: l.Server.Addr(), outcome: o})
		} else {
			byServer[i].outcome = byServer[i].outcome.add(o)
		}
		byServer[i].addresses = append(byServer[i].addresses, v.usables(l)...)
	}
	for _, r := range byServer {
		t.ref = t.ref.or(r)
	}
	for i, s := range v.servers {
		if s.vpc && i < len(t.outcomes) {
			r := reference{server: s.addr.Addr(), outcome: t.outcomes[i]}
			for _, l := range t.res.Lookups {
				if l.Server == s.addr {
					r.addresses = append(r.addresses, v.usables(l)...)
				}
			}
			t.ref = t.ref.or(r)
		}
	}
	t.ref.addresses = sortAddresses(t.ref.addresses)
}

// or is the better of two: one that responded, else one that was asked.
func (r reference) or(o reference) reference {
	switch {
	case r.outcome.responded(), !o.outcome.responded() && r.outcome != outUnknown:
		return r
	default:
		return o
	}
}

// usables are the addresses of an answer that this node can use.
func (v *view) usables(l probe.Lookup) []netip.Addr {
	var out []netip.Addr
	for _, a := range l.Addresses {
		if a = a.Unmap(); v.usable(a) {
			out = append(out, a)
		}
	}
	return out
}

// private returns the addresses of the reference that are no public ones.
func (v *view) private(as []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(as), func(a netip.Addr) bool { return v.kindOf(a) == kindPublic })
}

// vpcSays reports whether the addresses used are what the VPC's resolver says, too:
// it is the server that decides, or as public as the decider.
func (v *view) vpcSays(t *targetView) bool {
	return v.deciderIsVPC(t) || t.ref.answered() && len(v.private(t.ref.addresses)) == 0 || t.ref.outcome == outNXDomain || t.ref.outcome == outNoData
}

// said is what the reference said, for people.
func (r reference) said() string {
	who := r.server.String()
	switch r.outcome {
	case outAnswer:
		return who + " answers"
	case outNXDomain:
		return who + " says NXDOMAIN"
	case outNoData:
		return who + " has no address either"
	case outServFail:
		return who + " answers SERVFAIL"
	case outRefused:
		return who + " answers REFUSED"
	case outTimeout:
		return who + " is silent"
	case outUnknown:
		return ""
	default:
		return who + " cannot be asked"
	}
}

// referred takes together what the reference said about several targets: how many
// names it answered, and for how many of them it responded or was silent.
type references struct {
	server                     netip.Addr
	answered, responded, asked int
	silent                     int
}

func referencesOf(ts []*targetView) references {
	var rs references
	for _, t := range ts {
		if t.ref.outcome == outUnknown {
			continue
		}
		if rs.asked++; !rs.server.IsValid() || t.ref.outcome.responded() && rs.responded == 0 {
			rs.server = t.ref.server
		}
		if t.ref.outcome.responded() {
			rs.responded++
		}
		if t.ref.answered() {
			rs.answered++
		}
		if t.ref.outcome == outTimeout {
			rs.silent++
		}
	}
	return rs
}

// upstream is what a DNS server must forward AWS's names to so that it says what
// the VPC's own resolver says. That one answers inside its VPC only.
func (v *view) upstream(servers []netip.Addr) string {
	resolver, inbound := "the VPC's resolver ("+v.resolver()+")", "a Route 53 Resolver inbound endpoint of this VPC"
	outside := slices.DeleteFunc(slices.Clone(servers), func(a netip.Addr) bool {
		k := v.kindOf(a)
		return k.inVPC() || k == kindLinkLocal
	})
	switch {
	case len(outside) == 0:
		return resolver
	case len(outside) == len(servers):
		return inbound
	default:
		return resolver + ", or from outside the VPC to " + inbound
	}
}

// lookedUp indexes what the kernel said about single addresses.
func (v *view) lookedUp() {
	if len(v.state.Destinations) == 0 {
		return
	}
	v.destinations = make(map[netip.Addr]netcfg.Destination, len(v.state.Destinations))
	for _, d := range v.state.Destinations {
		v.destinations[d.Address.Unmap()] = d
	}
}
