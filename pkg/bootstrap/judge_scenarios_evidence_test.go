package bootstrap_test

import (
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// referenceScenarios are those that the comparison with AmazonProvidedDNS tells
// apart. Pairs that look alike without it stand side by side.
func referenceScenarios() []scenario {
	return []scenario{
		// The same symptom, public and silent, has three causes.
		{"custom DNS outside the VPC does not forward", "DNS-110", 15, func(l *lab) {
			l.publicFrom(otherDNS, "ec2", "ecr.api")
			l.amazonKnows("ec2", "ecr.api")
		}, []string{otherDNS, "inbound endpoint", "ec2.us-west-2.amazonaws.com"}},
		{"custom DNS inside the VPC does not forward", "DNS-110", 15, func(l *lab) {
			l.publicFrom(insideDNS, "ecr.api")
			l.amazonKnows("ecr.api")
		}, []string{insideDNS, "10.0.0.2", "api.ecr"}},
		{"custom DNS forwards, endpoint missing", "DNS-111", 15, func(l *lab) {
			l.publicFrom(otherDNS, "ecr.api")
			l.compared("ecr.api", probe.Lookup{Addresses: addrs("52.94.20.1")}, probe.Step{})
		}, []string{"com.amazonaws.us-west-2.ecr.api", "private DNS", "Route 53 Profile"}},
		{"custom DNS, the endpoint drops as well", "DNS-110", 15, func(l *lab) {
			l.publicFrom(otherDNS, "ecr.api")
			l.compared("ecr.api", probe.Lookup{Addresses: addrs("10.0.12.34")}, silentStep)
		}, []string{otherDNS, "security group"}},
		{"custom DNS resolves everything on the internet", "DNS-110", 15, func(l *lab) {
			l.publicFrom(otherDNS, "apiserver", "ec2", "ecr.api", "ecr.dkr", "sts")
			l.amazonKnows("apiserver", "ec2", "ecr.api", "ecr.dkr", "sts")
		}, []string{otherDNS, apiHost}},
		{"public API server, custom DNS", "DNS-110", 15, func(l *lab) {
			l.publicFrom(otherDNS, "apiserver")
			l.amazonKnows("apiserver")
		}, []string{otherDNS, apiHost}},
		{"public API server for everybody", "NET-115", 16, func(l *lab) {
			l.publicFrom(otherDNS, "apiserver")
			l.compared("apiserver", probe.Lookup{Addresses: addrs("52.94.20.1")}, probe.Step{})
		}, []string{"demo", "private access"}},
		{"S3 interface endpoint bypassed", "DNS-110", 15, func(l *lab) {
			l.servers(otherDNS)
			l.silent("s3")
			l.compared("s3", probe.Lookup{Addresses: addrs("10.0.12.50")}, probe.Step{Phase: probe.PhaseConnect})
		}, []string{otherDNS, "starport"}},
		{"private DNS off, own CNAME to the endpoint", "", 0, func(l *lab) {
			l.servers(otherDNS)
			for i := range l.result("ecr.api").Lookups {
				l.result("ecr.api").Lookups[i].CNAMEs = []string{"vpce-0abc-1.api.ecr.us-west-2.vpce.amazonaws.com"}
			}
			l.fails("ecr.api", silentStep, "10.0.99.99") // none
			l.compared("ecr.api", probe.Lookup{Addresses: addrs("52.94.20.1")}, probe.Step{})
		}, nil},
		{"works by public addresses although the endpoint exists", "", 0, func(l *lab) {
			l.servers(otherDNS)
			l.answer(otherDNS, "ecr.api", "52.94.20.1")
			l.amazonKnows("ecr.api")
		}, nil},

		// The API server's name.
		{"deleted cluster, custom DNS", "DNS-108", 15, func(l *lab) {
			l.only(otherDNS, probe.DNSNXDomain, "apiserver")
			l.amazonSays(probe.DNSNXDomain, "apiserver")
		}, []string{apiHost, "demo", "describe-cluster"}},
		{"custom DNS does not know the cluster", "DNS-109", 15, func(l *lab) {
			l.only(otherDNS, probe.DNSNXDomain, "apiserver")
			l.amazonKnows("apiserver")
		}, []string{otherDNS, apiHost, "inbound endpoint"}},
		{"service unknown to custom DNS", "DNS-109", 15, func(l *lab) {
			l.only(insideDNS, probe.DNSNXDomain, "ecr.api")
			l.amazonKnows("ecr.api")
		}, []string{insideDNS, "api.ecr", "10.0.0.2"}},
		{"service unknown to everybody", "DNS-121", 15, func(l *lab) {
			l.only(otherDNS, probe.DNSNXDomain, "ecr.api")
			l.amazonSays(probe.DNSNXDomain, "ecr.api")
		}, []string{"api.ecr"}},

		// REFUSED, SERVFAIL, NXDOMAIN, NODATA, silence of one server that is not the VPC's.
		{"REFUSED, Amazon answers", "DNS-105", 15, func(l *lab) {
			l.only(otherDNS, probe.DNSRefused, l.all()...)
			l.amazonKnows(l.all()...)
		}, []string{otherDNS, "10.0.12.0/24"}},
		{"SERVFAIL, Amazon answers", "DNS-106", 15, func(l *lab) {
			l.only(otherDNS, probe.DNSServFail, l.all()...)
			l.amazonKnows(l.all()...)
		}, []string{otherDNS, "inbound endpoint"}},
		{"SERVFAIL, of Amazon too", "DNS-106", 15, func(l *lab) {
			l.only(otherDNS, probe.DNSServFail, "ecr.api")
			l.amazonSays(probe.DNSServFail, "ecr.api")
		}, []string{otherDNS, "Resolver rule"}},
		{"NXDOMAIN for all AWS names, Amazon answers", "DNS-107", 15, func(l *lab) {
			l.only(otherDNS, probe.DNSNXDomain, l.all()...)
			l.amazonKnows(l.all()...)
		}, []string{otherDNS, "inbound endpoint", "amazonaws.com"}},
		{"NXDOMAIN for all AWS names, of Amazon too", "DNS-107", 15, func(l *lab) {
			l.only(otherDNS, probe.DNSNXDomain, l.all()...)
			l.amazonSays(probe.DNSNXDomain, l.all()...)
		}, []string{"private hosted zone"}},
		{"NODATA, Amazon answers", "DNS-109", 15, func(l *lab) {
			l.only(otherDNS, probe.DNSNoData, "ecr.api")
			l.amazonKnows("ecr.api")
		}, []string{otherDNS, "api.ecr"}},
		{"NODATA, of Amazon too", "DNS-119", 15, func(l *lab) {
			l.only(otherDNS, probe.DNSNoData, "ecr.api")
			l.amazonSays(probe.DNSNoData, "ecr.api")
		}, []string{"type A"}},
		{"silence, Amazon answers", "DNS-102", 15, func(l *lab) {
			l.only(otherDNS, probe.DNSTimeout, l.all()...)
			l.amazonKnows(l.all()...)
		}, []string{otherDNS, "10.0.12.0/24"}},
		{"silence of a DNS server in the own subnet", "DNS-102", 15, func(l *lab) {
			l.only("10.0.12.53", probe.DNSTimeout, l.all()...)
			l.amazonKnows(l.all()...)
		}, []string{"10.0.12.53", "within one subnet"}},
		{"silence, of Amazon too", "DNS-112", 15, func(l *lab) {
			l.only(otherDNS, probe.DNSTimeout, l.all()...)
			l.amazonSays(probe.DNSTimeout, l.all()...)
		}, []string{"enableDnsSupport", amazonDNS, otherDNS}},
		{"VPC resolver silent on both addresses", "DNS-112", 15, func(l *lab) {
			l.dns(vpcDNS, probe.DNSTimeout, l.all()...)
			l.amazonSays(probe.DNSTimeout, l.all()...)
		}, []string{"enableDnsSupport", vpcDNS, amazonDNS}},
		{"VPC resolver silent on one address", "DNS-102", 15, func(l *lab) {
			l.dns(vpcDNS, probe.DNSTimeout, l.all()...)
			l.amazonKnows(l.all()...)
		}, []string{vpcDNS, "ip route get", amazonDNS}},
		{"link-local allowance exceeded", "DNS-106 (LNK-110)", 15, func(l *lab) {
			l.state.LinkLocalDropped = 812
			l.dns(vpcDNS, probe.DNSTimeout, "ecr.api")
		}, []string{"api.ecr"}},
		{"strict: dead DNS server beside a good one", "DNS-114", 15, func(l *lab) {
			l.plan.Policy.Mode = bootstrap.ModeStrict
			l.servers(otherDNS, vpcDNS)
			l.dns(otherDNS, probe.DNSTimeout, l.all()...)
		}, []string{otherDNS}},
		{"strict: the first DNS server refuses", "DNS-105", 15, func(l *lab) {
			l.plan.Policy.Mode = bootstrap.ModeStrict
			l.servers(otherDNS, vpcDNS)
			l.dns(otherDNS, probe.DNSRefused, l.all()...)
		}, []string{otherDNS}},
	}
}

// nameScenarios are about names as this machine's programs see them.
func nameScenarios() []scenario {
	wrong := handshake(probe.TLSWrongHost, probe.TLSInfo{Chain: []probe.Certificate{{Subject: "CN=blocked.corp", Names: []string{"blocked.corp"}}}})
	return []scenario{
		{"search domain captures the API server", "DNS-115", 15, func(l *lab) {
			l.state.DNS.Search, l.state.DNS.NDots = []string{"corp.example"}, 7
			l.system("", probe.TCPRefused, "10.9.9.9")
		}, []string{"corp.example", apiHost, "ndots"}},
		{"own resolver fails", "DNS-123", 15, func(l *lab) { l.system(probe.DNSServFail, "") }, []string{apiHost, "resolvectl"}},
		{"own lookup waits for a dead server", "DNS-114", 15, func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			l.dns(otherDNS, probe.DNSTimeout, l.all()...)
			l.system(probe.DNSTimeout, "")
		}, []string{otherDNS, "DHCP options set"}},
		{"own lookup lacks an answer for AAAA", "DNS-102", 15, func(l *lab) {
			l.system(probe.DNSTimeout, "")
			l.result("apiserver").System.Unanswered = []string{"AAAA"}
		}, []string{vpcDNS, "type AAAA", "firewall"}},
		{"own connect fails", "DNS-123", 15, func(l *lab) { l.system("", probe.TCPTimeout, "10.0.12.78") }, []string{"10.0.12.78"}},
		{"own lookup and connect pass", "", 0, func(l *lab) {
			l.state.DNS.Search, l.state.DNS.NDots = []string{"corp.example"}, 7
			l.system("", "", "10.0.13.21", "10.0.12.77")
		}, nil},
		{
			"stale line in the hosts file", "DNS-116", 15, func(l *lab) { l.hosts("apiserver", "10.0.12.99", silentStep) },
			[]string{"line 7", "10.0.12.99", "10.0.12.77", apiHost},
		},
		{"hosts file leads to another server", "DNS-116", 15, func(l *lab) {
			l.hosts("ec2", "10.0.12.99", silentStep)
			for i := range l.result("ec2").Paths {
				if p := &l.result("ec2").Paths[i]; p.Address.Addr() == addrs("10.0.12.99")[0] {
					p.Steps = []probe.Step{{Phase: probe.PhaseConnect}, wrong}
				}
			}
		}, []string{"line 7", "10.0.12.99"}},
		{"hosts file differs and works", "(DNS-116)", 0, func(l *lab) { l.hosts("ec2", "10.0.12.99", probe.Step{}) }, nil},
		{"hosts file for a name DNS does not know", "", 0, func(l *lab) {
			l.dns(vpcDNS, probe.DNSNXDomain, "ec2")
			l.hosts("ec2", "10.0.12.99", probe.Step{})
		}, nil},
		{"hosts file, both ways fail", "NET-105", 16, func(l *lab) {
			l.silent("ec2")
			l.hosts("ec2", "10.0.12.99", silentStep)
		}, []string{"10.0.12.99"}},
		{"names lead nowhere", "DNS-117", 15, func(l *lab) {
			for _, t := range []string{"ec2", "ecr.api"} {
				l.answer(vpcDNS, t, "0.0.0.0")
				l.fails(t, connect(probe.TCPRefused, 0.1, econnrefused))
			}
		}, []string{"DNS Firewall", "0.0.0.0", "ec2.us-west-2"}},
		{"names lead to a page that blocks", "DNS-117", 15, func(l *lab) {
			l.servers(otherDNS)
			for _, t := range []string{"apiserver", "ec2", "ecr.api"} {
				l.answer(otherDNS, t, "10.9.0.80")
				l.fails(t, wrong)
			}
			l.amazonKnows("apiserver", "ec2", "ecr.api")
		}, []string{otherDNS, "10.9.0.80", apiHost}},
		{"names lead to a documentation address", "DNS-117", 15, func(l *lab) {
			l.publicFrom(otherDNS, "ec2")
			l.answer(otherDNS, "ec2", "192.0.2.1")
			l.silent("ec2")
			l.amazonKnows("ec2")
		}, []string{"192.0.2.1"}},
		{"privateOnly: a required name is public and works", "DNS-122", 15, func(l *lab) {
			l.plan.Policy.PrivateOnly = true
			l.answer(vpcDNS, "ecr.api", "52.94.20.1")
		}, []string{"api.ecr", "52.94.20.1", "com.amazonaws.us-west-2.ecr.api"}},
		{"privateOnly: a workload's name is public", "(DNS-122)", 0, func(l *lab) {
			l.plan.Policy.PrivateOnly = true
			l.answer(vpcDNS, "sts", "52.94.20.1")
		}, nil},
		{"privateOnly: no endpoint", "DNS-111", 15, func(l *lab) {
			l.plan.Policy.PrivateOnly = true
			l.publicly("ecr.api")
		}, []string{"com.amazonaws.us-west-2.ecr.api"}},
		{"privateOnly: no internet and no endpoints", "NET-109", 16, func(l *lab) {
			l.plan.Policy.PrivateOnly = true
			l.publicly("ec2", "ecr.api", "ecr.dkr", "sts")
		}, []string{"com.amazonaws.us-west-2.ec2", "privateOnly"}},
		{"privateOnly: public API server", "NET-115", 16, func(l *lab) {
			l.plan.Policy.PrivateOnly = true
			l.publicly("apiserver")
		}, []string{"private access", "privateOnly"}},
		{"privateOnly: S3 by gateway", "", 0, func(l *lab) { l.plan.Policy.PrivateOnly = true }, nil},
	}
}

// matrixScenarios are patterns of silence over targets and subnets.
func matrixScenarios() []scenario {
	endpoints := []string{"ec2", "ecr.api", "ecr.dkr", "sts"}
	return []scenario{
		{"own firewall drops everything", "LNK-107", 11, func(l *lab) {
			l.silent(l.all()...)
			l.udp(probe.TCPProhibited, l.all()...)
		}, []string{"nft list ruleset", "443"}},
		{"own firewall drops the way to one endpoint", "LNK-107", 11, func(l *lab) {
			l.silent("ecr.api")
			l.udp(probe.TCPProhibited, "ecr.api")
		}, []string{"10.0.12.34"}},
		{"nothing on this machine drops", "NET-105", 16, func(l *lab) {
			l.silent("ecr.api")
			l.udp("", "ecr.api")
		}, []string{"ecr.api"}},
		{
			"shared group, one endpoint has its own", "NET-105", 16, func(l *lab) { l.silent("ec2", "ecr.api", "ecr.dkr") },
			[]string{"ec2", "ecr.api", "ecr.dkr", "share one security group"},
		},
		{"endpoint in the own subnet alone", "NET-105", 16, func(l *lab) {
			for _, t := range endpoints {
				l.answer(vpcDNS, t, "10.0.13.4"+string(rune('0'+len(t))))
			}
			l.answer(vpcDNS, "apiserver", "10.0.13.21")
			l.answer(vpcDNS, "ecr.api", "10.0.12.34")
			l.silent("ecr.api")
		}, []string{"10.0.12.34"}},
		{"own subnet silent, others answer", "(NET-107)", 0, func(l *lab) {
			for _, t := range l.all() {
				l.fails(t, silentStep, "10.0.12.77", "10.0.12.30", "10.0.12.34", "10.0.12.35", "10.0.12.36")
			}
		}, nil},
		{"secondary CIDR filtered", "NET-106", 16, func(l *lab) {
			l.plan.Instance.VPC = append(l.plan.Instance.VPC, prefixes("100.64.0.0/16")...)
			l.answer(vpcDNS, "ecr.api", "100.64.3.4")
			l.answer(vpcDNS, "ecr.dkr", "100.64.3.5", "10.0.12.35")
			l.silent("ecr.api")
			l.fails("ecr.dkr", silentStep, "100.64.3.5")
		}, []string{"100.64.3.0/24"}},
		{"all endpoints in the shared VPC, no way there", "NET-111", 16, func(l *lab) {
			for i, t := range endpoints {
				l.answer(vpcDNS, t, "10.50.1."+string(rune('1'+i)))
			}
			l.silent(endpoints...)
		}, []string{"10.50.1.1", "10.0.0.0/16"}},
		{"one endpoint of the shared VPC", "NET-111", 16, func(l *lab) {
			for i, t := range endpoints {
				l.answer(vpcDNS, t, "10.50.1."+string(rune('1'+i)))
			}
			l.silent("ecr.api")
		}, []string{"10.50.1.2", "security group there"}},
		{"API server in another VPC", "NET-111", 16, func(l *lab) {
			l.answer(vpcDNS, "apiserver", "10.60.1.4", "10.60.2.4")
			l.silent("apiserver")
		}, []string{"10.60.1.4", apiHost}},
		{"node security group or network ACL", "NET-108", 16, func(l *lab) {
			for i, t := range append(endpoints, "apiserver") {
				l.answer(vpcDNS, t, "10.0.13.1"+string(rune('1'+i)))
			}
			l.silent(l.all()...)
		}, []string{"i-0abc123", "10.0.12.0/24", "network ACL"}},
		{"loss", "(NET-117)", 0, func(l *lab) { l.loses("ec2") }, nil},
		{"endpoint elsewhere only", "(NET-119)", 0, func(l *lab) { l.answer(vpcDNS, "ecr.api", "10.0.13.40", "10.0.14.40") }, nil},
		{"endpoints in subnets of their own", "", 0, func(l *lab) {
			for i, t := range endpoints {
				l.answer(vpcDNS, t, "10.0.200.1"+string(rune('1'+i)), "10.0.201.1"+string(rune('1'+i)))
			}
		}, nil},
		{"a proxied target is no endpoint", "(PXY-103)", 0, func(l *lab) {
			l.behindProxy("sts", "10.0.13.99")
			l.silent("sts")
		}, nil},
	}
}

// nodeScenarios are about the node itself.
func nodeScenarios() []scenario {
	return []scenario{
		{"two default routes", "(LNK-105)", 0, func(l *lab) {
			l.state.Links = append(l.state.Links, netcfg.Link{Index: 3, Name: "eth1", Up: true, Running: true, Addresses: prefixes("10.0.12.6/24")})
			r := route("0.0.0.0/0", "10.0.12.1", "unicast")
			r.Link = 3
			l.state.Routes = append(l.state.Routes, r)
		}, nil},
		{"a silent address by another interface", "NET-105 (LNK-105)", 16, func(l *lab) {
			l.state.Links = append(l.state.Links, netcfg.Link{Index: 3, Name: "eth1", Up: true, Running: true, Addresses: prefixes("10.0.12.6/24")})
			l.silent("ecr.api")
			l.state.Destinations = []netcfg.Destination{{Address: addrs("10.0.13.40")[0], Type: "unicast", Link: "eth1", Source: addrs("10.0.12.6")[0]}}
		}, []string{"ecr.api"}},
		{"node address outside the VPC", "LNK-108", 11, func(l *lab) { l.plan.Node.IP = addrs("172.17.0.1")[0] }, []string{"172.17.0.1", "10.0.0.0/16", "i-0abc123"}},
		{"blackhole in another table, looked up", "LNK-106", 11, func(l *lab) {
			l.fails("ec2", connect(probe.TCPBlackhole, 0.02, einval))
			l.state.Destinations = []netcfg.Destination{{Address: addrs("10.0.12.30")[0], Type: "blackhole"}, {Address: addrs("10.0.13.30")[0], Type: "blackhole"}}
		}, []string{"ip rule", "10.0.12.30"}},
		{"no route, looked up", "NET-101", 16, func(l *lab) {
			l.fails("s3", connect(probe.TCPNetUnreachable, 0.02, enetunreach))
			l.state.Destinations = []netcfg.Destination{{Address: addrs("52.92.1.1")[0]}, {Address: addrs("52.92.1.2")[0]}}
		}, []string{"52.92.1.1"}},
		{"neighbour failed, looked up", "NET-103", 16, func(l *lab) {
			l.answer(vpcDNS, "ecr.api", "10.0.12.34")
			l.fails("ecr.api", connect(probe.TCPHostUnreachable, 3060, ehostunreach))
			l.state.Destinations = []netcfg.Destination{{Address: addrs("10.0.12.34")[0], Type: "unicast", Link: "eth0", Neighbour: "failed"}}
		}, []string{"10.0.12.34"}},
		{"metadata without tokens", "IMD-106", 12, func(l *lab) { l.metadata(metadataAnswer(405, "")) }, []string{"PUT /latest/api/token", "405"}},
		{"metadata without tokens, version 1 answers", "IMD-106", 12, func(l *lab) {
			l.metadata(metadataAnswer(404, ""))
			l.tokenless(200)
		}, []string{"PUT /latest/api/token"}},
		{"metadata loses the answer with the token", "IMD-103", 12, func(l *lab) {
			l.metadata(probe.Step{Phase: probe.PhaseHTTP, Cause: probe.HTTPTimeout, Took: ms(1000)})
			l.tokenless(401)
		}, []string{"hop limit"}},
		{"no IPv6 metadata endpoint", "IMD-108", 12, func(l *lab) {
			l.state.Links[1].Addresses = prefixes("2600:1f14:1::5/64")
			l.metadataByIPv6()
		}, []string{"fd00:ec2::254", "HttpProtocolIpv6=enabled"}},
		{"no IPv4 default route, and no IPv6 metadata endpoint", "LNK-104", 11, func(l *lab) { l.metadataByIPv6() }, []string{"10.0.12.1"}},
		{"role cannot be assumed", "CRD-102", 13, func(l *lab) {
			l.plan.Instance.Credentials = bootstrap.Credentials{Code: "AssumeRoleUnauthorizedAccess"}
		}, []string{"AssumeRoleUnauthorizedAccess", "ec2.amazonaws.com", "i-0abc123"}},
		{"credentials expired", "CRD-103", 13, func(l *lab) {
			l.plan.Instance.Credentials = bootstrap.Credentials{Code: "Success", Expiration: l.now.Add(-time.Hour)}
			l.report.Clock = []probe.ClockReading{{Source: "metadata", Within: ms(1000)}}
		}, []string{"i-0abc123"}},
		{"service CIDR overlaps the VPC", "(NOD-101)", 0, func(l *lab) { l.plan.Cluster.ServiceCIDR = prefixes("10.0.240.0/20")[0] }, nil},
		{"service CIDR holds an endpoint", "NOD-102", 20, func(l *lab) { l.plan.Cluster.ServiceCIDR = prefixes("10.0.12.0/24")[0] }, []string{"10.0.12.0/24", "10.0.12.30 is ec2"}},
		{"service CIDR holds the DNS server", "NOD-102", 20, func(l *lab) {
			l.servers("172.20.0.53")
			l.plan.Cluster.ServiceCIDR = prefixes("172.20.0.0/16")[0]
		}, []string{"172.20.0.53 is a DNS server"}},
		{"service CIDR overlaps a bridge", "(NOD-101)", 0, func(l *lab) {
			l.state.Routes = append(l.state.Routes, route("172.17.0.0/16", "", "unicast"))
			l.plan.Cluster.ServiceCIDR = prefixes("172.17.0.0/16")[0]
		}, nil},
		{"service CIDR holds metadata", "NOD-102", 20, func(l *lab) { l.plan.Cluster.ServiceCIDR = prefixes("169.254.0.0/16")[0] }, []string{"169.254.169.254 is the metadata service"}},
		{"service CIDR elsewhere", "", 0, func(l *lab) { l.plan.Cluster.ServiceCIDR = prefixes("172.20.0.0/16")[0] }, nil},
		{"subnet smaller than max-pods", "(NOD-105)", 0, func(l *lab) {
			l.plan.Instance.Subnet = prefixes("10.0.12.0/25")
			l.plan.Node.MaxPods = 250
		}, nil},
		{"a probe panics", "INT-001", 1, func(l *lab) {
			l.fails("ec2", probe.Step{Phase: probe.PhaseHTTP, Cause: probe.Other, Err: "panic: no credential"})
		}, []string{"report"}},
		{"a lookup panics", "INT-001", 1, func(l *lab) {
			l.lookup(vpcDNS, "ec2", probe.Lookup{Cause: probe.Other, Err: "panic: index out of range"})
		}, []string{"report"}},
	}
}
