package bootstrap_test

import (
	"net/netip"
	"testing"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// onlyIPv6 leaves the node and the targets with IPv6 alone; what was
// asked for A had no answer.
func (l *lab) onlyIPv6(targets ...string) {
	l.plan.Instance.LocalIPv4 = netip.Addr{}
	l.plan.Instance.IPv6 = addrs("2600:1f14:1::5")
	l.plan.Instance.Subnet = prefixes("2600:1f14:1::/64")
	l.plan.Instance.VPC = prefixes("10.0.0.0/16", "2600:1f14::/56", "2600:1f14:1::/56")
	l.state.Links[1].Addresses = prefixes("2600:1f14:1::5/64")
	l.state.Routes = []netcfg.Route{{Destination: prefixes("::/0")[0], Gateway: addrs("fe80::1")[0], Link: 2, Table: netcfg.TableMain, Type: "unicast"}}
	for i, t := range l.all() {
		l.dns(vpcDNS, probe.DNSNoData, t)
		l.lookup(vpcDNS, t, probe.Lookup{Type: "AAAA", Addresses: addrs("2600:1f14::" + string(rune('a'+i)))})
	}
	l.plan.Targets = l.plan.Targets[:0:0]
	for _, t := range healthy().plan.Targets {
		for _, n := range targets {
			if t.Name == n {
				l.plan.Targets = append(l.plan.Targets, t)
			}
		}
	}
}

// TestJudgeNearResolving has the nearest cases of what DNS, the hosts file and the
// machine's own lookup decide.
func TestJudgeNearResolving(t *testing.T) {
	t.Parallel()
	wrongHost := handshake(probe.TLSWrongHost, probe.TLSInfo{Chain: []probe.Certificate{{Subject: "CN=x", Names: []string{"x"}}}})
	search := func(l *lab) { l.state.DNS.Search, l.state.DNS.NDots = []string{"corp.example"}, 7 }
	for _, tt := range []nearMiss{
		{name: "DNS-101: state unknown", spoil: func(l *lab) {
			l.state = netcfg.State{}
			l.plan.Targets = l.plan.Targets[:1]
			l.report.Results = []probe.Result{{Target: "apiserver", Host: apiHost, Port: 443}}
		}, codes: "INT-002", says: "nothing was measured"},
		{name: "DNS-106: silence for one name, whose own lookup waits for it", spoil: func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			l.dns(otherDNS, probe.DNSTimeout, "apiserver")
			l.system(probe.DNSTimeout, "")
		}, codes: "DNS-106", says: "10.9.0.53"},
		{name: "DNS-106: silence for one name, whose own lookup is quick", spoil: func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			l.dns(otherDNS, probe.DNSTimeout, "apiserver")
			l.system("", "", "10.0.12.77")
		}, codes: "(DNS-106)", says: "10.9.0.53"},
		{name: "DNS-106: the lookup waits for the second server, not for the first", spoil: func(l *lab) {
			l.servers(insideDNS, otherDNS, vpcDNS)
			l.dns(insideDNS, probe.DNSServFail, "apiserver")
			l.dns(otherDNS, probe.DNSTimeout, "apiserver")
			l.system(probe.DNSTimeout, "")
		}, codes: "DNS-106 (DNS-106)", says: "10.9.0.53"},
		{name: "DNS-107: two references, the second responds", spoil: func(l *lab) {
			l.only(otherDNS, probe.DNSNXDomain, l.all()...)
			l.amazonSays(probe.DNSTimeout, "apiserver", "ec2")
			for _, n := range l.all()[2:] {
				l.result(n).Compared = []probe.Lookup{{Server: dnsAddr(vpcDNS), Type: "A", Cause: probe.DNSNXDomain}}
			}
		}, codes: "DNS-107", says: "10.0.0.2 does not know them either"},
		{name: "DNS-107: two references, both respond", spoil: func(l *lab) {
			l.only(otherDNS, probe.DNSNXDomain, l.all()...)
			l.amazonSays(probe.DNSNXDomain, "apiserver", "ec2")
			for _, n := range l.all()[2:] {
				l.result(n).Compared = []probe.Lookup{{Server: dnsAddr(vpcDNS), Type: "A", Cause: probe.DNSNXDomain}}
			}
		}, codes: "DNS-107", says: "169.254.169.253 does not know them either"},
		{name: "DNS-109: an IPv6 node asks for AAAA", spoil: func(l *lab) {
			l.onlyIPv6("apiserver", "ec2", "ecr.api")
			l.dns(vpcDNS, probe.DNSNoData, "ec2")
			l.lookup(vpcDNS, "ec2", probe.Lookup{Type: "AAAA", Cause: probe.DNSNXDomain})
			l.compared("ec2", probe.Lookup{Type: "A", Cause: probe.DNSNXDomain}, probe.Step{})
			l.compared("ec2", probe.Lookup{Type: "AAAA", Addresses: addrs("2600:1f14::e")}, probe.Step{})
		}, codes: "DNS-109", says: "knows the name"},
		{name: "DNS-110: an IPv4 node does not use what is for IPv6", spoil: func(l *lab) {
			l.lookup(vpcDNS, "ec2", probe.Lookup{Type: "AAAA", Addresses: addrs("2600:1f14::e")})
			l.fails("ec2", connect(probe.TCPNetUnreachable, 0.02, enetunreach), "2600:1f14::e")
		}},
		{name: "DNS-113: the API server's are public and private", spoil: func(l *lab) {
			l.servers(vpcDNS, otherDNS)
			l.answer(otherDNS, "apiserver", "52.94.20.1")
		}, codes: "(DNS-113)"},
		{name: "DNS-113: a registry of one's own inside and outside", spoil: func(l *lab) {
			l.servers(vpcDNS, otherDNS)
			l.add("registry", "", "registry.corp.example", bootstrap.RoleReady, "10.0.12.99")
			l.answer(otherDNS, "registry", "52.30.1.1")
		}},
		{name: "DNS-115: the full name's address fails as well", spoil: func(l *lab) {
			search(l)
			l.silent("apiserver")
			l.system("", "", "10.9.9.9")
		}, codes: "DNS-115 NET-114"},
		{name: "DNS-116: an address that was not tried", spoil: func(l *lab) {
			l.plan.Targets[1].Hosts = addrs("10.0.12.99")
		}, codes: "DNS-116", says: "10.0.12.99"},
		{name: "DNS-117: one address of two servers of one's own", spoil: func(l *lab) {
			for _, n := range []string{"registry", "vault"} {
				l.add(n, "", n+".corp.example", bootstrap.RoleReady, "10.0.12.80")
				l.fails(n, wrongHost)
			}
		}, codes: "TLS-103 TLS-103"},
		{name: "DNS-117: the second server knows other addresses", spoil: func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			for _, n := range []string{"ec2", "ecr.api"} {
				l.answer(otherDNS, n, "10.0.12.80")
				l.fails(n, wrongHost, "10.0.12.80")
			}
		}, codes: "DNS-117", confidence: bootstrap.Proven, says: "10.0.0.2 gives other addresses"},
		{name: "DNS-119: the name is there, and the next server does not know it", spoil: func(l *lab) {
			l.servers(vpcDNS, otherDNS)
			l.dns(vpcDNS, probe.DNSNoData, "ec2")
			l.dns(otherDNS, probe.DNSNXDomain, "ec2")
		}, codes: "DNS-119"},
		{name: "DNS-119: no AAAA on an IPv6 node", spoil: func(l *lab) {
			l.onlyIPv6("apiserver", "ec2")
			l.answer(vpcDNS, "ec2", "10.0.12.30")
			l.lookup(vpcDNS, "ec2", probe.Lookup{Type: "AAAA", Cause: probe.DNSNoData})
		}, codes: "DNS-119", says: "AAAA record"},
		{name: "DNS-121: no network known at all", spoil: func(l *lab) {
			l.state, l.plan.Instance = netcfg.State{}, bootstrap.Instance{}
			l.dns(vpcDNS, probe.DNSNXDomain, "ecr.api")
		}, codes: "DNS-121"},
		{name: "DNS-122: a name of one's own", spoil: func(l *lab) {
			l.plan.Policy.PrivateOnly = true
			l.add("registry", "", "registry.corp.example", bootstrap.RoleReady, "52.30.1.1")
		}, codes: "DNS-122", says: "private hosted zone"},
		{name: "DNS-122: a service", spoil: func(l *lab) {
			l.plan.Policy.PrivateOnly = true
			l.answer(vpcDNS, "ecr.api", "52.94.20.1")
		}, codes: "DNS-122", lacks: "private hosted zone"},
		{name: "IPv6 alone", spoil: func(l *lab) { l.onlyIPv6("apiserver", "ec2", "ecr.api", "s3") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.check(t)
		})
	}
}
