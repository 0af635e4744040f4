package bootstrap_test

import (
	"syscall"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

func linkScenarios() []scenario {
	unreachable := func(l *lab) {
		l.state.Routes = l.state.Routes[1:]
		l.dns(vpcDNS, probe.DNSUnreachable, l.all()...)
	}
	return []scenario{
		{"healthy", "", 0, func(*lab) {}, nil},
		{"no link", "LNK-101", 11, func(l *lab) {
			unreachable(l)
			l.state.Links[1].Running = false
		}, []string{"eth0"}},
		{"no link but the loopback", "LNK-101", 11, func(l *lab) {
			unreachable(l)
			l.state.Links = l.state.Links[:1]
		}, []string{"the network interface"}},
		{"no address", "LNK-102", 11, func(l *lab) {
			unreachable(l)
			l.state.Links[1].Addresses = prefixes("169.254.7.7/16")
			l.state.Routes = nil
		}, []string{"eth0"}},
		{"no default route", "LNK-104", 11, unreachable, []string{"10.0.12.1", "eth0"}},
		{"no default route, names known", "LNK-104", 11, func(l *lab) {
			l.state.Routes = l.state.Routes[1:]
			for _, t := range l.all() {
				l.fails(t, connect(probe.TCPNetUnreachable, 0.02, enetunreach))
			}
			for _, t := range []string{"apiserver", "ec2", "ecr.api", "ecr.dkr", "sts"} { // on-link
				l.answer(vpcDNS, t, l.result(t).Paths[0].Address.Addr().String())
			}
			l.fails("s3", connect(probe.TCPNetUnreachable, 0.02, enetunreach))
		}, []string{"10.0.12.1"}},
		{"no default route before metadata", "LNK-104", 11, func(l *lab) {
			l.state.Routes = l.state.Routes[1:]
			l.plan.Instance = bootstrap.Instance{}
			l.metadata(connect(probe.TCPNetUnreachable, 0.02, enetunreach))
		}, []string{"10.0.12.1"}},
		{"blackhole route", "LNK-106", 11, func(l *lab) {
			l.state.Routes = append(l.state.Routes, route("10.0.12.34/31", "", "blackhole"), route("10.0.13.40/31", "", "blackhole"))
			for _, a := range []string{"ecr.api", "ecr.dkr"} {
				l.fails(a, connect(probe.TCPBlackhole, 0.02, einval), "10.0.12.34", "10.0.12.35")
			}
			l.state.Routes = l.state.Routes[:3]
			l.answer(vpcDNS, "ecr.api", "10.0.12.34")
			l.fails("ecr.api", connect(probe.TCPBlackhole, 0.02, einval))
			l.answer(vpcDNS, "ecr.dkr", "10.0.12.35")
			l.fails("ecr.dkr", connect(probe.TCPBlackhole, 0.02, einval))
		}, []string{"blackhole 10.0.12.34/31"}},
		{"prohibit route to DNS", "LNK-106", 11, func(l *lab) {
			l.state.Routes = append(l.state.Routes, route("10.0.0.2/32", "", "prohibit"))
			l.dns(vpcDNS, probe.DNSUnreachable, l.all()...)
		}, []string{"prohibit 10.0.0.2/32"}},
		{"blackhole in another table", "LNK-106", 11, func(l *lab) { l.fails("ec2", connect(probe.TCPBlackhole, 0.02, einval)) }, []string{"10.0.12.30", "ip rule"}},
		{"forbidden by this host", "LNK-107", 11, func(l *lab) {
			for _, t := range l.all() {
				l.fails(t, connect(probe.TCPProhibited, 0.03, eacces))
			}
		}, []string{"443"}},
	}
}

func metadataScenarios() []scenario {
	return []scenario{
		{"metadata unreachable", "IMD-101", 12, func(l *lab) { l.metadata(connect(probe.TCPRefused, 0.1, econnrefused)) }, []string{"169.254.169.254"}},
		{"metadata prohibited by a route", "IMD-101", 12, func(l *lab) {
			l.state.Routes = append(l.state.Routes, route("169.254.169.254/32", "", "prohibit"))
			l.metadata(connect(probe.TCPProhibited, 0.02, eacces))
		}, []string{"prohibit 169.254.169.254/32"}},
		{"metadata silent", "IMD-102", 12, func(l *lab) { l.metadata(connect(probe.TCPTimeout, 1000, 0)) }, []string{"169.254.169.254", "TCP 80"}},
		{"metadata never answers", "IMD-103", 12, func(l *lab) { l.metadata(probe.Step{Phase: probe.PhaseHTTP, Cause: probe.HTTPTimeout, Took: ms(1000)}) }, []string{"hop limit"}},
		{"metadata off", "IMD-104", 12, func(l *lab) { l.metadata(metadataAnswer(403, "EC2ws")) }, []string{"HttpEndpoint=enabled"}},
		{"metadata off, server unnamed", "IMD-104", 12, func(l *lab) { l.metadata(metadataAnswer(403, "")) }, []string{"HttpEndpoint=enabled"}},
		{"a proxy answers for metadata", "IMD-105", 12, func(l *lab) { l.metadata(metadataAnswer(403, "squid/6.1")) }, []string{"squid/6.1", "169.254.169.254"}},
		{"metadata unavailable", "IMD-107", 12, func(l *lab) { l.metadata(metadataAnswer(503, "EC2ws")) }, []string{"169.254.169.254"}},
		{"metadata throttles", "IMD-107", 12, func(l *lab) { l.metadata(metadataAnswer(429, "EC2ws")) }, nil},
		{"a proxy fails for metadata", "IMD-105", 12, func(l *lab) { l.metadata(metadataAnswer(503, "squid/6.1")) }, []string{"squid/6.1"}},
		{"metadata lacks a path", "IMD-109", 12, func(l *lab) {
			step := metadataAnswer(404, "EC2ws")
			step.HTTP.Method, step.HTTP.Path = "GET", "/latest/meta-data/local-hostname"
			l.metadata(step)
		}, []string{"/latest/meta-data/local-hostname", "i-0abc123"}},
		{"a path of metadata is somebody else's", "IMD-105", 12, func(l *lab) {
			step := metadataAnswer(404, "nginx")
			step.HTTP.Method, step.HTTP.Path = "GET", "/latest/meta-data/mac"
			l.metadata(step)
		}, []string{"nginx"}},
		{"metadata is no HTTP", "IMD-105", 12, func(l *lab) {
			l.metadata(probe.Step{Phase: probe.PhaseHTTP, Cause: probe.HTTPMalformed, Err: "malformed"})
		}, nil},
		{"metadata fails oddly", "INT-002", 1, func(l *lab) { l.metadata(probe.Step{Phase: probe.PhaseConnect, Cause: probe.Other, Err: "odd"}) }, []string{"odd"}},
		{"no role", "CRD-101", 13, func(l *lab) { l.plan.Instance.Role, l.plan.Instance.RoleAbsent = "", true }, []string{"i-0abc123"}},
		{"no role for two minutes", "CRD-101", 13, func(l *lab) {
			l.plan.Instance.Role, l.plan.Instance.RoleAbsent = "", true
			l.history = bootstrap.History{"NP-CRD-101": {First: l.now.Add(-2 * time.Minute), Last: l.now, Times: 9}}
		}, []string{"i-0abc123"}},
	}
}

func dnsScenarios() []scenario {
	return []scenario{
		{"no DNS server", "DNS-101", 15, func(l *lab) {
			l.state.DNS.Servers = nil
			for i := range l.report.Results {
				l.report.Results[i].Lookups, l.report.Results[i].Paths = nil, nil
			}
		}, []string{"/run/systemd/resolve/resolv.conf"}},
		{"VPC resolver silent", "DNS-112", 15, func(l *lab) { l.dns(vpcDNS, probe.DNSTimeout, l.all()...) }, []string{"10.0.0.2", "enableDnsSupport"}},
		{"custom DNS silent", "DNS-102", 15, func(l *lab) {
			l.servers(otherDNS)
			l.dns(otherDNS, probe.DNSTimeout, l.all()...)
		}, []string{otherDNS, "10.0.12.0/24", "10.0.0.2"}},
		{"both DNS servers silent", "DNS-102", 15, func(l *lab) {
			l.servers(otherDNS, "10.9.1.53")
			l.dns(otherDNS, probe.DNSTimeout, l.all()...)
			l.dns("10.9.1.53", probe.DNSTimeout, l.all()...)
		}, []string{otherDNS, "10.9.1.53"}},
		{"DNS port closed", "DNS-103", 15, func(l *lab) { l.dns(vpcDNS, probe.DNSPortClosed, l.all()...) }, []string{"10.0.0.2"}},
		{"no way to DNS", "DNS-104", 15, func(l *lab) {
			l.servers(otherDNS)
			l.dns(otherDNS, probe.DNSUnreachable, l.all()...)
		}, []string{otherDNS}},
		{"questions forbidden on this machine", "LNK-107", 11, func(l *lab) {
			l.dns(vpcDNS, probe.DNSUnreachable, l.all()...)
			for i := range l.report.Results {
				for j := range l.report.Results[i].Lookups {
					l.report.Results[i].Lookups[j].Errno = int(syscall.EPERM)
				}
			}
		}, []string{"10.0.0.2", "UDP and TCP 53", "nft list ruleset"}},
		{"DNS server on another link", "DNS-104", 15, func(l *lab) {
			l.servers("fe80::53%eth9")
			l.dns("fe80::53%eth9", probe.DNSUnreachable, l.all()...)
		}, []string{"fe80::53%eth9"}},
		{"DNS refuses", "DNS-105", 15, func(l *lab) { l.dns(vpcDNS, probe.DNSRefused, l.all()...) }, []string{"10.0.0.2", "Resolver rule"}},
		{"DNS refuses, the next answers", "(DNS-105)", 0, func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			l.dns(otherDNS, probe.DNSRefused, l.all()...)
		}, nil},
		{"SERVFAIL", "DNS-106", 15, func(l *lab) { l.dns(vpcDNS, probe.DNSServFail, l.all()...) }, []string{"10.0.0.2"}},
		{"SERVFAIL for one name", "DNS-106", 15, func(l *lab) { l.dns(vpcDNS, probe.DNSServFail, "ecr.api") }, []string{"api.ecr.us-west-2.amazonaws.com"}},
		{"silence for one name", "DNS-106", 15, func(l *lab) {
			l.servers(otherDNS)
			l.dns(otherDNS, probe.DNSTimeout, "apiserver")
		}, []string{apiHost, otherDNS}},
		{"custom DNS knows no AWS name", "DNS-107", 15, func(l *lab) {
			l.servers(otherDNS)
			l.dns(otherDNS, probe.DNSNXDomain, l.all()...)
		}, []string{otherDNS, "inbound endpoint", "amazonaws.com"}},
		{"custom DNS first knows no AWS name, the second does", "DNS-107", 15, func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			l.dns(otherDNS, probe.DNSNXDomain, l.all()...)
		}, []string{otherDNS, "inbound endpoint"}},
		{"the second DNS server knows no AWS name", "(DNS-107)", 0, func(l *lab) {
			l.servers(vpcDNS, otherDNS)
			l.dns(otherDNS, probe.DNSNXDomain, l.all()...)
		}, nil},
		{"VPC resolver knows no AWS name", "DNS-107", 15, func(l *lab) { l.dns(vpcDNS, probe.DNSNXDomain, l.all()...) }, []string{"private hosted zone"}},
		{"API server unknown to the VPC resolver", "DNS-108", 15, func(l *lab) { l.dns(vpcDNS, probe.DNSNXDomain, "apiserver") }, []string{apiHost, "demo"}},
		{"API server unknown to custom DNS", "DNS-109", 15, func(l *lab) {
			l.servers(otherDNS)
			l.dns(otherDNS, probe.DNSNXDomain, "apiserver")
		}, []string{apiHost, otherDNS, "10.0.0.2", "describe-cluster"}},
		{"API server unknown to the first of two", "DNS-109", 15, func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			l.dns(otherDNS, probe.DNSNXDomain, "apiserver")
		}, []string{apiHost, otherDNS, "inbound endpoint"}},
		{"one service unknown to the first of two", "DNS-109", 15, func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			l.dns(otherDNS, probe.DNSNXDomain, "ecr.dkr")
		}, []string{otherDNS, "ecr.us-west-2"}},
		{"API server unknown to the second of two", "(DNS-109)", 0, func(l *lab) {
			l.servers(vpcDNS, otherDNS)
			l.dns(otherDNS, probe.DNSNXDomain, "apiserver")
		}, nil},
		{"custom DNS bypasses the endpoints", "DNS-110", 15, func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			for i, t := range []string{"ec2", "ecr.api"} {
				l.answer(otherDNS, t, "52.94.30."+string(rune('1'+i)))
				l.fails(t, silentStep, "52.94.30."+string(rune('1'+i)))
			}
		}, []string{otherDNS, "inbound endpoint", "ec2.us-west-2.amazonaws.com"}},
		{"servers disagree, both ways work", "(DNS-113)", 0, func(l *lab) {
			l.servers(vpcDNS, otherDNS)
			l.answer(otherDNS, "ec2", "52.94.30.1")
		}, nil},
		{"no endpoint for ecr.api", "DNS-111", 15, func(l *lab) { l.publicly("ecr.api") }, []string{"com.amazonaws.us-west-2.ecr.api"}},
		{"no endpoint for two services", "DNS-111", 15, func(l *lab) { l.publicly("ecr.api", "ec2") }, []string{"com.amazonaws.us-west-2.ec2", "com.amazonaws.us-west-2.ecr.api"}},
		{"no endpoint for a workload's service", "(DNS-111)", 0, func(l *lab) { l.publicly("sts") }, nil},
		{"no endpoint in China", "DNS-111", 15, func(l *lab) {
			l.plan.Instance.Region, l.plan.Instance.DNSSuffix = "cn-north-1", "amazonaws.com.cn"
			l.publicly("ecr.api")
		}, []string{"cn.com.amazonaws.cn-north-1.ecr.api"}},
		{"no endpoint by custom DNS", "DNS-111", 15, func(l *lab) {
			l.servers(otherDNS)
			l.publicly("ecr.api")
		}, []string{"com.amazonaws.us-west-2.ecr.api", "dig +short api.ecr.us-west-2.amazonaws.com @10.0.0.2", otherDNS}},
		{"public address answers", "", 0, func(l *lab) { l.answer(vpcDNS, "ecr.api", "52.94.30.1") }, nil},
		{"dead DNS server beside a good one", "(DNS-114)", 0, func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			l.dns(otherDNS, probe.DNSTimeout, l.all()...)
		}, nil},
		{"dead DNS server, the other fails", "DNS-106 (DNS-114)", 15, func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			l.dns(otherDNS, probe.DNSPortClosed, l.all()...)
			l.dns(vpcDNS, probe.DNSServFail, l.all()...)
		}, nil},
		{"no TCP to DNS", "DNS-118", 15, func(l *lab) { l.dns(vpcDNS, probe.DNSNoTCP, "apiserver") }, []string{"TCP 53", "10.0.0.2"}},
		{"no address of the family", "DNS-119", 15, func(l *lab) { l.dns(vpcDNS, probe.DNSNoData, "ecr.api") }, []string{"api.ecr.us-west-2.amazonaws.com", "type A"}},
		{"something else on port 53", "DNS-120", 15, func(l *lab) { l.dns(vpcDNS, probe.DNSMalformed, l.all()...) }, []string{"10.0.0.2"}},
		{"one name does not exist", "DNS-121", 15, func(l *lab) { l.dns(vpcDNS, probe.DNSNXDomain, "ecr.api") }, []string{"api.ecr.us-west-2.amazonaws.com"}},
	}
}
