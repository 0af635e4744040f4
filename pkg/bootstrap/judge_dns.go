package bootstrap

import (
	"cmp"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// noServer: there is nobody to ask.
func noServer(v *view) []*candidate {
	if len(v.servers) > 0 || v.state.DNS.File == "" && !v.stateKnown {
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
		var how outcome
		var asked, failed []*targetView
		var took probe.Duration
		forbidden := false // by this machine, before a packet left
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
		a := s.addr.Addr()
		because := fmt.Sprintf("%s %s none of %s", a, howDead(how, took), countOf(len(asked), "name"))
		if len(alive) > 0 {
			failed = nil // another cause keeps them, if they fail at all
		} else if len(failed) == 0 {
			continue // not settled yet
		}
		code := map[outcome]Code{outTimeout: DNS102, outClosed: DNS103, outUnreachable: DNS104}[how]
		if len(alive) > 0 {
			code = DNS114
		}
		if r, ok := v.droppingRoute(a); ok && code == DNS104 {
			out = append(out, &candidate{
				code: LNK106, targets: failed, addresses: []netip.Addr{a}, because: "this machine's route " + routeText(r) + " covers the DNS server " + a.String(),
				fields: []string{"route", routeText(r)},
			})
		}
		if forbidden && code == DNS104 {
			out = append(out, &candidate{
				code: LNK107, targets: failed, addresses: []netip.Addr{a},
				because: "sending a question to " + a.String() + " fails with " + syscall.EPERM.Error() + ": no packet left this machine",
				remedy:  "Allow outbound UDP and TCP 53 to {addresses} on this machine: nft list ruleset, iptables -S OUTPUT.",
			})
		}
		c := byCode[code]
		if c == nil {
			c = &candidate{code: code, targets: failed, needsAll: true, warn: code == DNS114}
			byCode[code] = c
			out = append(out, c)
		} else {
			c.because += "; "
		}
		c.because += because
		c.addresses = append(c.addresses, a)
		if code == DNS102 {
			c.fields, c.not = v.silentServer(c, s)
		}
	}
	if c := byCode[DNS114]; c != nil {
		c.because += "; " + enumerate(stringsOf(alive)) + " " + agree(len(alive), "answers", "answer")
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

// silentServer says what can drop the questions: nothing in a VPC filters its
// own resolver.
func (v *view) silentServer(c *candidate, s *serverView) ([]string, []RuledOut) {
	if s.vpc {
		return []string{"detail", "turn on enableDnsSupport of the VPC, and look for a firewall on this machine (nft list ruleset); security groups and network ACLs do not filter the VPC's resolver"},
			[]RuledOut{{DNS103, "nothing refuses the questions"}}
	}
	return []string{"detail", "allow UDP and TCP 53 from " + v.source(c.addresses) + " on the way (security group, network ACL, route table, firewall), and see that the DNS service runs; or use the VPC's resolver " + v.resolver()},
		[]RuledOut{{DNS103, "nothing refuses the questions"}, {DNS104, "no router says that it is unreachable"}}
}

// failingServers: servers that respond with a failure, or are silent to some
// names only. A target that another server resolves makes it a warning.
func failingServers(v *view) []*candidate {
	codes := map[outcome]Code{outServFail: DNS106, outTimeout: DNS106, outRefused: DNS105, outNoTCP: DNS118, outUnusable: DNS120}
	var out []*candidate
	for i, s := range v.servers {
		if s.dead() {
			continue
		}
		byCode := map[Code]*candidate{}
		for _, t := range v.targets {
			if len(t.outcomes) == 0 || !t.settled && !t.passed {
				continue
			}
			o := t.outcomes[i]
			code := codes[o]
			// Behind the server that decides, nobody asks.
			if code == "" || t.decider >= 0 && i > t.decider {
				continue
			}
			c := byCode[code]
			if c == nil {
				c = &candidate{code: code, addresses: []netip.Addr{s.addr.Addr()}, needsAll: o == outTimeout}
				c.because, c.fields = failureText(s, t, o)
				if o == outTimeout {
					c.confidence = Likely
				}
				byCode[code] = c
				out = append(out, c)
			}
			c.targets = append(c.targets, t)
		}
		for _, c := range byCode {
			c.because = fill(c.because, pairs("names", countOf(len(c.targets), "name")))
			if ok := s.resolved(v, i); len(ok) > 0 {
				c.because += "; it resolves " + enumerate(ok)
			}
		}
	}
	return out
}

// failureText is the evidence, a template for the number of names, and the
// detail of the remedy.
func failureText(s *serverView, t *targetView, o outcome) (string, []string) {
	a := s.addr.Addr().String()
	upstream := "it must reach the VPC's resolver or the internet, and not itself"
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

// noData: the name is there, without an address this node could use.
func noData(v *view) []*candidate {
	c := &candidate{code: DNS119}
	for _, t := range v.targets {
		if !t.unresolved() || t.decider < 0 || t.outcomes[t.decider] != outNoData {
			continue
		}
		c.targets = append(c.targets, t)
		c.addresses = append(c.addresses, v.servers[t.decider].addr.Addr())
	}
	if len(c.targets) == 0 {
		return nil
	}
	types := nonEmpty(textIf(v.v4, "A"), textIf(v.v6, "AAAA"))
	c.addresses = sortAddresses(c.addresses)
	c.because = fmt.Sprintf("%s: the name exists and has no %s record", enumerate(targetNames(c.targets)), enumerate(types))
	c.fields = []string{"types", enumerate(types)}
	c.not = []RuledOut{{DNS121, "the answer is an empty one, not NXDOMAIN"}}
	return []*candidate{c}
}

func textIf(b bool, s string) string {
	if b {
		return s
	}
	return ""
}

// disagreeing: servers that give private and public addresses for one name.
func disagreeing(v *view) []*candidate {
	var out []*candidate
	merged := map[Code]*candidate{}
	for _, t := range v.targets {
		if t.decider < 0 || len(t.paths) == 0 || !t.settled && !t.passed || !v.isService(t) && !t.isAPIServer() {
			continue
		}
		other := v.other(t)
		if other == nil {
			continue
		}
		s := v.servers[t.decider].addr.Addr()
		code, at := DNS113, []netip.Addr{s, other.Servers[0].Addr()}
		if t.public() && t.silent() {
			code, at = DNS110, []netip.Addr{s}
		}
		c := merged[code]
		if c == nil {
			c = &candidate{code: code, warn: code == DNS113}
			c.because = fmt.Sprintf("%s gives %s, %s gives %s", s, t.paths[0].addr, other.Servers[0].Addr(), other.addr)
			if code == DNS110 {
				c.because += "; the public addresses are silent"
				c.not = []RuledOut{{DNS111, "the endpoint and its private name exist: " + other.Servers[0].Addr().String() + " knows them"}}
			}
			merged[code] = c
			out = append(out, c)
		}
		c.targets = append(c.targets, t)
		c.addresses = sortAddresses(append(c.addresses, at...))
	}
	return out
}

// other returns an address that only another server knows, private where the
// decider's are public or the other way round.
func (v *view) other(t *targetView) *pathView {
	for _, p := range t.spare {
		if len(p.Servers) > 0 && (p.kind == kindPublic) != t.public() && (t.public() || t.inVPC()) {
			return p
		}
	}
	return nil
}
