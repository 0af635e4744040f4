package bootstrap

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// nxdomain explains names that do not exist. NXDOMAIN from the server that
// decides ends every lookup on this node, also when the next server knows the
// name; from a server behind it, it is a warning.
func nxdomain(v *view) []*candidate {
	var out []*candidate
	if c := ignorantServers(v); c != nil {
		out = append(out, c)
	}
	resolved := v.resolvedNames()
	for _, t := range v.direct {
		if t.hosted() || !t.settled && !t.passed {
			continue
		}
		var says, knows []netip.Addr
		vpc, own := false, false // whether the VPC's resolver says so, and another server
		for i, o := range t.outcomes {
			switch o {
			case outNXDomain:
				says = append(says, v.servers[i].addr.Addr())
				vpc, own = vpc || v.servers[i].vpc, own || !v.servers[i].vpc
			case outAnswer:
				knows = append(knows, v.servers[i].addr.Addr())
			default:
			}
		}
		if len(says) == 0 || t.outcomes[t.decider] == outNoData {
			continue // of a name that is there, which servers behind do not know
		}
		if len(knows) == 0 && t.ref.answered() {
			knows = append(knows, t.ref.server)
		}
		if t.ref.outcome == outNXDomain && !vpc {
			vpc = true
			says = append(says, t.ref.server)
		}
		c := &candidate{targets: []*targetView{t}, addresses: says}
		others := slices.DeleteFunc(slices.Clone(resolved), func(name string) bool { return name == t.Name })
		c.because = fmt.Sprintf("%s %s NXDOMAIN for %s", enumerate(stringsOf(says)), agree(len(says), "says", "say"), t.Host)
		if len(others) > 0 {
			c.because += "; other AWS names resolve (" + enumerate(others) + ")"
		}
		c.needsAll = len(others) == 0
		switch {
		case len(knows) > 0:
			c.code, c.needsAll = DNS109, false
			c.because += "; " + enumerate(stringsOf(knows)) + " " + agree(len(knows), "knows", "know") + " the name"
			c.fields = []string{"detail", sentence(v.forward(says, t.Host))}
			c.not = []RuledOut{{DNS108, enumerate(stringsOf(knows)) + " " + agree(len(knows), "resolves", "resolve") + " the name"}}
			if !t.isAPIServer() {
				c.not[0].Code = DNS121
			}
		case !t.isAPIServer():
			c.code, c.confidence = DNS121, absence(vpc && own, len(others))
		case vpc:
			c.code, c.confidence = DNS108, absence(own, len(others))
			c.not = []RuledOut{{DNS109, "the VPC's own resolver says so"}}
		default:
			c.code, c.confidence = DNS109, Possible
			c.fields = []string{"detail", fmt.Sprintf("Ask the VPC's resolver: dig %s @%s. If it answers, %s. If it says NXDOMAIN too, the cluster is gone or cluster.apiServerEndpoint is mistyped (%s): compare with 'aws eks describe-cluster'.",
				t.Host, v.resolver(), v.forward(says, t.Host), DNS108)}
		}
		out = append(out, c)
	}
	return out
}

// absence is how sure it is that a name does not exist: proven when a server of the
// node's own and the VPC's resolver both say so, and less when no other name tells
// that they know AWS's names at all.
func absence(both bool, others int) Confidence {
	switch {
	case others == 0:
		return Possible
	case both:
		return Proven
	default:
		return Likely
	}
}

func (v *view) forward(servers []netip.Addr, what string) string {
	if slices.ContainsFunc(servers, v.isVPCResolver) {
		return fmt.Sprintf("remove the private hosted zone, resolver rule or DNS firewall of this VPC that hides %s from %s", what, enumerate(stringsOf(servers)))
	}
	return fmt.Sprintf("make %s forward %s to %s", enumerate(stringsOf(servers)), what, v.upstream(servers))
}

// sentence makes a sentence of a clause.
func sentence(clause string) string { return strings.ToUpper(clause[:1]) + clause[1:] + "." }

// resolvedNames are some AWS targets that resolve: enough to name a few.
func (v *view) resolvedNames() []string {
	var out []string
	for _, o := range v.direct {
		if len(out) < 4 && o.aws && o.decider >= 0 && o.outcomes[o.decider] == outAnswer {
			out = append(out, o.Name)
		}
	}
	return out
}

// ignorantServers finds servers that know no AWS name at all: at least two
// service names were asked, and each is NXDOMAIN.
func ignorantServers(v *view) *candidate {
	c := &candidate{code: DNS107, needsAll: true}
	listed := map[*targetView]bool{}
	for i, s := range v.servers {
		var nx []*targetView
		services, known := 0, false
		for _, t := range v.direct {
			if len(t.outcomes) == 0 || !t.aws || t.hosted() {
				continue
			}
			switch t.outcomes[i] {
			case outNXDomain:
				nx = append(nx, t)
				if !t.isAPIServer() {
					services++
				}
			case outAnswer, outNoData:
				known = known || !t.isAPIServer()
			default:
			}
		}
		if services < 2 || known {
			continue
		}
		c.addresses = append(c.addresses, s.addr.Addr())
		for _, t := range nx {
			if !listed[t] {
				c.targets, listed[t] = append(c.targets, t), true
			}
		}
	}
	if len(c.addresses) == 0 {
		return nil
	}
	c.because = fmt.Sprintf("%s %s NXDOMAIN for all %d AWS names", enumerate(stringsOf(c.addresses)), agree(len(c.addresses), "says", "say"), len(c.targets))
	if alive := slices.DeleteFunc(v.alive(), func(a netip.Addr) bool { return slices.Contains(c.addresses, a) }); len(alive) > 0 {
		c.because += "; " + enumerate(stringsOf(alive)) + " " + agree(len(alive), "resolves", "resolve") + " them"
	}
	servers := c.addresses
	switch rs := referencesOf(c.targets); {
	case rs.answered > 0 && !v.configured(rs.server):
		c.because += "; " + rs.server.String() + fmt.Sprintf(" resolves %d of them", rs.answered)
	case rs.answered == 0 && rs.responded > 0 && !v.configured(rs.server):
		// The VPC's own resolver does not know them either: it is the one to repair.
		c.because += "; " + rs.server.String() + " does not know them either"
		servers = append(slices.Clone(servers), rs.server)
	}
	what := "AWS's zones (" + cmp.Or(v.plan.Instance.DNSSuffix, awsSuffixes[0]) + ")"
	c.fields = []string{"detail", sentence(v.forward(servers, what))}
	c.not = []RuledOut{{DNS108, "the names of AWS services do not exist either"}, {DNS102, "the server answers"}}
	return c
}

// configured reports whether the address is one of the servers that this node asks.
func (v *view) configured(server netip.Addr) bool {
	return slices.ContainsFunc(v.servers, func(s *serverView) bool { return s.addr.Addr() == server })
}
