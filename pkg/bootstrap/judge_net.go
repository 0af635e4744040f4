package bootstrap

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// Silence has no author. What drops the packets shows in the pattern: it
// follows one endpoint (its security group), one subnet (its network ACL or
// routes), all endpoints (their shared security group), all public addresses
// (no NAT), or everything (the node's own security group). silentTargets names
// a cause for each silent target alone; the other rules here see patterns, and
// the table of codes says which pattern explains which single cause.

// silentTargets gives each wholly silent target the cause that its kind of
// address suggests.
func silentTargets(v *view) []*candidate {
	w := v.whoAnswers()
	var out []*candidate
	for _, t := range v.targets {
		if t == v.meta || !t.silent() || t.passed {
			continue
		}
		c := &candidate{targets: []*targetView{t}, addresses: t.addresses((*pathView).silent), because: silenceText(t.paths)}
		switch {
		case t.isAPIServer() && t.public():
			v.silentPublicAPI(t, c, w)
		case t.isAPIServer() && !t.mixed():
			v.silentAPI(t, c, w)
		case t.isS3() && t.public():
			v.silentS3(c, w)
		case t.all(func(p *pathView) bool { return p.kind == kindPrivate }):
			c.code, c.needsAll = NET111, w.inVPC == ""
			c.confidence = pickConfidence(w.inVPC != "")
			c.because += "; they are outside the VPC's blocks" + witnessed(w.inVPC, "in the VPC answers")
		case t.inVPC() && (t.isS3() || v.isAWS(t)):
			v.silentEndpoint(t, c, w)
		case t.public() && v.isService(t) && w.privateEndpoint(t) != "":
			v.missingEndpoint(t, c, w)
		default:
			c.code, c.needsAll = NET121, true
		}
		out = append(out, c)
	}
	return out
}

// mixed reports whether private and public addresses are among the paths.
func (t *targetView) mixed() bool {
	public := func(p *pathView) bool { return p.kind == kindPublic }
	return slices.ContainsFunc(t.paths, public) && !t.all(public)
}

// witnesses are targets that speak against a broader cause.
type witnesses struct {
	any, inVPC, service, api string // some target of which an address answers, "" for none
	// private are services that resolve to private addresses, two at most.
	private []string
}

func (v *view) whoAnswers() witnesses {
	var w witnesses
	note := func(field *string, t *targetView) {
		if *field == "" {
			*field = t.Name
		}
	}
	for _, t := range v.targets {
		if t == v.meta {
			continue
		}
		if v.isService(t) && len(w.private) < 2 && slices.ContainsFunc(t.paths, func(p *pathView) bool { return p.kind.inVPC() || p.kind == kindPrivate }) {
			w.private = append(w.private, t.Name)
		}
		if !t.answers() {
			continue
		}
		note(&w.any, t)
		if v.isService(t) {
			note(&w.service, t)
		}
		if t.isAPIServer() {
			note(&w.api, t)
		}
		if slices.ContainsFunc(t.paths, func(p *pathView) bool { return p.kind.inVPC() && p.answered() }) {
			note(&w.inVPC, t)
		}
	}
	return w
}

// privateEndpoint names a service other than t with a private address.
func (w witnesses) privateEndpoint(t *targetView) string {
	for _, name := range w.private {
		if name != t.Name {
			return name
		}
	}
	return ""
}

func witnessed(name, does string) string {
	if name == "" {
		return ""
	}
	return "; " + name + " " + does
}

func pickConfidence(likely bool) Confidence {
	if likely {
		return Likely
	}
	return Possible
}

// silenceText is "3 of 3 addresses silent for 3.2s".
func silenceText(ps []*pathView) string {
	n, took := 0, probe.Duration(0)
	for _, p := range ps {
		if p.silent() {
			n++
			took = max(took, p.step.Took)
		}
	}
	return fmt.Sprintf("%d of %s silent for %s", n, countOf(len(ps), "address"), took)
}

// neighbours are targets that answer in the same subnets as the target's
// silent addresses, and the subnets where nobody else does.
func (t *targetView) neighbours() (answering []*targetView, alone []netip.Prefix) {
	for _, p := range t.paths {
		if p.subnet == nil || !p.silent() {
			continue
		}
		found := false
		for _, o := range p.subnet.answering {
			if o != t {
				found = true
				if !slices.Contains(answering, o) {
					answering = append(answering, o)
				}
			}
			if len(answering) >= 3 {
				break
			}
		}
		if !found && !slices.Contains(alone, p.subnet.prefix) {
			alone = append(alone, p.subnet.prefix)
		}
	}
	return answering, alone
}

func (v *view) silentEndpoint(t *targetView, c *candidate, w witnesses) {
	c.code = NET105
	if t.isS3() {
		c.code = NET113
	}
	near, alone := t.neighbours()
	if len(near) > 0 {
		c.because += fmt.Sprintf("; %s %s in the same %s", enumerate(targetNames(near)), agree(len(near), "answers", "answer"), agree(len(alone)+1, "subnets", "subnets"))
		c.not = append(c.not, RuledOut{NET106, enumerate(targetNames(near)) + " " + agree(len(near), "answers", "answer") + " in the same subnets"})
	} else {
		c.needsAll, c.confidence = true, Possible
		c.fields = []string{"detail", " No other target answers in " + enumerate(stringsOf(alone)) + ", so its network ACL is the other suspect."}
		c.because += witnessed(w.any, "answers")
	}
	if w.any != "" {
		c.not = append(c.not, RuledOut{NET108, w.any + " answers"})
	}
	c.not = append(c.not, RuledOut{DNS111, "the name resolves to private addresses"})
}

func (v *view) silentAPI(t *targetView, c *candidate, w witnesses) {
	c.code = NET114
	c.needsAll = w.service == ""
	c.confidence = pickConfidence(w.service != "")
	c.because += witnessed(w.service, "answers")
	if near, alone := t.neighbours(); len(near) > 0 {
		c.not = append(c.not, RuledOut{NET106, enumerate(targetNames(near)) + " " + agree(len(near), "answers", "answer") + " in the same subnets"})
	} else {
		c.fields = []string{"detail", " If it does, look at the network ACL of " + enumerate(stringsOf(alone)) + "."}
	}
	if w.service != "" {
		c.not = append(c.not, RuledOut{NET108, w.service + " answers"})
	}
}

func (v *view) silentPublicAPI(t *targetView, c *candidate, w witnesses) {
	c.code = NET115
	c.needsAll = w.any == ""
	c.confidence = pickConfidence(w.any != "" && v.deciderIsVPC(t))
	c.because += "; they are public" + witnessed(w.any, "answers")
	if !v.deciderIsVPC(t) {
		c.fields = []string{"detail", v.bypass(t)}
	}
	if w.any != "" {
		c.not = []RuledOut{{NET108, w.any + " answers"}}
	}
}

// bypass is the other suspect when public addresses do not come from the VPC's
// own resolver, which alone knows the private ones.
func (v *view) bypass(t *targetView) string {
	if t.decider < 0 {
		return ""
	}
	return fmt.Sprintf(" If 'dig +short %s @%s' gives private addresses, make DNS server %s forward the name there instead (%s).",
		t.Host, v.resolver(), v.servers[t.decider].addr.Addr(), DNS110)
}

func (v *view) silentS3(c *candidate, w witnesses) {
	c.code = NET112
	c.needsAll = w.service == ""
	c.confidence = pickConfidence(w.service != "")
	c.because += "; they are public, as with a gateway endpoint" + witnessed(w.service, "answers")
	if w.service != "" {
		c.not = []RuledOut{{NET109, w.service + " answers"}}
	}
}

func (v *view) missingEndpoint(t *targetView, c *candidate, w witnesses) {
	c.code = DNS111
	c.needsAll = w.any == ""
	c.confidence = pickConfidence(v.deciderIsVPC(t))
	c.because = fmt.Sprintf("%s resolves to public addresses, %s; %s resolves to private ones", t.Host, c.because, w.privateEndpoint(t))
	c.not = []RuledOut{{NET109, w.privateEndpoint(t) + " resolves to private addresses"}}
	if !v.deciderIsVPC(t) {
		c.fields = []string{"detail", v.bypass(t)}
	} else {
		c.not = append(c.not, RuledOut{DNS110, "the answer is the VPC resolver's own"})
	}
}

// allSilent: not one address of at least two targets answers, and private ones
// are among them, which need no NAT.
func allSilent(v *view) []*candidate {
	c := &candidate{code: NET108, needsAll: true, global: true}
	private := false
	var all []*pathView
	for _, t := range v.targets {
		if t == v.meta || len(t.paths) == 0 {
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
	c.not = []RuledOut{{NET106, "no subnet answers"}, {NET109, "private addresses are silent too"}, {NET120, "addresses of no endpoint are silent too"}}
	if !slices.ContainsFunc(c.targets, func(t *targetView) bool { return !v.isService(t) }) {
		c.not = c.not[:2]
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
	private, services := "", 0
	var custom *targetView
	for _, t := range v.targets {
		if t == v.meta || len(t.paths) == 0 {
			continue
		}
		switch {
		case t.public() && t.silent():
			if v.isService(t) {
				services++
				if !v.deciderIsVPC(t) && custom == nil {
					custom = t
				}
			}
			c.targets = append(c.targets, t)
			all = append(all, t.paths...)
		case v.isService(t), slices.ContainsFunc(t.paths, func(p *pathView) bool { return p.kind == kindPublic && p.answered() && !t.isS3() }):
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
		c.fields = []string{"detail", " Nothing answers this node, so its security group's outbound rules are the other suspect."}
	}
	if custom != nil {
		c.confidence = Possible
		c.fields = []string{"detail", v.bypass(custom)}
	}
	return []*candidate{c}
}

// allEndpointsSilent: at least two interface endpoints, every one of them
// wholly silent, while something else answers.
func allEndpointsSilent(v *view) []*candidate {
	w := v.whoAnswers()
	c := &candidate{code: NET120, needsAll: true}
	var all []*pathView
	var subnets []netip.Prefix
	seen := map[netip.Prefix]bool{}
	for _, t := range v.targets {
		if t == v.meta || !v.isService(t) && !t.isS3() || len(t.paths) == 0 || t.public() {
			continue
		}
		if !t.silent() {
			return nil
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
	c.confidence = pickConfidence(w.inVPC != "" && len(subnets) > 1)
	c.not = []RuledOut{{NET105, "every interface endpoint is silent, not one alone"}, {NET108, w.any + " answers"}}
	if len(subnets) == 1 {
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
	for _, t := range v.targets {
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

// silentAddresses: single addresses of targets that answer elsewhere.
func silentAddresses(v *view) []*candidate {
	var out []*candidate
	for _, t := range v.targets {
		if t == v.meta || t.Pool || !t.answers() {
			continue
		}
		lone := slices.DeleteFunc(slices.Clone(t.paths), func(p *pathView) bool { return !p.silent() })
		if len(lone) == 0 {
			continue
		}
		c := &candidate{code: NET107, targets: []*targetView{t}, addresses: pathAddresses(lone), needsAll: true, because: silenceText(t.paths)}
		if near, _ := t.neighbours(); len(near) > 0 {
			c.because += fmt.Sprintf("; %s %s in the same subnet", enumerate(targetNames(near)), agree(len(near), "answers", "answer"))
			c.not = []RuledOut{{NET106, enumerate(targetNames(near)) + " " + agree(len(near), "answers", "answer") + " in the same subnet"}}
		} else {
			c.confidence = Possible
		}
		out = append(out, c)
	}
	return out
}
