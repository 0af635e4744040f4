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
	for _, t := range v.direct {
		if !t.silent() || t.passed {
			continue
		}
		c := &candidate{targets: []*targetView{t}, addresses: t.addresses((*pathView).silent), because: silenceText(t.paths)}
		switch {
		case t.isAPIServer() && t.public():
			v.silentPublicAPI(t, c, w)
		case t.all(func(p *pathView) bool { return p.kind == kindPrivate }):
			silentBeyond(c, w)
		case t.isAPIServer() && !slices.ContainsFunc(t.paths, (*pathView).public):
			v.silentAPI(t, c, w)
		case t.isS3() && t.public():
			v.silentS3(c, w)
		case t.inVPC() && (t.isS3() || t.aws):
			v.silentEndpoint(t, c, w)
		case t.public() && v.isService(t) && w.privateEndpoint(t) != "":
			v.missingEndpoint(t, c, w)
		default:
			c.code, c.needsAll = NET121, true
			if t.public() && w.public != "" {
				c.because += "; they are public" + witnessed(w.public, "is public and answers")
				c.remedy = "Find what drops TCP {port} from {cidr} to {addresses} ({hosts}) and lets other public addresses pass: an egress firewall or proxy that admits by name or address; or create the endpoints {endpoints} in the VPC."
			}
		}
		out = append(out, c)
	}
	return v.together(out)
}

// silentBeyond is silence of a network that is joined to the VPC. Where another
// address beyond it answers, the way is there, and what is left is the filter of
// the far end.
func silentBeyond(c *candidate, w witnesses) {
	c.code, c.needsAll = NET111, w.inVPC == ""
	c.confidence = pickConfidence(w.inVPC != "")
	c.because += "; outside the VPC's blocks" + witnessed(w.inVPC, "in the VPC answers")
	if w.beyond != "" {
		c.because += witnessed(w.beyond, "outside them answers")
		c.fields = []string{"detail", " " + w.beyond + ", outside the VPC too, answers: look first at the security group there, and at what differs on the way."}
	}
}

// witnesses are targets that speak against a broader cause.
type witnesses struct {
	any, inVPC, beyond, public, service string // some target of which an address answers, "" for none
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
	for _, t := range v.direct {
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
		if slices.ContainsFunc(t.paths, func(p *pathView) bool { return p.kind.inVPC() && p.answered() }) {
			note(&w.inVPC, t)
		}
		if slices.ContainsFunc(t.paths, func(p *pathView) bool { return p.kind == kindPrivate && p.answered() }) {
			note(&w.beyond, t)
		}
		if !t.isS3() && slices.ContainsFunc(t.paths, func(p *pathView) bool { return p.public() && p.answered() }) {
			note(&w.public, t)
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
	own := t.inOwnSubnet()
	if len(near) > 0 {
		c.because += fmt.Sprintf("; %s %s in the same %s", enumerate(targetNames(near)), agree(len(near), "answers", "answer"), agree(len(alone)+1, "subnets", "subnets"))
		c.not = append(c.not, RuledOut{NET106, enumerate(targetNames(near)) + " " + agree(len(near), "answers", "answer") + " in the same subnets"})
	} else {
		c.because += witnessed(w.any, "answers")
		c.needsAll = true
		if own.IsValid() {
			c.confidence = pickConfidence(w.any != "")
			c.not = append(c.not, RuledOut{NET106, ownSubnetText(own)})
		} else {
			c.confidence = Possible
			c.fields = []string{"detail", " No other target answers in " + enumerate(stringsOf(alone)) + ", so its network ACL is the other suspect."}
		}
	}
	if w.any != "" {
		c.not = append(c.not, RuledOut{NET108, w.any + " answers"})
	}
	c.not = append(c.not, RuledOut{DNS111, "the name resolves to private addresses"})
}

// inOwnSubnet returns a silent address of the target in the node's own subnet, where
// nothing filters but security groups.
func (t *targetView) inOwnSubnet() netip.Addr {
	for _, p := range t.paths {
		if p.kind == kindSubnet && p.silent() {
			return p.addr
		}
	}
	return netip.Addr{}
}

func ownSubnetText(a netip.Addr) string {
	return a.String() + " is in the node's own subnet, where no network ACL and no route filters"
}

func (v *view) silentAPI(t *targetView, c *candidate, w witnesses) {
	c.code = NET114
	c.needsAll = w.service == ""
	c.confidence = pickConfidence(w.service != "")
	c.because += witnessed(w.service, "answers")
	if near, alone := t.neighbours(); len(near) > 0 {
		c.not = append(c.not, RuledOut{NET106, enumerate(targetNames(near)) + " " + agree(len(near), "answers", "answer") + " in the same subnets"})
	} else if own := t.inOwnSubnet(); own.IsValid() {
		c.not = append(c.not, RuledOut{NET106, ownSubnetText(own)})
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
	c.confidence = pickConfidence(w.any != "" && v.vpcSays(t))
	c.because += "; all public" + v.referenceText(t) + witnessed(w.any, "answers")
	if !v.vpcSays(t) {
		c.fields = []string{"detail", v.bypass(t)}
	}
	if v.plan.Policy.PrivateOnly {
		c.remedy = "Enable private access of the cluster endpoint of {cluster}: {hosts} is {addresses}, and privateOnly forbids a public way.{detail}"
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
	c.because += "; public, as with a gateway endpoint" + witnessed(w.service, "answers")
	if w.service != "" {
		c.not = []RuledOut{{NET109, w.service + " answers"}}
	}
}

func (v *view) missingEndpoint(t *targetView, c *candidate, w witnesses) {
	c.code = DNS111
	c.needsAll = w.any == ""
	c.confidence = pickConfidence(v.vpcSays(t))
	c.because = fmt.Sprintf("%s resolves to public addresses, %s%s; %s resolves to private ones", t.Host, c.because, v.referenceText(t), w.privateEndpoint(t))
	c.not = []RuledOut{{NET109, w.privateEndpoint(t) + " resolves to private addresses"}}
	switch {
	case v.deciderIsVPC(t):
		c.not = append(c.not, RuledOut{DNS110, "the answer is the VPC resolver's own"})
	case v.vpcSays(t):
		c.not = append(c.not, RuledOut{DNS110, t.ref.server.String() + " knows no private address either"})
	default:
		c.fields = []string{"detail", v.bypass(t)}
	}
}

// referenceText is what AmazonProvidedDNS says of a name that another server
// resolves to public addresses.
func (v *view) referenceText(t *targetView) string {
	if v.deciderIsVPC(t) || t.ref.outcome == outUnknown {
		return ""
	}
	if t.ref.answered() {
		return "; " + t.ref.server.String() + " gives " + enumerate(stringsOf(t.ref.addresses))
	}
	return "; " + t.ref.said()
}
