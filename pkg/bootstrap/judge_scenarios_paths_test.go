package bootstrap_test

import (
	"net/netip"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

func netScenarios() []scenario {
	endpoints := []string{"ec2", "ecr.api", "ecr.dkr", "sts"}
	return []scenario{
		{"no route in the table", "NET-101", 16, func(l *lab) {
			l.state.Routes = append(l.state.Routes, route("10.0.12.34/32", "", "throw"), route("10.0.13.40/32", "", "throw"))
			l.fails("ecr.api", connect(probe.TCPNetUnreachable, 0.03, enetunreach))
		}, []string{"10.0.12.34", "10.0.13.40"}},
		{"rejected by a router", "NET-102", 16, func(l *lab) { l.fails("ecr.api", rejected(probe.TCPHostUnreachable, ehostunreach)) }, []string{"10.0.12.34", "10.0.13.40", "TCP 443"}},
		{"neighbour gone", "(NET-103)", 0, func(l *lab) { l.fails("ecr.api", connect(probe.TCPHostUnreachable, 3060, ehostunreach), "10.0.12.34") }, nil},
		{"only neighbour gone", "NET-103", 16, func(l *lab) {
			l.answer(vpcDNS, "ecr.api", "10.0.12.34")
			l.fails("ecr.api", connect(probe.TCPHostUnreachable, 3060, ehostunreach))
		}, []string{"10.0.12.34"}},
		{"refused", "NET-104", 16, func(l *lab) { l.fails("ecr.api", rejected(probe.TCPRefused, econnrefused)) }, []string{"10.0.12.34", "api.ecr"}},
		{"everything refused", "LNK-107", 11, func(l *lab) {
			for _, t := range l.all() {
				l.fails(t, rejected(probe.TCPRefused, econnrefused))
			}
		}, []string{"nft list ruleset", "network firewall", "10.0.12.34"}},
		{"two refused", "NET-104 NET-104", 16, func(l *lab) {
			l.fails("ecr.api", rejected(probe.TCPRefused, econnrefused))
			l.fails("apiserver", rejected(probe.TCPReset, 104))
		}, nil},
		{"endpoint security group", "NET-105", 16, func(l *lab) { l.silent("ecr.api") }, []string{"10.0.12.0/24", "ecr.api", "com.amazonaws.us-west-2.ecr.api", "443"}},
		{"two endpoint security groups", "NET-105", 16, func(l *lab) { l.silent("ecr.api", "ec2") }, nil},
		{"workload endpoint security group", "(NET-105)", 0, func(l *lab) { l.silent("sts") }, nil},
		{"endpoint alone in its subnet", "NET-105", 16, func(l *lab) {
			l.answer(vpcDNS, "ecr.api", "10.0.77.40")
			l.silent("ecr.api")
		}, []string{"network ACL", "10.0.77.0/24"}},
		{"one subnet filtered", "(NET-106)", 0, func(l *lab) {
			for _, t := range l.all() {
				l.fails(t, silentStep, "10.0.13.21", "10.0.13.30", "10.0.13.40", "10.0.13.41", "10.0.13.42")
			}
		}, nil},
		{"subnet filtered that has the only address of one", "NET-106", 16, func(l *lab) {
			l.answer(vpcDNS, "ecr.api", "10.0.13.40")
			for _, t := range l.all() {
				l.fails(t, silentStep, "10.0.13.21", "10.0.13.30", "10.0.13.40", "10.0.13.41", "10.0.13.42")
			}
		}, []string{"10.0.13.0/24", "10.0.12.0/24"}},
		{"one dead address", "(NET-107)", 0, func(l *lab) { l.fails("ecr.api", silentStep, "10.0.13.40") }, nil},
		{"one dead address in a pool", "", 0, func(l *lab) { l.fails("s3", silentStep, "52.92.1.2") }, nil},
		{"node security group", "NET-108", 16, func(l *lab) { l.silent(l.all()...) }, []string{"i-0abc123", "443"}},
		{"no internet and no endpoints", "NET-109", 16, func(l *lab) { l.publicly(endpoints...) }, []string{"com.amazonaws.us-west-2.ec2", "com.amazonaws.us-west-2.sts", "10.0.12.0/24"}},
		{"everything public, no internet", "NET-109", 16, func(l *lab) {
			l.publicly(append(endpoints, "apiserver")...)
			l.silent("s3")
		}, []string{"com.amazonaws.us-west-2.s3", "private access"}},
		{"way to the shared VPC", "NET-111", 16, func(l *lab) {
			l.answer(vpcDNS, "ecr.api", "10.50.1.4", "10.50.2.4")
			l.silent("ecr.api")
		}, []string{"10.50.1.4", "10.0.12.0/24", "10.0.0.0/16"}},
		{"no S3 gateway route", "NET-112", 16, func(l *lab) { l.silent("s3") }, []string{"10.0.12.0/24", "com.amazonaws.us-west-2.s3"}},
		{"S3 interface endpoint's security group", "NET-113", 16, func(l *lab) {
			l.answer(vpcDNS, "s3", "10.0.12.50", "10.0.13.50")
			l.silent("s3")
		}, []string{"10.0.12.0/24"}},
		{"cluster security group", "NET-114", 16, func(l *lab) { l.silent("apiserver") }, []string{"i-0abc123", "10.0.12.0/24", "demo"}},
		{"public API server", "NET-115", 16, func(l *lab) { l.publicly("apiserver") }, []string{"demo", "10.0.12.0/24"}},
		{"public API server by custom DNS", "NET-115", 16, func(l *lab) {
			l.servers(otherDNS)
			l.publicly("apiserver")
		}, []string{"dig +short " + apiHost + " @10.0.0.2"}},
		{"out of files", "NET-118", 16, func(l *lab) {
			for _, t := range l.all() {
				l.fails(t, connect(probe.TCPExhausted, 0.01, emfile))
			}
		}, []string{"too many open files"}},
		{"shared endpoint security group", "NET-120", 16, func(l *lab) { l.silent(endpoints...) }, []string{"ec2", "ecr.dkr", "10.0.12.0/24"}},
		{"all endpoints in one silent subnet", "NET-120", 16, func(l *lab) {
			for i, t := range endpoints {
				l.answer(vpcDNS, t, "10.0.77.1"+string(rune('1'+i)))
			}
			l.silent(endpoints...)
		}, []string{"10.0.77.0/24", "network ACL"}},
		{"user's endpoint silent", "NET-121", 16, func(l *lab) {
			l.add("registry", "", "registry.corp.example", bootstrap.RoleReady, "203.0.113.9")
			l.silent("registry")
		}, []string{"203.0.113.9", "registry.corp.example"}},
		{"security group and missing endpoint", "DNS-111 NET-105", 30, func(l *lab) {
			l.publicly("ec2")
			l.silent("ecr.api")
		}, nil},
		{"no S3 route and a dead DNS server", "NET-112 (DNS-114)", 16, func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			l.dns(otherDNS, probe.DNSTimeout, l.all()...)
			l.silent("s3")
		}, nil},
		{"odd failure", "INT-002", 1, func(l *lab) { l.fails("ec2", connect(probe.Other, 1, 0)) }, []string{"ec2.us-west-2.amazonaws.com", "other"}},
		{"nothing measured", "INT-002", 1, func(l *lab) { l.result("ec2").Lookups, l.result("ec2").Paths = nil, nil }, []string{"nothing was measured"}},
	}
}

func tlsScenarios() []scenario {
	stalled := probe.Step{Phase: probe.PhaseTLS, Cause: probe.TLSTimeout, Took: ms(1500)}
	unknown := func(issuer string) probe.Step {
		return handshake(probe.TLSUnknownAuthority, probe.TLSInfo{Chain: []probe.Certificate{{Subject: "CN=x", Issuer: issuer, AuthorityKeyID: "dd"}}})
	}
	dated := func(cause probe.Cause, from, to int) probe.Step {
		c := kubernetesCA
		c.NotBefore, c.NotAfter = time.Date(from, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(to, 1, 1, 0, 0, 0, 0, time.UTC)
		return handshake(cause, probe.TLSInfo{Chain: []probe.Certificate{c}})
	}
	return []scenario{
		{"CA of another cluster", "TLS-101", 17, func(l *lab) {
			l.fails("apiserver", handshake(probe.TLSUnknownAuthority, probe.TLSInfo{Chain: []probe.Certificate{kubernetesCA}}))
		}, []string{"demo", apiHost}},
		{"API server intercepted", "TLS-102", 17, func(l *lab) { l.fails("apiserver", unknown("CN=Fortinet CA,O=Fortinet")) }, []string{"Fortinet", apiHost}},
		{"everything intercepted", "TLS-102", 17, func(l *lab) {
			for _, t := range l.all() {
				l.fails(t, unknown("CN=Corp Inspection,O=Corp"))
			}
		}, []string{"Corp Inspection"}},
		{"two interceptors", "TLS-102 TLS-102", 17, func(l *lab) {
			l.fails("apiserver", unknown("CN=A"))
			l.fails("ec2", unknown("CN=B"))
		}, nil},
		{"no Amazon roots", "TLS-114", 17, func(l *lab) {
			for _, t := range []string{"ec2", "ecr.api", "ecr.dkr", "s3"} {
				l.fails(t, handshake(probe.TLSUnknownAuthority, probe.TLSInfo{Chain: []probe.Certificate{amazonCA}}))
			}
		}, []string{"ca-certificates", "O=Amazon"}},
		{"wrong host", "TLS-103", 17, func(l *lab) {
			l.fails("ec2", handshake(probe.TLSWrongHost, probe.TLSInfo{Chain: []probe.Certificate{{Subject: "CN=wiki.corp.example", Names: []string{"wiki.corp.example"}}}}))
		}, []string{"wiki.corp.example", "ec2.us-west-2", "10.0.12.30"}},
		{"expired", "TLS-104", 17, func(l *lab) { l.fails("apiserver", dated(probe.TLSExpired, 2024, 2025)) }, []string{"2025-01-01", "clock", apiHost}},
		{"clock behind", "TLS-104", 17, func(l *lab) {
			for _, t := range l.all() {
				l.fails(t, dated(probe.TLSNotYetValid, 2027, 2028))
			}
		}, []string{"2027-01-01", "clock"}},
		{"alert", "TLS-105", 17, func(l *lab) { l.fails("ec2", handshake(probe.TLSAlert, probe.TLSInfo{Alert: 70})) }, []string{"alert 70"}},
		{"unrecognized name", "TLS-106", 17, func(l *lab) { l.fails("ec2", handshake(probe.TLSAlert, probe.TLSInfo{Alert: 112})) }, []string{"ec2.us-west-2"}},
		{"plain HTTP", "TLS-107", 17, func(l *lab) {
			l.fails("ecr.api", handshake(probe.TLSNotTLS, probe.TLSInfo{FirstBytes: "HTTP/1.1 400"}))
		}, []string{`"HTTP/1.1 400"`, "10.0.12.34"}},
		{"reset in the handshake", "TLS-108", 17, func(l *lab) { l.fails("ec2", handshake(probe.TLSReset, probe.TLSInfo{})) }, []string{"10.0.12.30"}},
		{"closed in the handshake", "TLS-108", 17, func(l *lab) { l.fails("ec2", handshake(probe.TLSClosed, probe.TLSInfo{})) }, []string{"10.0.12.30"}},
		{"stall", "TLS-109", 17, func(l *lab) { l.fails("ecr.dkr", stalled) }, []string{"10.0.12.35", "dkr.ecr"}},
		{"every handshake stalls", "TLS-109", 17, func(l *lab) {
			for _, t := range l.all() {
				l.fails(t, stalled)
			}
		}, []string{"ICMP type 3"}},
		{"client certificate", "TLS-111", 17, func(l *lab) { l.fails("ec2", handshake(probe.TLSAlert, probe.TLSInfo{Alert: 116})) }, []string{"ec2.us-west-2"}},
		{"bad certificate", "TLS-115", 17, func(l *lab) { l.fails("ec2", handshake(probe.TLSBadCertificate, probe.TLSInfo{})) }, []string{"tls-bad-certificate"}},
		{"one address with a wrong certificate", "(TLS-103)", 0, func(l *lab) {
			l.fails("ec2", handshake(probe.TLSWrongHost, probe.TLSInfo{Chain: []probe.Certificate{{Subject: "CN=x", Names: []string{"x"}}}}), "10.0.13.30")
		}, nil},
	}
}

func apiScenarios() []scenario {
	status := `{ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 401 }`
	return []scenario{
		{"anonymous 401", "", 0, func(l *lab) { l.fails("apiserver", httpAnswer(401, "application/json", status)) }, nil},
		{"anonymous 403", "", 0, func(l *lab) { l.fails("apiserver", httpAnswer(403, "application/json", status)) }, nil},
		{"a web page", "API-101", 19, func(l *lab) { l.fails("apiserver", httpAnswer(404, "text/html", "<html>not found")) }, []string{apiHost, "text/html", "10.0.12.77"}},
		{"401 of something else", "API-101", 19, func(l *lab) { l.fails("apiserver", httpAnswer(401, "text/html", "<html>login")) }, nil},
		{"not HTTP", "API-101", 19, func(l *lab) {
			l.fails("apiserver", probe.Step{Phase: probe.PhaseHTTP, Cause: probe.HTTPMalformed, Took: ms(1)})
		}, nil},
		{"busy", "(API-102)", 0, func(l *lab) { l.fails("apiserver", httpAnswer(429, "text/plain", "too many")) }, nil},
		{"not ready", "(API-102)", 0, func(l *lab) { l.fails("apiserver", httpAnswer(500, "text/plain", "[-]etcd failed")) }, nil},
		{"no answer", "API-104", 19, func(l *lab) {
			l.fails("apiserver", probe.Step{Phase: probe.PhaseHTTP, Cause: probe.HTTPTimeout, Took: ms(2000)})
		}, []string{apiHost}},
	}
}

func modeScenarios() []scenario {
	return []scenario{
		{"strict: one dead address", "NET-107", 16, func(l *lab) {
			l.plan.Policy.Mode = bootstrap.ModeStrict
			l.fails("ecr.api", silentStep, "10.0.13.40")
		}, []string{"10.0.13.40"}},
		{"strict: one dead address in a pool", "", 0, func(l *lab) {
			l.plan.Policy.Mode = bootstrap.ModeStrict
			l.fails("s3", silentStep, "52.92.1.2")
		}, nil},
		{"strict: healthy", "", 0, func(l *lab) { l.plan.Policy.Mode = bootstrap.ModeStrict }, nil},
		{"observe: endpoint security group", "(NET-105)", 0, func(l *lab) {
			l.plan.Policy.Mode = bootstrap.ModeObserve
			l.silent("ecr.api")
		}, nil},
		{"dual stack: IPv6 dead", "(NET-106)", 0, func(l *lab) {
			l.dualStack()
			l.fails("apiserver", silentStep, "2600:1f14::a")
			l.fails("ec2", silentStep, "2600:1f14::e")
		}, nil},
		{"dual stack: handshakes over IPv6 alone fail", "TLS-108", 17, func(l *lab) {
			l.dualStack()
			l.fails("apiserver", handshake(probe.TLSReset, probe.TLSInfo{}), "2600:1f14::a")
		}, []string{apiHost, "2600:1f14::a"}},
		{"dual stack: handshakes over IPv4 alone fail", "(TLS-108)", 0, func(l *lab) {
			l.dualStack()
			l.fails("apiserver", handshake(probe.TLSReset, probe.TLSInfo{}), "10.0.12.77", "10.0.13.21")
		}, nil},
		{"dual stack: one of two IPv6 addresses fails", "(TLS-108)", 0, func(l *lab) {
			l.dualStack()
			l.lookup(vpcDNS, "apiserver", probe.Lookup{Type: "AAAA", Addresses: addrs("2600:1f14::a", "2600:1f14::b")})
			l.fails("apiserver", handshake(probe.TLSReset, probe.TLSInfo{}), "2600:1f14::a")
		}, nil},
		{"dual stack: IPv6 of one target dead", "(NET-107)", 0, func(l *lab) {
			l.dualStack()
			l.fails("apiserver", silentStep, "2600:1f14::a")
		}, []string{"IPv6", "security group"}},
		{"scattered silence of single addresses", "(NET-107) (NET-107)", 0, func(l *lab) {
			l.fails("apiserver", silentStep, "10.0.12.77")
			l.fails("ecr.api", silentStep, "10.0.13.40")
			l.fails("ecr.dkr", silentStep, "10.0.13.41")
		}, []string{"Several targets have a silent address"}},
		{"IPv6 cluster: IPv6 of the API server dead", "NET-107", 16, func(l *lab) {
			l.dualStack()
			l.plan.Cluster.ServiceCIDR = netip.MustParsePrefix("fd40:6404:f93b::/108")
			l.fails("apiserver", silentStep, "2600:1f14::a")
		}, []string{"IPv6", "security group"}},
		{"IPv6 cluster: an endpoint with IPv4 alone", "", 0, func(l *lab) {
			l.dualStack()
			l.plan.Cluster.ServiceCIDR = netip.MustParsePrefix("fd40:6404:f93b::/108")
			l.lookup(vpcDNS, "apiserver", probe.Lookup{Type: "AAAA", Cause: probe.DNSNoData})
		}, nil},
		{"an address of another cluster's API server", "(TLS-101)", 0, func(l *lab) {
			l.fails("apiserver", handshake(probe.TLSUnknownAuthority, probe.TLSInfo{Chain: []probe.Certificate{kubernetesCA}}), "10.0.13.21")
		}, []string{"Take 10.0.13.21 out of", "verifies 10.0.12.77"}},
		{"dual stack: name has IPv4 only", "", 0, func(l *lab) {
			l.dualStack()
			l.lookup(vpcDNS, "ec2", probe.Lookup{Type: "AAAA", Cause: probe.DNSNoData})
		}, nil},
		{"IPv6 address for an IPv4 node", "DNS-119", 15, func(l *lab) {
			l.dns(vpcDNS, probe.DNSNoData, "ec2")
			l.lookup(vpcDNS, "ec2", probe.Lookup{Type: "AAAA", Addresses: addrs("2600:1f14::e")})
		}, []string{"type A"}},
	}
}
