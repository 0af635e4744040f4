package bootstrap_test

import (
	"net/netip"
	"slices"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

const (
	amazonDNS = "169.254.169.253"
	// insideDNS is a DNS server of the VPC's own, otherDNS one outside it.
	insideDNS = "10.0.14.53"
)

// compared makes AmazonProvidedDNS, asked for comparison, say this about a target;
// its private addresses are connected to with the step as their end.
func (l *lab) compared(target string, lk probe.Lookup, step probe.Step) {
	res := l.result(target)
	lk.Server = dnsAddr(amazonDNS)
	if lk.Type == "" {
		lk.Type = "A"
	}
	res.Compared = append(res.Compared, lk)
	for _, a := range lk.Addresses {
		ap := netip.AddrPortFrom(a, res.Port)
		if !a.IsPrivate() || slices.ContainsFunc(res.Paths, func(p probe.Path) bool { return p.Address == ap }) {
			continue
		}
		res.Paths = append(res.Paths, probe.Path{Address: ap, Servers: []netip.AddrPort{lk.Server}, Reference: true, Steps: []probe.Step{step}})
	}
	slices.SortFunc(res.Paths, func(a, b probe.Path) int { return a.Address.Compare(b.Address) })
}

// amazonKnows makes AmazonProvidedDNS give what the healthy lab has.
func (l *lab) amazonKnows(targets ...string) {
	good := healthy()
	for _, t := range targets {
		l.compared(t, probe.Lookup{Addresses: good.result(t).Lookups[0].Addresses, RCode: "NOERROR"}, probe.Step{Phase: probe.PhaseConnect, Took: ms(0.4)})
	}
}

// amazonSays makes AmazonProvidedDNS fail for targets.
func (l *lab) amazonSays(cause probe.Cause, targets ...string) {
	for _, t := range targets {
		l.compared(t, probe.Lookup{Cause: cause, Took: ms(1)}, probe.Step{})
	}
}

// only makes these the DNS servers, the first of which fails so for the targets.
func (l *lab) only(server string, cause probe.Cause, targets ...string) {
	l.servers(server)
	l.dns(server, cause, targets...)
}

// publicFrom makes a server give silent public addresses.
func (l *lab) publicFrom(server string, targets ...string) {
	l.servers(server)
	l.publicly(targets...)
}

// udp makes a datagram to each silent address of the targets end so.
func (l *lab) udp(cause probe.Cause, targets ...string) {
	for _, t := range targets {
		res := l.result(t)
		for i := range res.Paths {
			if res.Paths[i].Cause() == probe.TCPTimeout {
				res.Paths[i].Experiments = []probe.Experiment{{Kind: probe.KindUDPTest, Steps: []probe.Step{{Phase: probe.PhaseUDP, Cause: cause, Took: ms(0.1)}}}}
			}
		}
	}
}

// hosts gives a target a line in /etc/hosts, whose address ends with the step.
func (l *lab) hosts(target, address string, step probe.Step) {
	a := netip.MustParseAddr(address)
	res := l.result(target)
	i := slices.IndexFunc(l.plan.Targets, func(t bootstrap.Target) bool { return t.Name == target })
	l.plan.Targets[i].Hosts = []netip.Addr{a}
	l.state.Hosts = append(l.state.Hosts, netcfg.HostsEntry{Name: res.Host, Addresses: []netip.Addr{a}, Line: 7})
	steps := healthySteps(target)
	if step.Phase != "" {
		steps = []probe.Step{step}
	}
	res.Paths = append(res.Paths, probe.Path{Address: netip.AddrPortFrom(a, res.Port), Steps: steps})
	slices.SortFunc(res.Paths, func(a, b probe.Path) int { return a.Address.Compare(b.Address) })
}

// system is what the machine's own lookup of the API server gives, its connect to
// the first address ending so.
func (l *lab) system(lookup, connect probe.Cause, addresses ...string) {
	i := slices.IndexFunc(l.plan.Targets, func(t bootstrap.Target) bool { return t.Name == "apiserver" })
	l.plan.Targets[i].System = true
	s := &probe.System{Took: ms(1.5), Cause: lookup}
	if len(addresses) > 0 {
		s.Addresses = addrs(addresses...)
		s.Path = &probe.Path{
			Address: netip.AddrPortFrom(s.Addresses[0], 443),
			Steps:   []probe.Step{{Phase: probe.PhaseConnect, Cause: connect, Took: ms(0.5)}},
		}
	}
	l.result("apiserver").System = s
}

// behindProxy makes a target one that a proxy reaches.
func (l *lab) behindProxy(target, proxy string) {
	i := slices.IndexFunc(l.plan.Targets, func(t bootstrap.Target) bool { return t.Name == target })
	l.plan.Targets[i].Proxy = "http://proxy.corp.example:3128"
	l.answer(l.state.DNS.Servers[0].Addr().String(), target, proxy)
}

// loses makes the connects to the addresses of a target need a retransmission.
func (l *lab) loses(target string) {
	for i := range l.result(target).Paths {
		l.result(target).Paths[i].Steps[0].TCP = &probe.TCPInfo{Retransmits: 1}
	}
}

// tokenless is the status that metadata answers without a token, after a failed
// request for one.
func (l *lab) tokenless(status int) {
	p := &l.report.Results[0].Paths[0]
	p.Steps = append(p.Steps, probe.Step{Phase: probe.PhaseHTTP, HTTP: &probe.HTTPInfo{Method: "GET", Path: "/latest/meta-data/mac", Status: status}})
}

// metadataByIPv6 is a reading of metadata without a route to its IPv4 address.
func (l *lab) metadataByIPv6() {
	l.state.Routes = l.state.Routes[1:]
	l.plan.Instance = bootstrap.Instance{}
	l.metadata(connect(probe.TCPNetUnreachable, 0.02, enetunreach))
	l.report.Results[0].Paths = append(l.report.Results[0].Paths, probe.Path{
		Address: netip.MustParseAddrPort("[fd00:ec2::254]:80"), Steps: []probe.Step{connect(probe.TCPRefused, 0.3, econnrefused)},
	})
}
