package bootstrap_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// TestJudgeNearUnderWay has the nearest cases of what may be said while
// something is under way, and of what may not yet.
func TestJudgeNearUnderWay(t *testing.T) {
	t.Parallel()
	search := func(l *lab) { l.state.DNS.Search, l.state.DNS.NDots = []string{"corp.example"}, 7 }
	// half takes back the lookups of the target but the first.
	half := func(l *lab, target string) {
		l.early()
		res := l.result(target)
		res.Lookups, res.Pending = res.Lookups[:1], true
	}
	// over makes the round one that has ended.
	over := func(l *lab) { l.report.Started = l.now.Add(-7 * time.Second) }
	for _, tt := range []struct {
		name    string
		spoil   func(*lab)
		codes   string
		pass    bool
		pending string
	}{
		{"API-102: busy and ready elsewhere, other targets under way", func(l *lab) {
			l.fails("apiserver", httpAnswer(503, "text/plain", "no"), "10.0.12.77")
			l.pending("ec2")
		}, "(API-102)", false, "ec2"},
		{"API-102: it may only have shed a request", func(l *lab) {
			l.fails("apiserver", httpAnswer(429, "text/plain", "later"))
			l.pending("ec2")
		}, "", false, "ec2"},
		{"DNS-102: one type of question is not answered", func(l *lab) {
			l.system(probe.DNSTimeout, "")
			l.result("apiserver").System.Unanswered = []string{"AAAA"}
			l.pending("ec2")
		}, "DNS-102", false, "ec2"},
		{"DNS-102: one type of question may yet be answered", func(l *lab) {
			l.system(probe.Canceled, "")
			l.result("apiserver").System.Unanswered = []string{"AAAA"}
			l.pending("ec2")
		}, "", false, "apiserver ec2"},
		{"DNS-105: the second server may answer", func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			l.dns(otherDNS, probe.DNSRefused, "ecr.api")
			half(l, "ecr.api")
			l.result("ecr.api").Paths = nil
		}, "", false, "ecr.api"},
		{"DNS-106: SERVFAIL is no matter of other names", func(l *lab) {
			l.dns(vpcDNS, probe.DNSServFail, "ecr.api")
			l.pending("ec2")
		}, "DNS-106", false, "ec2"},
		{"DNS-106: silence may be that of every name", func(l *lab) {
			l.dns(vpcDNS, probe.DNSTimeout, "ecr.api")
			l.pending("ec2")
		}, "", false, "ec2 ecr.api"},
		{"DNS-111: another name is private and answers", func(l *lab) {
			l.publicly("ec2")
			l.pending("ecr.dkr")
		}, "DNS-111", false, "ecr.dkr"},
		{"DNS-115: another server may have the address", func(l *lab) {
			search(l)
			l.system("", "", "10.9.9.9")
			system := l.result("apiserver").System
			l.pending("apiserver", "10.0.12.77", "10.0.13.21")
			l.result("apiserver").System = system
		}, "", false, "apiserver"},
		{"DNS-116: the file's address may answer", func(l *lab) {
			l.hosts("ec2", "10.0.12.99", probe.Step{})
			l.pending("ec2", "10.0.12.99")
		}, "", false, "ec2"},
		{"DNS-119: AAAA is not known", func(l *lab) {
			l.dualStack()
			l.dns(vpcDNS, probe.DNSNoData, "ec2")
			l.lookup(vpcDNS, "ec2", probe.Lookup{Type: "AAAA", Cause: probe.Canceled})
			over(l)
		}, "", false, "ec2"},
		{"DNS-119: A is not known", func(l *lab) {
			l.dualStack()
			l.result("ec2").Lookups = nil
			l.lookup(vpcDNS, "ec2", probe.Lookup{Type: "A", Cause: probe.Canceled})
			l.lookup(vpcDNS, "ec2", probe.Lookup{Type: "AAAA", Cause: probe.DNSNoData})
			over(l)
		}, "", false, "ec2"},
		{"DNS-123: the lookup has failed", func(l *lab) {
			l.system(probe.DNSServFail, "")
			l.pending("ec2")
		}, "DNS-123", false, "ec2"},
		{"DNS-123: the lookup is under way", func(l *lab) {
			l.system(probe.Canceled, "")
			l.pending("ec2")
		}, "", false, "apiserver ec2"},
		{"DNS-123: the connect has failed", func(l *lab) {
			l.system("", probe.TCPTimeout, "10.0.12.77")
			l.pending("ec2")
		}, "DNS-123", false, "ec2"},
		{"DNS-123: the connect is under way", func(l *lab) {
			l.system("", probe.Canceled, "10.0.12.77")
			l.pending("ec2")
		}, "", false, "apiserver ec2"},
		{"DNS-123: no address and no failure", func(l *lab) { l.system("", "") }, "", false, "apiserver"},
		{"DNS-123: a proxy dials further", func(l *lab) {
			l.proxied(bootstrap.ConsumerKubelet, "apiserver")
			l.system("", "")
		}, "", true, ""},
		{"NET-111: an address in the VPC answers", func(l *lab) {
			l.answer(vpcDNS, "ecr.api", "10.50.1.4")
			l.silent("ecr.api")
			l.pending("ecr.dkr")
		}, "NET-111", false, "ecr.dkr"},
		{"NET-115: something answers", func(l *lab) {
			l.answer(vpcDNS, "apiserver", "52.94.20.9")
			l.silent("apiserver")
			l.pending("ecr.dkr")
		}, "NET-115", false, "ecr.dkr"},
		{"strict: the hosts file's address is enough", func(l *lab) {
			l.plan.Policy.Mode = bootstrap.ModeStrict
			l.hosts("ec2", "10.0.12.30", probe.Step{})
			res := l.result("ec2")
			res.Lookups = []probe.Lookup{{Server: dnsAddr(vpcDNS), Type: "A", Cause: probe.Canceled}}
			res.Paths = []probe.Path{{Address: netip.MustParseAddrPort("10.0.12.30:443"), Steps: healthySteps("ec2")}}
			over(l)
		}, "", true, ""},
		{"TLS-106: no other experiment is under way", func(l *lab) {
			l.stalls("ecr.api", handshake(probe.TLSReset, probe.TLSInfo{}), trial(probe.KindSecondSNI, ""))
			l.pending("ec2")
		}, "TLS-106", false, "ec2"},
		{"TLS-106: another experiment is under way", func(l *lab) {
			l.stalls("ecr.api", handshake(probe.TLSReset, probe.TLSInfo{}), trial(probe.KindSecondSNI, ""))
			l.result("ecr.api").Paths[0].Steps, l.result("ecr.api").Paths[0].Experiments = healthySteps("ecr.api"), nil
			l.result("ecr.api").Pending = true
			l.early()
		}, "", true, ""},
		{"TLS-108: every experiment was made", func(l *lab) {
			l.stalls("ecr.api", handshake(probe.TLSReset, probe.TLSInfo{}), tries(probe.TLSReset, probe.TLSReset, probe.TLSReset)...)
			l.pending("ec2")
		}, "TLS-108", false, "ec2"},
		{"IPv6 may connect, and fail later", func(l *lab) {
			l.dualStack()
			l.pending("ec2", "2600:1f14::e")
		}, "", false, "ec2"},
		{"IPv6 does not connect, another address is under way", func(l *lab) {
			l.dualStack()
			l.fails("ec2", silentStep, "2600:1f14::e")
			l.pending("ec2", "10.0.13.30")
		}, "", true, ""},
		{"metadata over IPv6 is under way", func(l *lab) {
			l.state.Links = []netcfg.Link{{Index: 2, Name: "eth0", Up: true, Running: true, Addresses: prefixes("2600:1f14:1::5/64")}}
			l.metadataByIPv6()
			l.early()
			l.report.Results[0].Pending = true
		}, "", false, "metadata"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := healthy()
			tt.spoil(l)
			v := l.judge()
			sound(t, l, v)
			if got := strings.Join(codesOf(v), " "); got != tt.codes {
				t.Errorf("findings %q, want %q\n%s", got, tt.codes, pretty(t, v))
			}
			if got := strings.Join(v.Pending, " "); got != tt.pending || v.Pass != tt.pass {
				t.Errorf("pass %v, pending %q, want %v, %q", v.Pass, got, tt.pass, tt.pending)
			}
		})
	}
}
