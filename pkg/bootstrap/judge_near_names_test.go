package bootstrap_test

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// TestJudgeNearNames has the nearest cases of what comparison, metadata and the
// kernel's word decide together.
func TestJudgeNearNames(t *testing.T) {
	t.Parallel()
	metadataToo := func(l *lab, step probe.Step) {
		l.report.Results = append(l.report.Results, probe.Result{
			Target: bootstrap.MetadataTarget, Host: "169.254.169.254", Port: 80,
			Paths: []probe.Path{{Address: netip.MustParseAddrPort("169.254.169.254:80"), Steps: []probe.Step{step}}},
		})
	}
	for _, tt := range []struct {
		name  string
		spoil func(*lab)
		codes string
		// says is part of the first finding's text.
		says string
	}{
		{"LNK-107: one question of many was forbidden", func(l *lab) {
			l.dns(vpcDNS, probe.DNSUnreachable, l.all()...)
			l.result("apiserver").Lookups[0].Errno = int(syscall.EPERM)
		}, "LNK-107", "10.0.0.2"},
		{"LNK-107: the last target is the silent one", func(l *lab) {
			l.silent("sts")
			l.udp(probe.TCPProhibited, "sts")
		}, "(LNK-107)", "EPERM"},
		{"LNK-110: metadata is silent", func(l *lab) {
			l.state.LinkLocalDropped = 5
			l.metadata(connect(probe.TCPTimeout, 1000, 0))
		}, "IMD-102 (LNK-110)", ""},
		{"LNK-110: metadata is refused", func(l *lab) {
			l.state.LinkLocalDropped = 5
			l.metadata(connect(probe.TCPRefused, 0.1, econnrefused))
		}, "IMD-101", ""},
		{"LNK-104: a rule leads to a table with a way", func(l *lab) {
			l.state.Routes = l.state.Routes[1:]
			l.fails("s3", connect(probe.TCPNetUnreachable, 0.6, enetunreach))
			for _, a := range addrs("52.92.1.1", "52.92.1.2") {
				l.state.Destinations = append(l.state.Destinations, netcfg.Destination{Address: a, Type: "unicast", Link: "eth0", Gateway: addrs("10.0.12.1")[0]})
			}
		}, "NET-102", ""},
		{"LNK-106: the kernel names the main table's route", func(l *lab) {
			l.state.Routes = append(l.state.Routes, route("52.92.0.0/16", "", "blackhole"))
			l.fails("s3", connect(probe.TCPBlackhole, 0.02, einval))
			for _, a := range addrs("52.92.1.1", "52.92.1.2") {
				l.state.Destinations = append(l.state.Destinations, netcfg.Destination{Address: a, Type: "blackhole"})
			}
		}, "LNK-106", "blackhole 52.92.0.0/16"},
		{"LNK-106: the kernel names another type than the main table", func(l *lab) {
			l.state.Routes = append(l.state.Routes, route("52.92.0.0/16", "", "unreachable"))
			l.fails("s3", connect(probe.TCPBlackhole, 0.02, einval))
			for _, a := range addrs("52.92.1.1", "52.92.1.2") {
				l.state.Destinations = append(l.state.Destinations, netcfg.Destination{Address: a, Type: "blackhole"})
			}
		}, "LNK-106", "ip rule"},
		{"DNS-112: metadata is silent as well", func(l *lab) {
			l.dns(vpcDNS, probe.DNSTimeout, l.all()...)
			metadataToo(l, connect(probe.TCPTimeout, 1000, 0))
		}, "DNS-102 IMD-102", ""},
		{"DNS-109: what this node cannot use is no answer", func(l *lab) {
			l.only(otherDNS, probe.DNSNoData, "ecr.api")
			l.amazonSays(probe.DNSNoData, "ecr.api")
			l.compared("ecr.api", probe.Lookup{Type: "AAAA", Addresses: addrs("2600:1f14::e")}, probe.Step{})
		}, "DNS-119", ""},
		{"DNS-109: an IPv6 node has no use for A", func(l *lab) {
			l.dualStack()
			l.only(otherDNS, probe.DNSNXDomain, "ecr.api")
			l.compared("ecr.api", probe.Lookup{Type: "A", Cause: probe.DNSNoData}, probe.Step{})
			l.compared("ecr.api", probe.Lookup{Type: "AAAA", Addresses: addrs("2600:1f14::e")}, probe.Step{})
		}, "DNS-109", "169.254.169.253 knows"},
		{"two references, the first is silent", func(l *lab) {
			l.only(otherDNS, probe.DNSNXDomain, "apiserver")
			l.amazonSays(probe.DNSTimeout, "apiserver")
			res := l.result("apiserver")
			res.Compared = append(res.Compared, probe.Lookup{Server: dnsAddr(vpcDNS), Type: "A", Cause: probe.DNSNXDomain})
		}, "DNS-108", "10.0.0.2"},
		{"two references, the second is silent", func(l *lab) {
			l.only(otherDNS, probe.DNSTimeout, l.all()...)
			l.amazonSays(probe.DNSTimeout, "apiserver")
			l.amazonKnows(l.all()[1:]...)
		}, "DNS-102", "169.254.169.253 answers"},
		{"DNS-117: an API server of another domain", func(l *lab) {
			l.plan.Targets[0].Host = "k8s.corp.example"
			l.answer(vpcDNS, "apiserver", "192.0.2.7")
			l.silent("apiserver")
		}, "DNS-117", "192.0.2.7"},
		{"DNS-116: an address that this node cannot use", func(l *lab) {
			l.hosts("ec2", "2600:1f14::99", connect(probe.TCPNetUnreachable, 0.02, enetunreach))
		}, "DNS-116", "2600:1f14::99"},
		{"NET-121: S3 is no public witness", func(l *lab) {
			l.add("registry", "", "registry.corp.example", bootstrap.RoleReady, "52.30.1.1")
			l.silent("registry")
		}, "NET-121", "Find what drops TCP 443 from 10.0.12.0/24 to 52.30.1.1 (registry.corp.example)."},
		{"NET-121: another public address answers", func(l *lab) {
			l.add("registry", "", "registry.corp.example", bootstrap.RoleReady, "52.30.1.1")
			l.add("vault", "", "vault.corp.example", bootstrap.RoleReady, "52.30.1.2")
			l.silent("registry")
		}, "NET-121", "egress firewall"},
		{"NET-111: nothing in the VPC answers", func(l *lab) {
			l.plan.Targets = l.plan.Targets[:1]
			l.add("ecr.api2", "ecr.api", "api.ecr.us-west-2.amazonaws.com", bootstrap.RoleReady, "10.50.1.4")
			l.add("web", "", "web.corp.example", bootstrap.RoleWorkload, "52.30.1.1")
			l.silent("ecr.api2", "apiserver")
		}, "NET-111 NET-114", ""},
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
			if f := v.Findings[0]; !strings.Contains(f.Because+" "+f.Remedy, tt.says) {
				t.Errorf("does not say %q: %s; %s", tt.says, f.Because, f.Remedy)
			}
		})
	}
}
