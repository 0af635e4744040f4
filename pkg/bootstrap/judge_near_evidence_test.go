package bootstrap_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// TestJudgeNearEvidence has, for each rule that weighs an experiment or a fact of
// this machine, the nearest case in which it must be silent, or say less.
func TestJudgeNearEvidence(t *testing.T) {
	t.Parallel()
	second := netcfg.Link{Index: 3, Name: "eth1", Up: true, Running: true, Addresses: prefixes("10.0.12.6/24")}
	secondRoute := func(metric int) netcfg.Route {
		r := route("0.0.0.0/0", "10.0.12.1", "unicast")
		r.Link, r.Metric = 3, metric
		return r
	}
	for _, tt := range []struct {
		name       string
		spoil      func(*lab)
		codes      string
		confidence bootstrap.Confidence
	}{
		{"LNK-105: another metric", func(l *lab) {
			l.state.Links, l.state.Routes = append(l.state.Links, second), append(l.state.Routes, secondRoute(512))
		}, "", ""},
		{"LNK-105: two gateways on one link", func(l *lab) { l.state.Routes = append(l.state.Routes, route("0.0.0.0/0", "10.0.12.9", "unicast")) }, "", ""},
		{"LNK-105: another interface, and it answers", func(l *lab) {
			l.state.Links = append(l.state.Links, second)
			l.state.Destinations = []netcfg.Destination{{Address: addrs("10.0.13.40")[0], Type: "unicast", Link: "eth1"}}
		}, "", ""},
		{"LNK-106: the kernel has a way by a rule", func(l *lab) {
			l.state.Routes = append(l.state.Routes, route("52.0.0.0/8", "", "unreachable"))
			l.fails("s3", connect(probe.TCPHostUnreachable, 0.6, ehostunreach))
			l.state.Destinations = []netcfg.Destination{{Address: addrs("52.92.1.1")[0], Type: "unicast", Link: "eth0"}, {Address: addrs("52.92.1.2")[0], Type: "unicast", Link: "eth0"}}
		}, "NET-102", bootstrap.Proven},
		{"LNK-107: EACCES, and a rule may have prohibited it", func(l *lab) {
			l.state.Rules = []netcfg.Rule{{Priority: 100, Table: 7}}
			l.fails("s3", connect(probe.TCPProhibited, 0.03, eacces))
		}, "LNK-107", bootstrap.Likely},
		{"LNK-107: everything refused is no proof", func(l *lab) {
			for _, n := range l.all() {
				l.fails(n, rejected(probe.TCPRefused, econnrefused))
			}
		}, "LNK-107", bootstrap.Likely},
		{"LNK-107: other addresses answer on the port", func(l *lab) {
			l.silent("ecr.api")
			l.udp(probe.TCPProhibited, "ecr.api")
		}, "LNK-107", bootstrap.Likely},
		{"LNK-107: nothing answers", func(l *lab) {
			l.silent(l.all()...)
			l.udp(probe.TCPProhibited, "ecr.api", "apiserver")
		}, "LNK-107", bootstrap.Proven},
		{"LNK-107: one test says otherwise", func(l *lab) {
			l.silent(l.all()...)
			l.udp(probe.TCPProhibited, "ecr.api")
			l.udp("", "apiserver")
		}, "LNK-107 NET-108", ""},
		{"LNK-107: a test that has not ended", func(l *lab) {
			l.silent("ecr.api")
			l.udp(probe.TCPProhibited, "ecr.api")
			for i := range l.result("ecr.api").Paths {
				l.result("ecr.api").Paths[i].Experiments[0].Pending = true
			}
		}, "NET-105", ""},
		{"LNK-108: in a secondary block", func(l *lab) {
			l.plan.Instance.VPC = append(l.plan.Instance.VPC, prefixes("100.64.0.0/16")...)
			l.plan.Node.IP = addrs("100.64.7.7")[0]
		}, "", ""},
		{"LNK-108: no block of the family is known", func(l *lab) { l.plan.Node.IP = addrs("2600:1f14::5")[0] }, "", ""},
		{"LNK-110: nothing timed out", func(l *lab) { l.state.LinkLocalDropped = 9 }, "", ""},
		{"LNK-110: another server timed out", func(l *lab) {
			l.state.LinkLocalDropped = 9
			l.only(otherDNS, probe.DNSTimeout, "ecr.api")
		}, "DNS-106", ""},
		{"IMD-106: somebody says who it is", func(l *lab) { l.metadata(metadataAnswer(405, "nginx")) }, "IMD-105", ""},
		{"CRD-102: Success", func(l *lab) { l.plan.Instance.Credentials = bootstrap.Credentials{Code: "Success"} }, "", ""},
		{"CRD-103: only this clock says so", func(l *lab) {
			l.plan.Instance.Credentials = bootstrap.Credentials{Code: "Success", Expiration: l.now.Add(-time.Hour)}
		}, "", ""},
		{"CRD-103: by a better clock they are good", func(l *lab) {
			l.plan.Instance.Credentials = bootstrap.Credentials{Code: "Success", Expiration: l.now.Add(-time.Hour)}
			l.report.Clock = []probe.ClockReading{{Source: "metadata", Offset: ms(-7200e3), Within: ms(1000)}}
		}, "(CLK-103)", ""},
		{"CRD-103: within the error of the clock", func(l *lab) {
			l.plan.Instance.Credentials = bootstrap.Credentials{Code: "Success", Expiration: l.now.Add(-500 * time.Millisecond)}
			l.report.Clock = []probe.ClockReading{{Source: "metadata", Within: ms(1000)}}
		}, "", ""},
		{"DNS-102: no comparison", func(l *lab) { l.only(otherDNS, probe.DNSTimeout, l.all()...) }, "DNS-102", bootstrap.Likely},
		{"DNS-102: compared", func(l *lab) {
			l.only(otherDNS, probe.DNSTimeout, l.all()...)
			l.amazonSays(probe.DNSNXDomain, l.all()...) // an answer all the same
		}, "DNS-102", bootstrap.Proven},
		{"DNS-112: custom server silent", func(l *lab) {
			l.only(otherDNS, probe.DNSTimeout, l.all()...)
			l.amazonSays(probe.DNSTimeout, l.all()...)
		}, "DNS-112", bootstrap.Possible},
		{"DNS-106: Amazon has no such name", func(l *lab) {
			l.only(otherDNS, probe.DNSServFail, "ecr.api")
			l.amazonSays(probe.DNSNXDomain, "ecr.api")
		}, "DNS-106", bootstrap.Likely},
		{"DNS-106: silence for one name, Amazon answers", func(l *lab) {
			l.only(otherDNS, probe.DNSTimeout, "ecr.api")
			l.amazonKnows("ecr.api")
		}, "DNS-106", bootstrap.Proven},
		{"DNS-108: both say so", func(l *lab) {
			l.only(otherDNS, probe.DNSNXDomain, "apiserver")
			l.amazonSays(probe.DNSNXDomain, "apiserver")
		}, "DNS-108", bootstrap.Proven},
		{"DNS-109: Amazon cannot be asked", func(l *lab) {
			l.only(otherDNS, probe.DNSNXDomain, "apiserver")
			l.amazonSays(probe.DNSTimeout, "apiserver")
		}, "DNS-109", bootstrap.Possible},
		{"DNS-110: refused at the public address", func(l *lab) {
			l.publicFrom(otherDNS, "ecr.api")
			l.fails("ecr.api", connect(probe.TCPRefused, 20, econnrefused))
			l.amazonKnows("ecr.api")
		}, "DNS-110", bootstrap.Proven},
		{"DNS-110: TLS fails there, which is no question of the way", func(l *lab) {
			l.publicFrom(otherDNS, "ecr.api")
			l.fails("ecr.api", handshake(probe.TLSReset, probe.TLSInfo{}))
			l.amazonKnows("ecr.api")
		}, "TLS-108", ""},
		{"DNS-110: the VPC's resolver bypasses nobody", func(l *lab) {
			l.servers(vpcDNS, otherDNS)
			l.answer(vpcDNS, "ecr.api", "52.94.20.1")
			l.fails("ecr.api", silentStep, "52.94.20.1")
		}, "DNS-111 (DNS-113)", ""},
		{"DNS-111: Amazon has no such name", func(l *lab) {
			l.publicFrom(otherDNS, "ecr.api")
			l.amazonSays(probe.DNSNXDomain, "ecr.api")
		}, "DNS-111", bootstrap.Likely},
		{"DNS-115: enough dots", func(l *lab) {
			l.state.DNS.Search, l.state.DNS.NDots = []string{"corp.example"}, 5
			l.system("", "", "10.9.9.9")
		}, "", ""},
		{"DNS-115: one address is right", func(l *lab) {
			l.state.DNS.Search, l.state.DNS.NDots = []string{"corp.example"}, 7
			l.system("", "", "10.9.9.9", "10.0.13.21")
		}, "", ""},
		{"DNS-115: no search domain", func(l *lab) {
			l.state.DNS.NDots = 7
			l.system("", "", "10.9.9.9")
		}, "", ""},
		{"DNS-115: a workload", func(l *lab) {
			l.state.DNS.Search, l.state.DNS.NDots = []string{"corp.example"}, 7
			l.system("", "", "10.9.9.9")
			l.plan.Targets[0].Role = bootstrap.RoleWorkload
		}, "(DNS-115)", ""},
		{"DNS-123: the target fails for its own cause", func(l *lab) {
			l.silent("apiserver")
			l.system("", probe.TCPTimeout, "10.0.12.77")
		}, "NET-114", ""},
		{"DNS-123: the dead server comes last", func(l *lab) {
			l.servers(vpcDNS, otherDNS)
			l.dns(otherDNS, probe.DNSTimeout, l.all()...)
			l.system(probe.DNSTimeout, "")
		}, "DNS-123 (DNS-114)", ""},
		{"DNS-123: the lookup fails at once beside a dead server", func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			l.dns(otherDNS, probe.DNSTimeout, l.all()...)
			l.system(probe.DNSServFail, "")
		}, "DNS-123 (DNS-114)", ""},
		{"DNS-106: another server resolves a target that fails by something else", func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			l.dns(otherDNS, probe.DNSServFail, l.all()...)
			l.silent("ecr.api")
		}, "NET-105 (DNS-106)", ""},
		{"DNS-106: one name is resolved by nobody", func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			l.dns(otherDNS, probe.DNSServFail, l.all()...)
			l.dns(vpcDNS, probe.DNSServFail, "ecr.api")
		}, "DNS-106 DNS-106", ""},
		{"DNS-123: the lookup takes longer than the round", func(l *lab) { l.system(probe.Canceled, "") }, "DNS-123", ""},
		{"DNS-116: the file says what DNS says", func(l *lab) {
			l.hosts("ec2", "10.0.12.99", probe.Step{})
			l.lookup(vpcDNS, "ec2", probe.Lookup{Addresses: addrs("10.0.12.99", "10.0.13.30")})
		}, "", ""},
		{"DNS-116: a target that a proxy reaches", func(l *lab) {
			l.hosts("ec2", "10.0.12.99", silentStep)
			l.plan.Targets[1].Proxy = "http://proxy.corp.example:3128"
		}, "", ""},
		{"DNS-117: one address for all, and it works", func(l *lab) {
			for _, n := range []string{"ec2", "ecr.api", "ecr.dkr"} {
				l.answer(vpcDNS, n, "10.0.12.80")
			}
		}, "", ""},
		{"DNS-117: one address for all, it works for one", func(l *lab) {
			wrong := handshake(probe.TLSWrongHost, probe.TLSInfo{Chain: []probe.Certificate{{Subject: "CN=x", Names: []string{"x"}}}})
			for _, n := range []string{"ec2", "ecr.api", "ecr.dkr"} {
				l.answer(vpcDNS, n, "10.0.12.80")
			}
			l.fails("ec2", wrong)
			l.fails("ecr.api", wrong)
		}, "TLS-103 TLS-103", ""},
		{"DNS-117: one private address, silent: a load balancer", func(l *lab) {
			for _, n := range []string{"ec2", "ecr.api"} {
				l.answer(vpcDNS, n, "10.0.12.80")
				l.silent(n)
			}
		}, "NET-105", ""},
		{"DNS-117: one public address, silent", func(l *lab) {
			for _, n := range []string{"ec2", "ecr.api"} {
				l.answer(vpcDNS, n, "52.94.20.9")
				l.silent(n)
			}
		}, "DNS-117", bootstrap.Likely},
		{"DNS-117: a documentation address of the user's own lab", func(l *lab) {
			l.add("registry", "", "registry.corp.example", bootstrap.RoleReady, "203.0.113.9")
			l.silent("registry")
		}, "NET-121", ""},
		{"DNS-122: off", func(l *lab) { l.answer(vpcDNS, "ecr.api", "52.94.20.1") }, "", ""},
		{"DNS-122: behind a proxy", func(l *lab) {
			l.plan.Policy.PrivateOnly = true
			l.behindProxy("ecr.api", "52.94.20.1")
		}, "", ""},
		{"NET-103: slow, and the neighbour is there", func(l *lab) {
			l.answer(vpcDNS, "ecr.api", "10.0.12.34")
			l.fails("ecr.api", connect(probe.TCPHostUnreachable, 3060, ehostunreach))
			l.state.Destinations = []netcfg.Destination{{Address: addrs("10.0.12.34")[0], Type: "unicast", Link: "eth0", Neighbour: "stale"}}
		}, "NET-103", bootstrap.Likely},
		{"NET-103: the kernel gave up", func(l *lab) {
			l.answer(vpcDNS, "ecr.api", "10.0.12.34")
			l.fails("ecr.api", connect(probe.TCPHostUnreachable, 40, ehostunreach))
			l.state.Destinations = []netcfg.Destination{{Address: addrs("10.0.12.34")[0], Type: "unicast", Link: "eth0", Neighbour: "failed"}}
		}, "NET-103", bootstrap.Proven},
		{"NET-103: the router is gone, not the address", func(l *lab) {
			l.fails("s3", connect(probe.TCPHostUnreachable, 40, ehostunreach))
			d := netcfg.Destination{Address: addrs("52.92.1.1")[0], Type: "unicast", Link: "eth0", Gateway: addrs("10.0.12.1")[0], Neighbour: "failed"}
			l.state.Destinations = []netcfg.Destination{d}
		}, "NET-102", ""},
		{"NET-105: nobody beside it, but in the own subnet", func(l *lab) {
			l.answer(vpcDNS, "ecr.api", "10.0.12.34")
			l.silent("ecr.api")
			for _, n := range l.all() {
				if n != "ecr.api" && n != "s3" {
					l.answer(vpcDNS, n, "10.0.13.5"+string(rune('0'+len(n)%10)))
				}
			}
		}, "NET-105", bootstrap.Likely},
		{"NET-106: the own subnet is not filtered", func(l *lab) {
			for _, n := range l.all() {
				l.fails(n, silentStep, "10.0.12.77", "10.0.12.30", "10.0.12.34", "10.0.12.35", "10.0.12.36")
			}
		}, "(NET-107)", bootstrap.Possible},
		{"NET-117: the first packet arrived", func(l *lab) {
			l.loses("ec2")
			for i := range l.result("ec2").Paths {
				l.result("ec2").Paths[i].Steps[0].TCP.Retransmits = 0
			}
		}, "", ""},
		{"NET-119: one address elsewhere", func(l *lab) { l.answer(vpcDNS, "ecr.api", "10.0.13.40") }, "", ""},
		{"NET-119: two in one subnet", func(l *lab) { l.answer(vpcDNS, "ecr.api", "10.0.13.40", "10.0.13.41") }, "", ""},
		{"NET-119: the API server's are where they are", func(l *lab) { l.answer(vpcDNS, "apiserver", "10.0.13.40", "10.0.14.41") }, "", ""},
		{"NET-119: another VPC", func(l *lab) { l.answer(vpcDNS, "ecr.api", "10.50.1.4", "10.50.2.4") }, "", ""},
		{"NET-119: the own subnet is not known", func(l *lab) {
			l.plan.Instance.Subnet = nil
			l.answer(vpcDNS, "ecr.api", "10.0.13.40", "10.0.14.40")
		}, "", ""},
		{"NET-120: an endpoint in another VPC answers", func(l *lab) {
			l.answer(vpcDNS, "sts", "10.50.1.4")
			l.silent("ec2", "ecr.api", "ecr.dkr")
		}, "NET-105", ""},
		{"NOD-101: beside the VPC", func(l *lab) { l.plan.Cluster.ServiceCIDR = prefixes("10.1.0.0/16")[0] }, "", ""},
		{"NOD-102: another VPC's network", func(l *lab) {
			l.answer(vpcDNS, "ecr.api", "10.100.1.4")
			l.plan.Cluster.ServiceCIDR = prefixes("10.100.0.0/16")[0]
		}, "NOD-102", bootstrap.Proven},
		{"NOD-105: another CNI", func(l *lab) {
			l.plan.Node.MaxPods, l.plan.Policy.OtherCNI = 1000, true
		}, "", ""},
		{"NOD-105: IPv6 cluster", func(l *lab) {
			l.plan.Node.MaxPods, l.plan.Cluster.ServiceCIDR = 1000, prefixes("fd12:3456::/108")[0]
		}, "", ""},
		{"NOD-105: just enough", func(l *lab) { l.plan.Node.MaxPods = 251 }, "", ""},
		{"NOD-105: one too many", func(l *lab) { l.plan.Node.MaxPods = 252 }, "(NOD-105)", bootstrap.Possible},
		{"INT-001: another probe of the target passes", func(l *lab) {
			l.fails("ec2", probe.Step{Phase: probe.PhaseTLS, Cause: probe.Other, Err: "panic: x"}, "10.0.12.30")
		}, "(INT-001)", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := healthy()
			tt.spoil(l)
			v := l.judge()
			sound(t, l, v)
			if got := strings.Join(codesOf(v), " "); got != tt.codes {
				t.Fatalf("findings %q, want %q\n%s", got, tt.codes, pretty(t, v))
			}
			if tt.confidence != "" && v.Findings[0].Confidence != tt.confidence {
				t.Errorf("confidence %s, want %s", v.Findings[0].Confidence, tt.confidence)
			}
		})
	}
}

// A finding names its targets in one order, whichever of them was tested: otherwise each
// round of a node that stays blocked would find something else.
func TestJudgeLocalFirewallOrder(t *testing.T) {
	t.Parallel()
	for _, tested := range []string{"apiserver", "ecr.dkr", "sts"} {
		l := healthy()
		l.silent(l.all()...)
		l.udp(probe.TCPProhibited, tested)
		fs := l.judge().Findings
		if len(fs) != 1 || fs[0].Code != bootstrap.LNK107 || !slices.Equal(fs[0].Targets, l.all()) {
			t.Errorf("%s tested: %+v", tested, fs)
		}
	}
}
