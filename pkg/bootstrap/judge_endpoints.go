package bootstrap

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// together makes one finding of silent targets that one change repairs, or whose
// repair is the same for each: endpoints that may share a security group,
// addresses beyond the VPC, names without an endpoint.
func (v *view) together(cs []*candidate) []*candidate {
	type id struct {
		code       Code
		confidence Confidence
		needsAll   bool
	}
	groups := map[id][]*candidate{}
	var order []id
	var out []*candidate
	for _, c := range cs {
		alike := c.code == NET105 || c.code == NET111 || c.code == DNS111 || c.code == NET121 && v.isService(c.targets[0]) && c.targets[0].public()
		if !alike {
			out = append(out, c)
			continue
		}
		k := id{c.code, c.confidence, c.needsAll}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], c)
	}
	for _, k := range order {
		out = append(out, v.merge(groups[k]))
	}
	return out
}

// merge makes one candidate of several of one code, whose targets are disjoint.
func (v *view) merge(cs []*candidate) *candidate {
	c := cs[0]
	if len(cs) == 1 {
		return c
	}
	var all []*pathView
	var details []string
	_, tail, _ := strings.Cut(c.because, silenceText(c.targets[0].paths))
	for _, o := range cs {
		for _, t := range o.targets {
			all = append(all, t.paths...)
		}
		if o != c {
			c.targets = append(c.targets, o.targets...)
		}
		if len(o.fields) == 2 && !slices.Contains(details, o.fields[1]) && len(details) < 4 {
			details = append(details, o.fields[1])
		}
	}
	// What is excluded for one only is excluded for none.
	c.not = slices.DeleteFunc(c.not, func(n RuledOut) bool {
		return slices.ContainsFunc(cs, func(o *candidate) bool {
			return !slices.ContainsFunc(o.not, func(m RuledOut) bool { return m.Code == n.Code })
		})
	})
	c.addresses = pathAddresses(all)
	c.because = silenceText(all) + ", of " + countOf(len(cs), "target") + tail
	switch c.code {
	case DNS111:
		c.because = enumerate(targetNames(c.targets)) + " resolve to public addresses, " + c.because
	case NET105:
		c.remedy = "Allow inbound TCP {port} from {cidr} in the security group of the endpoints {services} ({addresses}).{detail}"
		details = append(details, fmt.Sprintf(" The %d endpoints may well share one security group; then that is the one to change.", len(cs)))
	default:
	}
	c.fields = []string{"detail", strings.Join(details, "")}
	return c
}

// scatteredRemedy is that of several targets with an address silent each: what filters
// some connections to all of them is likelier than as many broken interfaces.
func scatteredRemedy(ownSubnet bool) string {
	if ownSubnet {
		return "Several targets have a silent address in the node's own subnet, where no network ACL acts: look at the outbound rules of {node}'s security group for TCP {port} to {addresses}, and at the security groups of {hosts}."
	}
	return "Several targets have a silent address at once: see that the network ACL of {cidr} lets all of TCP 1024-65535 in, and those of {addresses} out. If they do, take these addresses out of {hosts}: remove their subnet from the endpoint, or recreate the endpoint there."
}

// silentAddresses: single addresses of targets that answer elsewhere. Targets
// whose silent addresses lie in the same subnets are one finding.
func silentAddresses(v *view) []*candidate {
	type group struct {
		*candidate
		lone []*pathView
		near []*targetView
	}
	groups := map[string]*group{}
	var out []*candidate
	for _, t := range v.direct {
		if t.Pool || !t.answers() {
			continue
		}
		lone := slices.DeleteFunc(slices.Clone(t.paths), func(p *pathView) bool { return !p.silent() })
		if len(lone) == 0 {
			continue
		}
		key := t.Name
		if in := subnetsOf(lone); in != nil {
			key = " " + strings.Join(stringsOf(in), " ")
		}
		g := groups[key]
		if g == nil {
			g = &group{candidate: &candidate{code: NET107, needsAll: true}}
			g.near, _ = t.neighbours()
			groups[key] = g
			out = append(out, g.candidate)
		}
		g.targets = append(g.targets, t)
		g.lone = append(g.lone, lone...)
	}
	partial := map[*targetView]bool{}
	for _, g := range groups {
		for _, t := range g.targets {
			partial[t] = true
		}
	}
	for _, g := range groups {
		g.addresses = pathAddresses(g.lone)
		n := 0
		for _, t := range g.targets {
			n += len(t.paths)
		}
		g.because = fmt.Sprintf("%d of %s silent for %s", len(g.lone), countOf(n, "address"), g.lone[0].step.Took)
		if len(g.targets) > 1 {
			g.because += ", of " + countOf(len(g.targets), "target")
		}
		if v.silentFamily(g.targets, g.lone) {
			of := "IPv4"
			if g.lone[0].addr.Is6() {
				of = "IPv6"
			}
			g.because += fmt.Sprintf("; these are all its %s addresses, and those of the other family answer", of)
			g.remedy = "Allow inbound TCP {port} from {cidr} in the security group of {hosts} ({addresses}), and let network ACLs and routes pass " + of + ": rules for the other family do not cover it."
			g.not = []RuledOut{{NET105, "an address of the other family answers"}}
			continue
		}
		switch {
		case len(partial) >= 3:
			// So many interfaces do not go out of order at once.
			g.confidence, g.remedy = Possible, scatteredRemedy(g.lone[0].kind == kindSubnet)
		case len(g.targets) == 1 && g.targets[0].isAPIServer():
			g.remedy = "{addresses} of {hosts} is a network interface that EKS owns: wait until DNS does not list it any more; if it stays silent, look for what filters its subnet, then ask AWS support."
		}
		switch {
		case len(g.near) > 0:
			answer := enumerate(targetNames(g.near)) + " " + agree(len(g.near), "answers", "answer") + " in the same subnet"
			g.because += "; " + answer
			g.not = []RuledOut{{NET106, answer}}
		case g.lone[0].kind == kindSubnet:
			g.not = []RuledOut{{NET106, ownSubnetText(g.lone[0].addr)}}
		default:
			g.confidence = Possible
		}
	}
	return out
}

// silentFamily reports whether the silent addresses are all that the targets have of one
// family, while the other family answers.
func (v *view) silentFamily(ts []*targetView, silent []*pathView) bool {
	six := silent[0].addr.Is6()
	other := func(p *pathView) bool { return p.addr.Is6() != six }
	n := 0
	for _, t := range ts {
		if !slices.ContainsFunc(t.paths, func(p *pathView) bool { return other(p) && p.answered() }) {
			return false
		}
		n += len(slices.DeleteFunc(slices.Clone(t.paths), other))
	}
	return n == len(silent) && !slices.ContainsFunc(silent, other)
}

// subnetsOf are the subnets of the paths, nil when one of them has none.
func subnetsOf(ps []*pathView) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range ps {
		if p.subnet == nil {
			return nil
		}
		if !slices.Contains(out, p.subnet.prefix) {
			out = append(out, p.subnet.prefix)
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}

// localFirewall: nothing comes back from addresses to which this machine's kernel
// refuses to send a datagram, too. A rule of this machine drops it all.
func localFirewall(v *view) []*candidate {
	c := &candidate{code: LNK107}
	var dropped []*pathView
	tested := 0
	for _, t := range v.direct {
		for _, p := range t.paths {
			if !p.silent() {
				continue
			}
			e, ok := p.Experiment(probe.KindUDPTest)
			if !ok || e.Pending || len(e.Steps) == 0 {
				continue
			}
			tested++
			if s := e.Steps[len(e.Steps)-1]; s.Cause == probe.TCPProhibited {
				c.targets = appendOnce(c.targets, t)
				dropped = append(dropped, p)
			}
		}
	}
	if len(dropped) == 0 {
		return nil
	}
	c.because = fmt.Sprintf("%s; a datagram to port %d of %s fails with EPERM in this machine's kernel", silenceText(dropped), dropped[0].Address.Port(), enumerate(addressTexts(dropped)))
	if slices.ContainsFunc(v.direct, (*targetView).answers) {
		// The rule that forbids the datagram may be one for UDP alone (QUIC).
		c.confidence = Likely
	} else if len(dropped) == tested {
		// Nothing answers, and every test says so: what was not tested is no exception.
		for _, t := range v.direct {
			if t.silent() && !slices.Contains(c.targets, t) {
				c.targets = append(c.targets, t)
			}
		}
		// Which ones were tested differs from round to round.
		slices.SortFunc(c.targets, func(a, b *targetView) int { return slices.Index(v.direct, a) - slices.Index(v.direct, b) })
		c.needsAll = true
	}
	c.addresses = pathAddresses(dropped)
	c.not = []RuledOut{{NET105, "no packet leaves this machine"}, {NET108, "no packet leaves this machine"}}
	return []*candidate{c}
}

// lossy: the connection was made, and its first packet had to be sent again.
func lossy(v *view) []*candidate {
	c := &candidate{code: NET117, warn: true}
	var ps []*pathView
	most := 0
	for _, t := range v.direct {
		for _, p := range t.paths {
			if len(p.Steps) == 0 {
				continue
			}
			if s := &p.Steps[0]; s.Phase == probe.PhaseConnect && s.Cause == "" && s.TCP != nil && s.TCP.Retransmits > 0 {
				c.targets = appendOnce(c.targets, t)
				ps = append(ps, p)
				most = max(most, s.TCP.Retransmits)
			}
		}
	}
	if len(ps) == 0 {
		return nil
	}
	c.addresses = pathAddresses(ps)
	c.because = fmt.Sprintf("connecting to %s works, but needed up to %s of the first packet", enumerate(stringsOf(c.addresses)), countOf(most, "retransmission"))
	return []*candidate{c}
}

// elsewhereOnly: endpoints without a network interface in the node's own subnet, where
// others have one. A VPC that keeps its endpoints in subnets of their own has
// none there, and means it: without an example nothing is missing. The zone of an
// address cannot be seen from inside, and an endpoint with one address has
// been made for one zone.
func elsewhereOnly(v *view) []*candidate {
	if len(v.plan.Instance.Subnet) == 0 {
		return nil
	}
	c := &candidate{code: NET119, warn: true}
	var ps []*pathView
	example := ""
	for _, t := range v.direct {
		if !t.passed || t.hosted() || !v.isService(t) && !t.isS3() || !t.inVPC() {
			continue
		}
		switch {
		case slices.ContainsFunc(t.paths, func(p *pathView) bool { return p.kind == kindSubnet }):
			if example == "" {
				example = t.Name
			}
		case len(subnetsOf(t.paths)) > 1:
			c.targets = append(c.targets, t)
			ps = append(ps, t.paths...)
		}
	}
	if example == "" || len(c.targets) == 0 {
		return nil
	}
	c.addresses = pathAddresses(ps)
	c.because = fmt.Sprintf("%s of %s, none of them in %s, where %s has one", countOf(len(c.addresses), "address"),
		enumerate(targetNames(c.targets)), v.source(c.addresses), example)
	return []*candidate{c}
}
