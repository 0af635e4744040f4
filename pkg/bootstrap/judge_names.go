package bootstrap

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// Names as the programs of this machine see them: the hosts file first, search
// domains before the full name, a stub in between. And what must be private.

// hostsFile: lines of /etc/hosts that lead elsewhere than DNS. One that fails
// while DNS's addresses work is the cause; one that works is worth a warning, since
// it stays when the address moves. A name that DNS does not know has its line
// on purpose.
func hostsFile(v *view) []*candidate {
	var out []*candidate
	for _, t := range v.direct {
		if !t.hosted() || len(t.spare) == 0 || !t.settled && !t.passed {
			continue
		}
		if slices.ContainsFunc(t.paths, func(p *pathView) bool { return len(p.Servers) > 0 }) {
			continue // DNS gives it, too
		}
		works := slices.ContainsFunc(t.spare, func(p *pathView) bool { return p.ok })
		if !t.passed && !works {
			continue // it fails both ways: the hosts file is not what to change
		}
		entry := v.hostsEntry(t.Host)
		line := "/etc/hosts"
		if entry.Line > 0 {
			line = fmt.Sprintf("/etc/hosts line %d", entry.Line)
		}
		dns := enumerate(addressTexts(t.spare))
		c := &candidate{code: DNS116, targets: []*targetView{t}, addresses: sortAddresses(slices.Clone(t.Hosts)), warn: t.passed}
		c.because = fmt.Sprintf("%s gives %s for %s, DNS gives %s", line, enumerate(stringsOf(c.addresses)), t.Host, dns)
		detail := "Programs on this node use the address of the file, also when the service gets others."
		if !t.passed {
			c.because += "; that of the file fails, that of DNS works"
			detail = c.effect()
		}
		c.fields = []string{"line", line, "dns", dns, "detail", detail}
		out = append(out, c)
	}
	return out
}

func (v *view) hostsEntry(host string) netcfg.HostsEntry {
	i := slices.IndexFunc(v.state.Hosts, func(e netcfg.HostsEntry) bool { return strings.EqualFold(e.Name, host) })
	if i < 0 {
		return netcfg.HostsEntry{}
	}
	return v.state.Hosts[i]
}

// ownLookup compares the machine's own lookup and connect (Result.System) with
// those of the round. What answers the round and not the kubelet is no good.
func ownLookup(v *view) []*candidate {
	var out []*candidate
	for _, t := range v.direct {
		s := t.res.System
		if s == nil || !t.settled && !t.passed || len(t.paths) == 0 {
			continue
		}
		c := &candidate{targets: []*targetView{t}, addresses: s.Addresses, force: t.Role.Blocks()}
		switch {
		case v.captured(t, s):
			search := enumerate(v.state.DNS.Search)
			c.code = DNS115
			c.because = fmt.Sprintf("a lookup of %s by this machine gives %s, which no server gives for the full name; options ndots is %d, so that names with fewer dots are looked up below %s first",
				t.Host, enumerate(stringsOf(s.Addresses)), v.state.DNS.NDots, search)
			c.fields = []string{"search", search}
		case !t.passed:
			continue // it fails for a cause of its own
		case t.waitsForSilent():
			continue // deadServers or failingServers names which
		case len(s.Unanswered) > 0 && t.decider >= 0 && lateLookup(s):
			v.unansweredType(t, c)
		case s.Cause != "":
			c.code = DNS123
			c.because = fmt.Sprintf("a lookup of %s by this machine's resolver fails after %s with %s; its DNS servers, asked directly, answer", t.Host, s.Took, s.Cause)
			if s.Cause == probe.Canceled {
				c.because = fmt.Sprintf("a lookup of %s by this machine's resolver has no result after %s; its DNS servers, asked directly, answer", t.Host, s.Took)
			}
			c.addresses = nil
			c.needsAll = s.Cause == probe.Canceled
			c.fields = []string{"detail", c.because}
		case s.Path != nil && !s.Path.OK() && s.Path.Cause() != "":
			c.code = DNS123
			a := s.Path.Address.Addr()
			c.because = fmt.Sprintf("this machine's own connect to %s (%s) fails with %s; the addresses that its DNS servers give answer", t.Host, a, s.Path.Cause())
			c.addresses = []netip.Addr{a}
			c.needsAll = s.Path.Cause() == probe.Canceled
			c.fields = []string{"detail", c.because}
		default:
			continue
		}
		out = append(out, c)
	}
	return out
}

// lateLookup reports whether the machine's lookup had no result in its time.
func lateLookup(s *probe.System) bool {
	return s.Cause == probe.DNSTimeout || s.Cause == probe.Canceled
}

// waitsForSilent reports whether the machine's lookup spent its time with servers that
// are silent and that programs ask before the one that answers.
func (t *targetView) waitsForSilent() bool {
	s := t.res.System
	return s != nil && t.passed && lateLookup(s) && t.decider > 0 && slices.Contains(t.outcomes[:t.decider], outTimeout)
}

// unansweredType: a server, or what is on the way to it, answers questions of one type
// and swallows the others. Programs ask for both and wait for both.
func (v *view) unansweredType(t *targetView, c *candidate) {
	server, types := v.servers[t.decider].addr.Addr(), enumerate(t.res.System.Unanswered)
	c.code = DNS102
	c.addresses = []netip.Addr{server}
	c.needsAll = t.res.System.Cause == probe.Canceled
	c.because = fmt.Sprintf("a lookup of %s by this machine's resolver has no result after %s: of its two questions, A and AAAA, the one for %s is not answered; %s answers when asked for addresses of this node's family",
		t.Host, t.res.System.Took, types, server)
	c.remedy = "Let {servers} answer questions of type " + types + ", an empty answer is enough: what drops them is that server, its forwarder or a firewall on the way."
	c.not = []RuledOut{{DNS123, "this machine's resolver asks, and gets one answer of two"}}
}

// captured reports whether the machine's lookup was answered below a search
// domain: the options let it ask there first, and no address is one of the full
// name.
func (v *view) captured(t *targetView, s *probe.System) bool {
	dns := v.state.DNS
	if s.Cause != "" || len(s.Addresses) == 0 || len(dns.Search) == 0 || strings.Count(t.Host, ".") >= dns.NDots ||
		t.hosted() || t.decider < 0 || t.outcomes[t.decider] != outAnswer {
		return false
	}
	return !slices.ContainsFunc(s.Addresses, func(a netip.Addr) bool {
		a = a.Unmap()
		in := func(p *pathView) bool { return p.addr == a }
		return slices.ContainsFunc(t.paths, in) || slices.ContainsFunc(t.spare, in) || slices.ContainsFunc(t.referred, in) ||
			slices.Contains(t.ref.addresses, a)
	})
}

// documentation are ranges that no host has (RFC 5737, RFC 3849).
var documentation = []netip.Prefix{
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32"),
}

// impossible reports whether DNS cannot mean a as an address of the target.
func impossible(t *targetView, a netip.Addr) bool {
	if a.IsUnspecified() || a.IsLoopback() {
		return true
	}
	return (t.aws || t.isAPIServer()) && slices.ContainsFunc(documentation, func(p netip.Prefix) bool { return p.Contains(a) })
}

// sinkholes: a filter answers with an address of its own for names it does not
// allow. Nothing works there; an address that many names share and that answers
// as it should is a proxy or a load balancer, and no finding.
func sinkholes(v *view) []*candidate {
	shared := map[netip.Addr][]*targetView{}
	c := &candidate{code: DNS117}
	var servers []netip.Addr
	note := func(t *targetView, as ...netip.Addr) {
		c.targets = append(c.targets, t)
		c.addresses = append(c.addresses, as...)
		servers = append(servers, v.servers[t.decider].addr.Addr())
	}
	for _, t := range v.direct {
		if t.passed || !t.settled || t.hosted() || t.decider < 0 || len(t.paths) == 0 {
			continue
		}
		if t.all(func(p *pathView) bool { return !p.ok && impossible(t, p.addr) }) {
			note(t, pathAddresses(t.paths)...)
			continue
		}
		if len(t.paths) == 1 && (t.aws || t.isAPIServer()) && t.paths[0].elsewhere() {
			a := t.paths[0].addr
			shared[a] = append(shared[a], t)
		}
	}
	direct := len(c.targets)
	for a, ts := range shared {
		if len(ts) < 2 || v.usedBy(a) {
			continue
		}
		for _, t := range ts {
			note(t, a)
		}
	}
	if len(c.targets) == 0 {
		return nil
	}
	slices.SortFunc(c.targets, func(a, b *targetView) int { return slices.Index(v.direct, a) - slices.Index(v.direct, b) })
	c.addresses, servers = sortAddresses(c.addresses), sortAddresses(servers)
	c.because = fmt.Sprintf("%s %s %s for %s, where nothing answers as it should", enumerate(stringsOf(servers)), agree(len(servers), "gives", "give"),
		enumerate(stringsOf(c.addresses)), countOf(len(c.targets), "name"))
	c.fields = []string{"detail", "the filter of " + enumerate(stringsOf(servers)) + " (blocklist, response policy zone)"}
	if slices.ContainsFunc(servers, v.isVPCResolver) {
		c.fields[1] = "the Route 53 Resolver DNS Firewall of this VPC"
	}
	rs := referencesOf(c.targets)
	switch {
	case !slices.Contains(servers, rs.server) && rs.answered > 0 && !slices.ContainsFunc(c.targets, func(t *targetView) bool { return sharesAny(t.ref.addresses, c.addresses) }):
		c.because += "; " + rs.server.String() + " gives other addresses"
	case direct < len(c.targets):
		// One address for many names may still be a load balancer that is broken.
		c.confidence = Likely
		c.needsAll = true
	}
	return []*candidate{c}
}

// elsewhere reports whether the path ends in a way that shows something else than
// the target, or in silence at a public address: no two services share one.
func (p *pathView) elsewhere() bool {
	switch p.cause {
	case probe.TLSWrongHost, probe.TLSUnknownAuthority, probe.TLSNotTLS, probe.TCPRefused, probe.TCPReset, causeNotAPI:
		return true
	case probe.TCPTimeout:
		return p.public()
	default:
		return false
	}
}

// usedBy reports whether the address is a good one of some target.
func (v *view) usedBy(a netip.Addr) bool {
	return slices.ContainsFunc(v.direct, func(t *targetView) bool {
		return slices.ContainsFunc(t.paths, func(p *pathView) bool { return p.ok && p.addr == a })
	})
}

func sharesAny(as, bs []netip.Addr) bool {
	return slices.ContainsFunc(as, func(a netip.Addr) bool { return slices.Contains(bs, a) })
}

// publicNames: privateOnly allows no public address of a required name, whether it
// answers or not. S3 by gateway endpoint has public addresses and never leaves
// the VPC; which way a packet to them takes cannot be seen from here.
func publicNames(v *view) []*candidate {
	if !v.plan.Policy.PrivateOnly {
		return nil
	}
	required, others := &candidate{code: DNS122, force: true}, &candidate{code: DNS122, warn: true}
	for _, t := range v.direct {
		as := t.addresses((*pathView).public)
		if len(as) == 0 || t.isS3() {
			continue
		}
		c := others
		if t.Role.Blocks() {
			c = required
		}
		c.targets = append(c.targets, t)
		c.addresses = append(c.addresses, as...)
	}
	var out []*candidate
	for _, c := range []*candidate{required, others} {
		if len(c.targets) > 0 {
			c.addresses = sortAddresses(c.addresses)
			c.fields = []string{"detail", v.wayToPrivate(c.targets)}
			c.because = fmt.Sprintf("%s %s to public addresses, and privateOnly is set", enumerate(targetNames(c.targets)), agree(len(c.targets), "resolves", "resolve"))
			out = append(out, c)
		}
	}
	return out
}

// wayToPrivate is what gives public names private addresses.
func (v *view) wayToPrivate(ts []*targetView) string {
	var ways []string
	if slices.ContainsFunc(ts, (*targetView).isAPIServer) {
		ways = append(ways, "enable private access of the cluster endpoint")
	}
	services := slices.DeleteFunc(slices.Clone(ts), func(t *targetView) bool { return !v.isService(t) })
	if len(services) > 0 {
		ways = append(ways, "create "+enumerateUpTo(manyEndpoints, v.endpointNames(services))+" as interface endpoint with private DNS names enabled")
	}
	if slices.ContainsFunc(ts, func(t *targetView) bool { return !t.isAPIServer() && !v.isService(t) }) {
		ways = append(ways, "put your own names into a private hosted zone")
	}
	return strings.Join(ways, "; ")
}
