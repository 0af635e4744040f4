package bootstrap

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// failing returns the targets that are known to fail.
func (v *view) failing() []*targetView {
	return slices.DeleteFunc(slices.Clone(v.targets), func(t *targetView) bool { return t.passed || !t.settled })
}

// noLink: nothing can work without an interface that runs.
func noLink(v *view) []*candidate {
	failing := v.failing()
	if !v.stateKnown || len(failing) == 0 ||
		slices.ContainsFunc(v.state.Links, func(l netcfg.Link) bool { return !l.Loopback && l.Up && l.Running }) {
		return nil
	}
	c := &candidate{
		code: LNK101, targets: failing, global: true,
		because: v.linkNames() + " is not up with a carrier",
	}
	if !slices.ContainsFunc(v.state.Links, func(l netcfg.Link) bool { return !l.Loopback }) {
		c.because = "there is no network interface but the loopback"
	}
	return []*candidate{c}
}

// noAddress: an interface runs, none has an address to talk from.
func noAddress(v *view) []*candidate {
	failing := v.failing()
	running := slices.DeleteFunc(slices.Clone(v.state.Links), func(l netcfg.Link) bool { return l.Loopback || !l.Up || !l.Running })
	if len(running) == 0 || len(failing) == 0 ||
		slices.ContainsFunc(running, func(l netcfg.Link) bool { return len(l.Usable(false))+len(l.Usable(true)) > 0 }) {
		return nil
	}
	return []*candidate{{
		code: LNK102, targets: failing, global: true,
		because: v.linkNames() + " has a carrier and no address beyond link-local" + onlyLinkLocal(running),
		not:     []RuledOut{{LNK101, "the link has a carrier"}},
	}}
}

// onlyLinkLocal lists what addresses the links have.
func onlyLinkLocal(links []netcfg.Link) string {
	var out []string
	for _, l := range links {
		out = append(out, stringsOf(l.Addresses)...)
	}
	if len(out) == 0 {
		return ""
	}
	return " (" + enumerate(out) + ")"
}

// noDefaultRoute: a needed address is beyond every route of the main table.
func noDefaultRoute(v *view) []*candidate {
	if !v.stateKnown {
		return nil
	}
	missing := func(a netip.Addr) bool {
		if a.Is6() && a.IsLinkLocalUnicast() {
			return false // on a link or nowhere, whatever the routes say
		}
		if d, ok := v.destinations[a]; ok && d.Type != "" {
			return false // a rule leads to another table
		}
		if r, ok := v.state.DefaultRoute(a.Is6()); ok && r.Type == "unicast" {
			return false
		}
		_, ok := v.state.RouteTo(a)
		return !ok
	}
	c := &candidate{code: LNK104}
	for _, t := range v.failing() {
		var needed []netip.Addr
		for _, p := range t.paths {
			if (p.cause == probe.TCPNetUnreachable || p.cause == probe.TCPHostUnreachable) && missing(p.addr) {
				needed = append(needed, p.addr)
			}
		}
		if t.unresolved() {
			for i, o := range t.outcomes {
				if a := v.servers[i].addr.Addr(); o == outUnreachable && missing(a) {
					needed = append(needed, a)
				}
			}
		}
		if len(needed) > 0 {
			c.targets = append(c.targets, t)
			c.addresses = append(c.addresses, needed...)
		}
	}
	if len(c.targets) == 0 {
		return nil
	}
	c.addresses = sortAddresses(c.addresses)
	c.because = fmt.Sprintf("the main routing table has no default route, and nothing in it leads to %s", enumerate(stringsOf(c.addresses)))
	c.fields = []string{"gateway", v.gateway(c.addresses[0].Is6())}
	c.not = []RuledOut{{LNK102, "the machine has an address"}}
	return []*candidate{c}
}

// gateway is the VPC router in the node's subnet: the first address after the
// base (VPC user guide, "Subnet sizing").
func (v *view) gateway(v6 bool) string {
	subnets := slices.Clone(v.plan.Instance.Subnet)
	for _, l := range v.state.Links { // before metadata could be read
		if !l.Loopback {
			subnets = append(subnets, l.Addresses...)
		}
	}
	for _, p := range subnets {
		if p.Addr().Is4() && p.Bits() < 31 && !v6 {
			return p.Masked().Addr().Next().String()
		}
	}
	return "the subnet's router"
}

// droppingRoute returns the route of this machine that drops packets to a: what
// the kernel said when it was asked, or else the main table.
func (v *view) droppingRoute(a netip.Addr) (netcfg.Route, bool) {
	r, ok := v.state.RouteTo(a)
	drops := ok && r.Type != "" && r.Type != "unicast"
	d, asked := v.destinations[a]
	if !asked {
		return r, drops
	}
	switch d.Type {
	case "blackhole", "unreachable", "prohibit":
		if !drops || r.Type != d.Type {
			r = netcfg.Route{Type: d.Type} // one of another table
		}
		return r, true
	default:
		return r, false
	}
}

func localRoute(v *view, p *pathView) bool {
	switch p.cause {
	case probe.TCPBlackhole, probe.TCPProhibited, probe.TCPHostUnreachable, probe.TCPNetUnreachable:
		_, ok := v.droppingRoute(p.addr)
		return ok
	default:
		return false
	}
}

// otherTable reports whether a dropping route is known by its effect alone: it is in
// a table that a rule names.
func otherTable(r netcfg.Route) bool { return !r.Destination.IsValid() }

func routeText(r netcfg.Route) string {
	if otherTable(r) {
		return r.Type + " in another table than main"
	}
	return r.Type + " " + r.Destination.String()
}

func routeKey(v *view, p *pathView) string {
	r, _ := v.droppingRoute(p.addr)
	return routeText(r)
}

func tellLocalRoute(v *view, c *candidate, ps []*pathView) {
	r, ok := v.droppingRoute(ps[0].addr)
	route := routeText(r)
	if !ok {
		route, c.confidence = "none in the main table", Possible
	}
	if !ok || otherTable(r) {
		c.remedy = "Find the blackhole, unreachable or prohibit route in the tables that the rules name (ip rule; ip route show table all) and remove it; it covers {addresses}."
	}
	c.because = fmt.Sprintf("connecting to %s fails %s with %s; route: %s",
		enumerate(addressTexts(ps)), tookText(ps[0].step.Took), errnoText(ps[0]), route)
	c.fields = []string{"route", route}
	c.not = []RuledOut{{NET102, "no packet left this machine"}}
}

// refusedHere says that the kernel itself refused, without asking the network: it
// has no route, or answered faster than any packet returns.
func (v *view) refusedHere(p *pathView) bool {
	instant := time.Duration(p.step.Took) < 100*time.Microsecond
	if d, ok := v.destinations[p.addr]; ok {
		return d.Type == ""
	}
	if !v.stateKnown {
		return instant
	}
	_, ok := v.state.RouteTo(p.addr)
	return !ok || len(v.state.Rules) > 0 && instant
}

func noRoute(v *view, p *pathView) bool {
	return (p.cause == probe.TCPNetUnreachable || p.cause == probe.TCPHostUnreachable) && v.refusedHere(p)
}

// goneOnLink: the neighbour did not answer, by the kernel's own word or because it
// took seconds, and it is a neighbour.
func goneOnLink(v *view, p *pathView) bool {
	if p.cause != probe.TCPHostUnreachable {
		return false
	}
	if d, ok := v.destinations[p.addr]; ok && d.Type == "unicast" && !d.Gateway.IsValid() && goneNeighbour(d) {
		return true
	}
	if time.Duration(p.step.Took) < time.Second {
		return false
	}
	if r, ok := v.state.RouteTo(p.addr); ok {
		return r.Type == "unicast" && !r.Gateway.IsValid()
	}
	return !v.stateKnown && p.kind == kindSubnet
}

func goneNeighbour(d netcfg.Destination) bool {
	return d.Neighbour == "failed" || d.Neighbour == "incomplete"
}

// tellNoRoute and tellNeighbour add what the kernel said when it was asked.
func tellNoRoute(v *view, c *candidate, ps []*pathView) {
	tellErrno(v, c, ps)
	if d, ok := v.destinations[ps[0].addr]; ok && d.Type == "" {
		c.because += "; the kernel has no route for it in any table"
		c.not = append(c.not, RuledOut{LNK106, "no route drops it either"})
	}
}

func tellNeighbour(v *view, c *candidate, ps []*pathView) {
	tellErrno(v, c, ps)
	for _, p := range ps {
		if d, ok := v.destinations[p.addr]; ok && goneNeighbour(d) {
			c.because += fmt.Sprintf("; the neighbour entry of %s on %s is %s", p.addr, d.Link, d.Neighbour)
			return
		}
	}
	c.confidence = Likely
}

// tellForbidden: EPERM is a firewall's or a security module's; EACCES may be a
// prohibit route's, too, where routes are chosen by rules.
func tellForbidden(v *view, c *candidate, ps []*pathView) {
	tellErrno(v, c, ps)
	_, asked := v.destinations[ps[0].addr]
	if !asked && (!v.stateKnown || len(v.state.Rules) > 0) {
		c.confidence = Likely
	}
}

// tellRefusal lowers what is claimed of refusals that have no cause in common but
// something near this node.
func tellRefusal(v *view, c *candidate, ps []*pathView) {
	tellRefused(v, c, ps)
	if c.code == LNK107 {
		c.confidence = Likely
	}
}
