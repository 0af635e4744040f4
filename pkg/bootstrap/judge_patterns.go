package bootstrap

import (
	"fmt"
	"net/netip"
	"slices"
)

// allSilent: not one address of at least two targets answers, and private ones
// are among them, which need no NAT.
func allSilent(v *view) []*candidate {
	c := &candidate{code: NET108, needsAll: true, global: true}
	private := false
	var all []*pathView
	for _, t := range v.direct {
		if len(t.paths) == 0 {
			continue
		}
		if !t.silent() || slices.ContainsFunc(t.spare, (*pathView).answered) {
			return nil
		}
		private = private || !t.public()
		c.targets = append(c.targets, t)
		all = append(all, t.paths...)
	}
	if len(c.targets) < 2 || !private {
		return nil
	}
	c.addresses = pathAddresses(all)
	c.because = fmt.Sprintf("%s, private ones among them, of %s", silenceText(all), countOf(len(c.targets), "target"))
	if v.meta == nil {
		c.because += "; metadata answers"
	}
	if alive := v.alive(); len(alive) > 0 {
		c.because += "; DNS server " + enumerate(stringsOf(alive)) + " answers"
	}
	c.not = []RuledOut{{NET106, "no subnet answers"}, {NET109, "private addresses are silent too"}, {NET120, "what is no interface endpoint is silent too"}}
	if !slices.ContainsFunc(c.targets, func(t *targetView) bool { return !v.isService(t) }) {
		c.not = c.not[:2]
	}
	if i := slices.IndexFunc(all, func(p *pathView) bool { return p.kind == kindSubnet }); i >= 0 {
		c.because += "; " + ownSubnetText(all[i].addr)
		c.remedy = "Allow outbound TCP {port} in the security group of {node}."
	}
	return []*candidate{c}
}

func pathAddresses(ps []*pathView) []netip.Addr {
	out := make([]netip.Addr, len(ps))
	for i, p := range ps {
		out[i] = p.addr
	}
	return sortAddresses(out)
}

// allPublicSilent: every service resolves to public addresses, and no public
// address answers, S3 apart, which may have its gateway endpoint.
func allPublicSilent(v *view) []*candidate {
	c := &candidate{code: NET109, needsAll: true}
	var all []*pathView
	private, services, detail := "", 0, ""
	var custom *targetView
	for _, t := range v.direct {
		if len(t.paths) == 0 {
			continue
		}
		switch {
		case t.public() && t.silent():
			if v.isService(t) {
				services++
				if !v.vpcSays(t) && custom == nil {
					custom = t
				}
			}
			if t.isAPIServer() {
				detail = " The API server is public too: enable private access of its endpoint."
			}
			c.targets = append(c.targets, t)
			all = append(all, t.paths...)
		case v.isService(t), slices.ContainsFunc(t.paths, func(p *pathView) bool { return p.public() && p.answered() && !t.isS3() }):
			return nil
		case t.answers() && private == "":
			private = t.Name
		}
	}
	if services == 0 {
		return nil
	}
	c.addresses = pathAddresses(all)
	c.because = fmt.Sprintf("%s of %s, all of them public", silenceText(all), countOf(len(c.targets), "target")) + witnessed(private, "answers")
	c.not = []RuledOut{{DNS111, "no service resolves to a private address"}}
	if private != "" {
		c.not = append(c.not, RuledOut{NET108, private + " answers"})
	} else {
		c.confidence = Possible
		detail += " Nothing answers this node, so its security group's outbound rules are the other suspect."
	}
	if custom != nil {
		c.confidence = Possible
		detail += v.bypass(custom)
	}
	if v.plan.Policy.PrivateOnly {
		c.remedy = "Create in the VPC the endpoints {endpoints}; privateOnly forbids a way over the internet.{detail}"
	}
	c.fields = []string{"detail", detail, "endpoints", v.endpointsToMake(c.targets)}
	return []*candidate{c}
}

// endpointsToMake names the endpoints of AWS services with their kind.
func (v *view) endpointsToMake(ts []*targetView) string {
	var s3, others []*targetView
	for _, t := range ts {
		switch {
		case t.isS3():
			s3 = append(s3, t)
		case v.isService(t):
			others = append(others, t)
		}
	}
	return enumerateUpTo(manyEndpoints, v.endpointNames(others)) + " (interface, with private DNS names enabled)" +
		textIf(len(s3) > 0, " and "+enumerate(v.endpointNames(s3))+" (gateway)")
}

// allEndpointsSilent: at least two interface endpoints of this VPC, each of them
// wholly silent, while something else answers and no endpoint does.
func allEndpointsSilent(v *view) []*candidate {
	w := v.whoAnswers()
	c := &candidate{code: NET120, needsAll: true}
	var all []*pathView
	var subnets []netip.Prefix
	seen := map[netip.Prefix]bool{}
	for _, t := range v.direct {
		if !v.isService(t) && !t.isS3() || len(t.paths) == 0 || t.public() {
			continue
		}
		if !t.silent() {
			return nil
		}
		if !t.inVPC() {
			continue // the way there has a cause of its own
		}
		c.targets = append(c.targets, t)
		for _, p := range t.paths {
			all = append(all, p)
			if g := p.subnet; g != nil && !seen[g.prefix] {
				seen[g.prefix], subnets = true, append(subnets, g.prefix)
			}
		}
	}
	if len(c.targets) < 2 || w.any == "" {
		return nil
	}
	c.addresses = pathAddresses(all)
	c.because = fmt.Sprintf("%s of all %s", silenceText(all), countOf(len(c.targets), "interface endpoint")) + witnessed(w.any, "answers")
	own := slices.IndexFunc(all, func(p *pathView) bool { return p.kind == kindSubnet })
	c.confidence = pickConfidence(w.inVPC != "" && (len(subnets) > 1 || own >= 0))
	c.not = []RuledOut{{NET105, "every interface endpoint is silent, not one alone"}, {NET108, w.any + " answers"}}
	if own >= 0 {
		c.not = append(c.not, RuledOut{NET106, ownSubnetText(all[own].addr)})
	} else if len(subnets) == 1 {
		c.fields = []string{"detail", " All of them are in " + subnets[0].String() + ", so its network ACL is the other suspect."}
	}
	return []*candidate{c}
}

// filteredSubnets: nothing in a subnet answers, and targets that are silent
// there answer elsewhere.
func filteredSubnets(v *view) []*candidate {
	var subnets []netip.Prefix
	for _, g := range v.subnets {
		if g.filtered {
			subnets = append(subnets, g.prefix)
		}
	}
	if len(subnets) == 0 {
		return nil
	}
	slices.SortFunc(subnets, netip.Prefix.Compare)
	c := &candidate{code: NET106, needsAll: true, fields: []string{"subnets", enumerate(stringsOf(subnets))}}
	var all []*pathView
	var elsewhere []*targetView
	for _, t := range v.direct {
		inside := slices.DeleteFunc(slices.Clone(t.paths), func(p *pathView) bool { return !p.silent() || p.subnet == nil || !p.subnet.filtered })
		if len(inside) == 0 {
			continue
		}
		all = append(all, inside...)
		if t.answers() {
			elsewhere = append(elsewhere, t)
		} else if len(inside) < len(t.paths) {
			continue // silent beyond the subnet too: that has a cause of its own
		}
		c.targets = append(c.targets, t)
	}
	c.addresses = pathAddresses(all)
	c.because = fmt.Sprintf("%s in %s, of %s; %s %s in other subnets", silenceText(all), enumerate(stringsOf(subnets)), countOf(len(c.targets), "target"),
		enumerate(targetNames(elsewhere)), agree(len(elsewhere), "answers", "answer"))
	c.not = []RuledOut{{NET105, "the silence follows the subnet, not one endpoint"}, {NET108, enumerate(targetNames(elsewhere)) + " " + agree(len(elsewhere), "answers", "answer")}}
	return []*candidate{c}
}
