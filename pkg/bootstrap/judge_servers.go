package bootstrap

import (
	"net/netip"
	"slices"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// A serverView is one DNS server and what it said to all questions.
type serverView struct {
	addr netip.AddrPort
	// lookups that ended, and those of them that got a response of any kind.
	ended, responses int
	// vpc says that it is the VPC's own resolver.
	vpc bool
}

// dead reports whether the server never responded.
func (s *serverView) dead() bool { return s.ended > 0 && s.responses == 0 }

// An outcome is what one server said about one name, its record types taken
// together.
type outcome uint8

const (
	outUnknown     outcome = iota // not asked, or not known yet
	outAnswer                     // addresses
	outNXDomain                   // the name does not exist
	outNoData                     // the name exists without an address of a usable family
	outServFail                   // the server's failure
	outRefused                    // the server's refusal
	outNoTCP                      // too large for UDP, and TCP failed
	outUnusable                   // a response that means nothing
	outTimeout                    // silence
	outClosed                     // nothing listens
	outUnreachable                // no way to the server
)

// decides reports whether a resolver stops at this outcome instead of asking
// the next server. Go's, glibc's and systemd-resolved's do alike.
func (o outcome) decides() bool { return o == outAnswer || o == outNXDomain || o == outNoData }

func (o outcome) known() bool { return o != outUnknown }

// broken reports whether the server failed: in strict mode each must do its part.
func (o outcome) broken() bool { return o >= outServFail }

// responded reports whether the server sent something.
func (o outcome) responded() bool { return o != outUnknown && o < outTimeout }

func outcomeOf(l probe.Lookup) outcome {
	switch l.Cause {
	case "":
		if len(l.Addresses) == 0 {
			return outUnknown
		}
		return outAnswer
	case probe.DNSNXDomain:
		return outNXDomain
	case probe.DNSNoData:
		return outNoData
	case probe.DNSServFail:
		return outServFail
	case probe.DNSRefused:
		return outRefused
	case probe.DNSNoTCP:
		return outNoTCP
	case probe.DNSTimeout:
		return outTimeout
	case probe.DNSPortClosed:
		return outClosed
	case probe.DNSUnreachable:
		return outUnreachable
	case probe.Canceled:
		return outUnknown
	default:
		return outUnusable
	}
}

// add takes the outcomes of a name's record types together: an address is an
// answer, whatever the other type says; then failures count before absence.
func (o outcome) add(p outcome) outcome {
	switch {
	case o == outAnswer || p == outAnswer:
		return outAnswer
	case o == outNXDomain || p == outNXDomain:
		return outNXDomain
	case o == outNoData:
		return p
	case p == outNoData:
		return o
	}
	return max(o, p)
}

// askedServers collects the servers, in the order in which programs ask them,
// and what each said about each name.
func (v *view) askedServers() {
	index := map[netip.AddrPort]int{}
	add := func(a netip.AddrPort) {
		if _, ok := index[a]; !ok {
			index[a] = len(v.servers)
			v.servers = append(v.servers, &serverView{addr: a, vpc: v.isVPCResolver(a.Addr())})
		}
	}
	for _, a := range v.state.DNS.Servers {
		add(a)
	}
	for _, t := range v.targets {
		for _, l := range t.res.Lookups {
			add(l.Server)
		}
	}
	for _, t := range v.targets {
		if len(t.res.Lookups) == 0 {
			continue
		}
		t.outcomes = make([]outcome, len(v.servers))
		asked := make([]bool, len(v.servers))
		for _, l := range t.res.Lookups {
			if !v.asksFor(l.Type) {
				continue
			}
			i, o := index[l.Server], outcomeOf(l)
			if o != outUnknown {
				v.servers[i].ended++
			}
			if o.responded() {
				v.servers[i].responses++
			}
			if asked[i] {
				o = t.outcomes[i].add(o)
			}
			t.outcomes[i], asked[i] = o, true
		}
	}
}

// decide finds the server whose answer counts.
func (v *view) decide(t *targetView) {
	t.decider = slices.IndexFunc(t.outcomes, outcome.decides)
}

// undecided reports whether a server that programs ask first may yet say
// something else. One that was silent to every other name is not waited for.
func (v *view) undecided(t *targetView) bool {
	if !t.res.Pending || t.decider <= 0 {
		return false
	}
	for i, o := range t.outcomes[:t.decider] {
		if o == outUnknown && !v.servers[i].dead() {
			return true
		}
	}
	return false
}

// resolverAddresses are the VPC resolver's link-local addresses.
var resolverAddresses = []netip.Addr{netip.MustParseAddr("169.254.169.253"), netip.MustParseAddr("fd00:ec2::253")}

// isVPCResolver reports whether a is the VPC's own resolver: link-local, or
// the second address after the base of the VPC's first block or the subnet.
func (v *view) isVPCResolver(a netip.Addr) bool {
	if slices.Contains(resolverAddresses, a) {
		return true
	}
	i := v.plan.Instance
	for _, p := range slices.Concat(i.VPC, i.Subnet) {
		if p.Addr().Is4() && a == p.Masked().Addr().Next().Next() {
			return true
		}
	}
	return false
}

// deciderIsVPC reports whether the addresses used are the VPC resolver's answer.
func (v *view) deciderIsVPC(t *targetView) bool { return t.decider >= 0 && v.servers[t.decider].vpc }

// unresolved reports whether the target fails because its name gives no address.
func (t *targetView) unresolved() bool {
	return t.settled && !t.passed && len(t.paths) == 0 && len(t.outcomes) > 0
}
