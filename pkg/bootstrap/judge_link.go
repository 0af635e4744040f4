package bootstrap

import (
	"cmp"
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
		because: v.linkNames() + " has a carrier and no address beyond link-local",
		not:     []RuledOut{{LNK101, "the link has a carrier"}},
	}}
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

// droppingRoute returns the route of this machine that drops packets to a.
func (v *view) droppingRoute(a netip.Addr) (netcfg.Route, bool) {
	r, ok := v.state.RouteTo(a)
	return r, ok && r.Type != "" && r.Type != "unicast"
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

func routeText(r netcfg.Route) string { return r.Type + " " + r.Destination.String() }

func routeKey(v *view, p *pathView) string {
	r, _ := v.droppingRoute(p.addr)
	return routeText(r)
}

func tellLocalRoute(v *view, c *candidate, ps []*pathView) {
	var route string
	if r, ok := v.droppingRoute(ps[0].addr); ok {
		route = routeText(r)
	} else {
		route, c.confidence = "none in the main table", Possible
		c.remedy = "Find the blackhole route in the tables that the rules name (ip rule; ip route show table all) and remove it; it covers {addresses}."
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
	if !v.stateKnown {
		return instant
	}
	_, ok := v.state.RouteTo(p.addr)
	return !ok || len(v.state.Rules) > 0 && instant
}

func noRoute(v *view, p *pathView) bool {
	return (p.cause == probe.TCPNetUnreachable || p.cause == probe.TCPHostUnreachable) && v.refusedHere(p)
}

// goneOnLink: the neighbour did not answer for seconds, and it is a neighbour.
func goneOnLink(v *view, p *pathView) bool {
	if p.cause != probe.TCPHostUnreachable || time.Duration(p.step.Took) < time.Second {
		return false
	}
	if r, ok := v.state.RouteTo(p.addr); ok {
		return r.Type == "unicast" && !r.Gateway.IsValid()
	}
	return !v.stateKnown && p.kind == kindSubnet
}

// metadataFails names why the metadata service cannot be used.
func metadataFails(v *view) []*candidate {
	t := v.meta
	if t == nil || t.passed || !t.settled || len(t.paths) == 0 {
		return nil
	}
	p := t.paths[len(t.paths)-1]
	c := &candidate{targets: []*targetView{t}, addresses: []netip.Addr{p.addr}}
	took := p.step.Took.String()
	switch p.cause {
	case probe.TCPTimeout:
		c.code, c.because = IMD102, "no answer from "+p.addr.String()+" within "+took
	case probe.TCPNetUnreachable, probe.TCPHostUnreachable, probe.TCPBlackhole, probe.TCPProhibited, probe.TCPRefused, probe.TCPReset:
		c.code, c.because = IMD101, "connecting to "+p.addr.String()+" fails "+tookText(p.step.Took)+" with "+errnoText(p)
		detail := "ip route get " + p.addr.String() + "; nft list ruleset"
		if r, ok := v.droppingRoute(p.addr); ok {
			detail = "the route '" + routeText(r) + "'"
		}
		c.fields = []string{"detail", detail}
	case probe.HTTPTimeout, probe.HTTPReset, probe.HTTPClosed:
		c.code, c.because = IMD103, "the connection is made, and the request gets no answer within "+took
	case causeMetadata, probe.HTTPMalformed:
		refusedMetadata(c, p)
	default:
		if p.step.Phase != probe.PhaseHTTP {
			return nil // left to the fallback
		}
		refusedMetadata(c, p)
	}
	return []*candidate{c}
}

// refusedMetadata tells a disabled service from a busy and from a foreign one.
func refusedMetadata(c *candidate, p *pathView) {
	h := p.answer
	if h == nil {
		c.code, c.because = IMD105, "the answer is not what the metadata service gives ("+cmp.Or(p.step.Err, string(p.cause))+")"
		c.fields = []string{"detail", c.because}
		return
	}
	said := answerText(h)
	c.because = fmt.Sprintf("%s %s is answered %s", h.Method, h.Path, said)
	server := h.Header["Server"]
	foreign := server != "" && server != "EC2ws"
	switch {
	case (h.Status == 429 || h.Status >= 500) && !foreign:
		c.code = IMD107
	case server == "EC2ws" && h.Method == "GET" && h.Status != 403:
		c.code = IMD109
		c.fields = []string{"path", h.Path}
	case h.Status == 403 && !foreign:
		c.code = IMD104
		if server == "" {
			c.confidence = Likely // EC2's own server gives its name
		} else {
			c.not = []RuledOut{{IMD105, "the answer is from EC2's own server"}}
		}
	default:
		c.code = IMD105
		c.fields = []string{"detail", "it answers " + said + "; exempt the address from any proxy (NO_PROXY) and redirect"}
	}
}

// roleGrace is how long a role that was just attached may take to appear.
const roleGrace = time.Minute

// noRole: without credentials the kubelet has no token.
func noRole(v *view) []*candidate {
	if !v.plan.Instance.RoleAbsent {
		return nil
	}
	c := &candidate{code: CRD101, force: true, because: "the metadata service lists no role for this instance"}
	if seen, ok := v.history[Finding{Code: CRD101}.Key()]; ok {
		if d := v.now.Sub(seen.First); d >= roleGrace {
			c.severity = Fatal // a new profile would have arrived
			c.because += ", for " + d.Round(time.Second).String() + " now"
		}
	}
	return []*candidate{c}
}
