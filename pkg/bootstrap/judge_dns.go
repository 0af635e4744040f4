package bootstrap

import (
	"cmp"
	"net/netip"
	"slices"
)

// noServer: there is nobody to ask.
func noServer(v *view) []*candidate {
	if len(v.servers) > 0 || !v.stateKnown {
		return nil
	}
	c := &candidate{code: DNS101, because: cmp.Or(v.state.DNS.File, "/etc/resolv.conf") + " names no DNS server"}
	for _, t := range v.failing() {
		if _, err := netip.ParseAddr(t.Host); err != nil && len(t.paths) == 0 && t != v.meta {
			c.targets = append(c.targets, t)
		}
	}
	if len(c.targets) == 0 {
		return nil
	}
	return []*candidate{c}
}

// alive returns the servers that responded to anything.
func (v *view) alive() []netip.Addr {
	var out []netip.Addr
	for _, s := range v.servers {
		if s.responses > 0 {
			out = append(out, s.addr.Addr())
		}
	}
	return out
}

// failingServers: servers that respond with a failure, or are silent to some
// names only. A target that another server resolves makes it a warning, unless
// the mode is strict.
func failingServers(v *view) []*candidate {
	codes := map[outcome]Code{outServFail: DNS106, outTimeout: DNS106, outRefused: DNS105, outNoTCP: DNS118, outUnusable: DNS120}
	var out []*candidate
	for i, s := range v.servers {
		if s.dead() {
			continue
		}
		var found []*candidate
		for _, t := range v.targets {
			if len(t.outcomes) == 0 || t.hosted() || !t.settled && !t.passed {
				continue
			}
			o := t.outcomes[i]
			code := codes[o]
			// Behind the server that decides, nobody asks: what is broken there matters
			// in strict mode alone.
			if code == "" || t.decider >= 0 && i > t.decider && v.plan.Policy.Mode != ModeStrict {
				continue
			}
			at := slices.IndexFunc(found, func(c *candidate) bool { return c.code == code })
			if at < 0 {
				at = len(found)
				c := &candidate{code: code, addresses: []netip.Addr{s.addr.Addr()}, needsAll: o == outTimeout}
				c.because, c.fields = v.failureText(s, t, o)
				if o == outTimeout {
					c.confidence = Likely
				}
				found = append(found, c)
			}
			found[at].targets = append(found[at].targets, t)
			if o == outTimeout && t.waitsForSilent() {
				found[at].force = t.Role.Blocks() // programs ask this server first
			}
		}
		for _, c := range found {
			// Another server resolves these names: what they fail by is not this.
			c.warn = v.plan.Policy.Mode != ModeStrict && !slices.ContainsFunc(c.targets, func(t *targetView) bool { return t.decider < 0 })
			c.because = fill(c.because, pairs("names", countOf(len(c.targets), "name")))
			if ok := s.resolved(v, i); len(ok) > 0 {
				c.because += "; it resolves " + enumerate(ok)
			}
			v.compareFailure(c, s)
			if s.vpc {
				v.failingResolver(c)
			}
		}
		out = append(out, found...)
	}
	return out
}

// failureText is the evidence, a template for the number of names, and the
// detail of the remedy.
func (v *view) failureText(s *serverView, t *targetView, o outcome) (string, []string) {
	a := s.addr.Addr().String()
	upstream := "it must reach " + v.upstream([]netip.Addr{s.addr.Addr()}) + ", and not itself"
	if s.vpc {
		upstream = "a Route 53 Resolver rule of this VPC sends the names to a server that fails"
	}
	switch o {
	case outRefused:
		return a + " answers REFUSED for {names}", nil
	case outServFail:
		return a + " answers SERVFAIL for {names}", []string{"detail", upstream}
	case outTimeout:
		return a + " stays silent for {names} and answers others", []string{"detail", upstream}
	case outNoTCP:
		return a + " truncates the answer for {names} over UDP and fails over TCP", nil
	default:
	}
	said := "no DNS message"
	for _, l := range t.res.Lookups {
		if l.Server == s.addr && outcomeOf(l) == outUnusable {
			said = cmp.Or(l.RCode, l.Err, said)
		}
	}
	return a + " answers something unusable for {names}", []string{"detail", "it answers " + said}
}

// failingResolver says what to do where it is the VPC's own resolver that fails: it
// refuses nobody in the VPC, and nothing there filters it.
func (v *view) failingResolver(c *candidate) {
	switch c.code {
	case DNS105:
		c.confidence = Likely
		c.remedy = "Correct the Route 53 Resolver rule of this VPC that sends {hosts} to a server that refuses; {servers} itself refuses nobody in the VPC."
	case DNS118:
		c.confidence = Likely
		c.remedy = "Allow outbound TCP 53 to {servers} on this machine (nft list ruleset, iptables -S OUTPUT); nothing in a VPC filters its resolver."
	case DNS120:
		c.confidence = Likely
		c.remedy = "Find what on this machine answers in place of the VPC's resolver {servers} (nft list ruleset, iptables -t nat -S): {detail}."
	case DNS106:
		if v.state.LinkLocalDropped == 0 || !c.needsAll {
			return
		}
		c.confidence = Possible
		c.because += v.droppedText()
		c.remedy = "Reduce what asks DNS and metadata on this machine (" + string(LNK110) + "): its packets are dropped; if {servers} stays silent for {hosts} all the same, {detail}."
	default:
	}
}

// compareFailure says whose failure it is: the server's own when AmazonProvidedDNS
// resolves the same names, and that of what both ask when it fails as well.
func (v *view) compareFailure(c *candidate, s *serverView) {
	rs := referencesOf(c.targets)
	if s.vpc || rs.asked == 0 {
		return
	}
	if rs.answered > 0 {
		c.because += "; " + rs.server.String() + " answers for " + countOf(rs.answered, "name")
		if c.code == DNS106 {
			c.confidence = "" // proven: the names resolve, but not there
		}
		return
	}
	for _, t := range c.targets {
		if t.ref.server == rs.server {
			c.because += "; " + t.ref.said()
			break
		}
	}
	if c.code == DNS106 && rs.responded > 0 {
		c.confidence = Likely
		c.fields = []string{"detail", "the VPC's resolver does not resolve the names either, so look first at what both ask: a Route 53 Resolver rule of this VPC, or the zone's own servers"}
	}
}

// resolved lists names that the server resolves.
func (s *serverView) resolved(v *view, i int) []string {
	var out []string
	for _, t := range v.targets {
		if len(t.outcomes) > 0 && t.outcomes[i] == outAnswer {
			out = append(out, t.Name)
		}
	}
	return out
}
