package bootstrap

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// deadServers: servers that respond to no question. Beside one that does they
// cost time; alone they are why no name resolves.
func deadServers(v *view) []*candidate {
	alive := v.alive()
	byCode := map[Code]*candidate{}
	var out []*candidate
	for i, s := range v.servers {
		if !s.dead() {
			continue
		}
		how, asked, failed, took, forbidden := v.deadness(i, s)
		a := s.addr.Addr()
		because := fmt.Sprintf("%s %s none of %s", a, howDead(how, took), countOf(len(asked), "name"))
		if len(alive) > 0 {
			failed = nil // another cause keeps them, if they fail at all
			if v.plan.Policy.Mode == ModeStrict {
				failed = asked
			}
		} else if len(failed) == 0 {
			continue // not settled yet
		}
		code := map[outcome]Code{outTimeout: DNS102, outClosed: DNS103, outUnreachable: DNS104}[how]
		rs := referencesOf(failed)
		switch {
		case len(alive) > 0:
			code = DNS114
		case code == DNS102 && v.resolverSilent(s, rs):
			code = DNS112
		}
		if code == DNS104 {
			out = append(out, v.ownDeeds(a, failed, forbidden)...)
		}
		c := byCode[code]
		if c == nil {
			c = &candidate{code: code, targets: failed, needsAll: true}
			byCode[code] = c
			out = append(out, c)
		} else {
			c.because += "; "
		}
		c.because += because
		c.addresses = append(c.addresses, a)
		switch code {
		case DNS102:
			v.silentServer(c, s, rs)
		case DNS112:
			v.silentResolver(c, s, rs)
		case DNS114:
			c.warn = v.plan.Policy.Mode != ModeStrict
		default:
			if rs.responded > 0 {
				c.because += "; " + rs.server.String() + " answers the same questions"
			}
		}
	}
	for _, code := range []Code{DNS103, DNS104} {
		if c := byCode[code]; c != nil && !slices.ContainsFunc(c.addresses, func(a netip.Addr) bool { return !v.isVPCResolver(a) }) {
			c.confidence, c.remedy = Likely, ownResolverRemedy
		}
	}
	if c := byCode[DNS114]; c != nil {
		c.because += "; " + enumerate(stringsOf(alive)) + " " + agree(len(alive), "answers", "answer")
		v.delayed(c)
	}
	return out
}

// ownResolverRemedy is for the VPC's own resolver, which listens in every VPC and
// refuses nobody there: what keeps a node from it is on the node.
const ownResolverRemedy = "Remove what keeps this machine from the VPC's resolver {servers}: a rule or route of its own (nft list ruleset, iptables -S OUTPUT, ip route get {address}); nothing in a VPC filters it."

// delayed makes dead servers the cause of what this machine's own lookups do not get in
// their time, because they ask these servers first.
func (v *view) delayed(c *candidate) {
	for _, t := range v.direct {
		if !t.waitsForSilent() {
			continue
		}
		if !slices.Contains(c.targets, t) {
			c.targets = append(c.targets, t)
		}
		if t.Role.Blocks() {
			c.warn, c.force = false, true
		}
		c.because += fmt.Sprintf("; a lookup of %s by this machine's resolver, which asks the dead first, has no result after %s", t.Host, t.res.System.Took)
	}
}

// deadness is how the dead server i fails, whom it keeps from resolving, how long
// it was waited for, and whether this machine's kernel refused to send.
func (v *view) deadness(i int, s *serverView) (how outcome, asked, failed []*targetView, took probe.Duration, forbidden bool) {
	for _, t := range v.targets {
		if len(t.outcomes) == 0 || t.outcomes[i] == outUnknown {
			continue
		}
		how = max(how, t.outcomes[i])
		asked = append(asked, t)
		if t.unresolved() {
			failed = append(failed, t)
		}
		for _, l := range t.res.Lookups {
			if l.Server == s.addr {
				took = max(took, l.Took)
				forbidden = forbidden || l.Errno == int(syscall.EPERM)
			}
		}
	}
	return how, asked, failed, took, forbidden
}

// ownDeeds are the causes on this machine for which there is no way to a server.
func (v *view) ownDeeds(a netip.Addr, failed []*targetView, forbidden bool) []*candidate {
	var out []*candidate
	if r, ok := v.droppingRoute(a); ok {
		out = append(out, &candidate{
			code: LNK106, targets: failed, addresses: []netip.Addr{a}, because: "this machine's route " + routeText(r) + " covers the DNS server " + a.String(),
			fields: []string{"route", routeText(r)},
		})
	}
	if forbidden {
		out = append(out, &candidate{
			code: LNK107, targets: failed, addresses: []netip.Addr{a},
			because: "sending a question to " + a.String() + " fails with " + syscall.EPERM.Error() + ": no packet left this machine",
			remedy:  "Allow outbound UDP and TCP 53 to {addresses} on this machine: nft list ruleset, iptables -S OUTPUT.",
		})
	}
	return out
}

func howDead(o outcome, took probe.Duration) string {
	switch o {
	case outClosed:
		return "says that port 53 is closed and answers"
	case outUnreachable:
		return "is unreachable and answers"
	default:
		return "stays silent for " + took.String() + " and answers"
	}
}

// resolverSilent reports whether it is the VPC's own resolver that is silent: it
// was asked for comparison in vain, or it is the server and nothing speaks
// for it. Without metadata the silence has a wider cause.
func (v *view) resolverSilent(s *serverView, rs references) bool {
	if v.meta != nil && !v.meta.passed || rs.responded > 0 {
		return false
	}
	return s.vpc || rs.silent > 0
}

// silentResolver says what is left: nothing in a VPC filters its own resolver.
func (v *view) silentResolver(c *candidate, s *serverView, rs references) {
	if a := rs.server; a.IsValid() && a != s.addr.Addr() {
		c.because += "; " + a.String() + " is silent as well"
		c.addresses = append(c.addresses, a)
	}
	if !s.vpc {
		c.confidence = Possible
		c.fields = []string{"detail", fmt.Sprintf(" %s may be silent only because it asks the VPC's resolver; if it does not, see to it as well.", s.addr.Addr())}
	}
	c.because += v.droppedText()
	c.addresses = sortAddresses(c.addresses)
	c.not = []RuledOut{{DNS103, "nothing refuses the questions"}, {LNK107, "the kernel refuses to send none of them"}}
}

// silentServer says what can drop the questions on the way to a server that is
// not the VPC's own, and what else keeps this machine from one address of that.
func (v *view) silentServer(c *candidate, s *serverView, rs references) {
	from := v.source(c.addresses)
	c.not = []RuledOut{{DNS103, "nothing refuses the questions"}, {DNS104, "no router says that it is unreachable"}}
	on := "security group, network ACL, route table, firewall"
	if v.kindOf(s.addr.Addr()) == kindSubnet {
		on = "its security group and that of this node; within one subnet no network ACL and no route filters"
	}
	c.fields = []string{"detail", "allow UDP and TCP 53 from " + from + " on the way (" + on + "), and see that the DNS service runs; or use the VPC's resolver " + v.resolver()}
	if s.vpc {
		c.fields = []string{"detail", "nothing in a VPC filters its resolver, so look for a route or firewall on this machine (ip route get " + s.addr.Addr().String() + "; nft list ruleset); or use " + rs.server.String() + " in its place"}
	}
	c.because += v.droppedText()
	if rs.responded > 0 {
		c.because += "; " + rs.server.String() + " answers the same questions"
		c.not = append(c.not, RuledOut{DNS112, rs.server.String() + " answers"}, RuledOut{LNK107, "this machine sends questions and gets answers"})
		return
	}
	c.confidence = Likely
}

// droppedText is the evidence of LNK-110, where questions get no answer.
func (v *view) droppedText() string {
	if n := v.state.LinkLocalDropped; n > 0 {
		return fmt.Sprintf("; the network card dropped %s beyond the allowance for link-local services", countOf(int(min(n, 1<<30)), "packet"))
	}
	return ""
}
