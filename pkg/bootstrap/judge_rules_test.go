package bootstrap_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// clusterCAKey is the key id of the CA that the plan knows.
const clusterCAKey = "7c1801036209235994c3b3b20fa017d5ffc635a9"

// TestJudgeNearMisses has for each rule the nearest case in which it must be
// silent, or say less.
func TestJudgeNearMisses(t *testing.T) {
	t.Parallel()
	endpoints := []string{"ec2", "ecr.api", "ecr.dkr", "sts"}
	for _, tt := range []struct {
		name  string
		spoil func(*lab)
		codes string
		// confidence of the first finding, empty for any.
		confidence bootstrap.Confidence
	}{
		{"LNK-101: another link runs", func(l *lab) {
			l.state.Links[1].Running = false
			l.state.Links = append(l.state.Links, netcfg.Link{Index: 3, Name: "eth1", Up: true, Running: true, Addresses: prefixes("10.0.12.6/24")})
			l.silent("ecr.api")
		}, "NET-105", ""},
		{"LNK-101: nothing fails", func(l *lab) { l.state.Links[1].Running = false }, "", ""},
		{"LNK-102: nothing fails", func(l *lab) { l.state.Links[1].Addresses = nil }, "", ""},
		{"LNK-104: there is a default route", func(l *lab) { l.dns(vpcDNS, probe.DNSUnreachable, l.all()...) }, "DNS-104", ""},
		{"LNK-104: nothing needs it", func(l *lab) { l.state.Routes = l.state.Routes[1:] }, "", ""},
		{"LNK-104: silence is not its doing", func(l *lab) {
			l.state.Routes = append(l.state.Routes[1:], route("10.0.13.0/24", "10.0.12.1", "unicast"))
			l.silent("ecr.api")
		}, "NET-105", ""},
		{"LNK-104: a default route that drops", func(l *lab) {
			l.state.Routes[0] = route("0.0.0.0/0", "", "unreachable")
			l.fails("s3", connect(probe.TCPHostUnreachable, 0.02, ehostunreach))
		}, "LNK-106", ""},
		{"LNK-104: state unknown", func(l *lab) {
			l.state = netcfg.State{}
			l.fails("s3", connect(probe.TCPNetUnreachable, 0.02, enetunreach))
		}, "NET-101", ""},
		{"LNK-106: the route lets through", func(l *lab) {
			l.state.Routes = append(l.state.Routes, route("10.0.13.0/24", "10.0.12.1", "unicast"))
			l.fails("ecr.api", connect(probe.TCPHostUnreachable, 0.6, ehostunreach))
		}, "NET-102", bootstrap.Proven},
		{"LNK-106: a longer prefix lets through", func(l *lab) {
			l.state.Routes = append(l.state.Routes, route("10.0.0.0/8", "", "blackhole"), route("10.0.13.0/24", "10.0.12.1", "unicast"))
			l.fails("ecr.api", connect(probe.TCPHostUnreachable, 0.6, ehostunreach))
		}, "NET-102", ""},
		{"LNK-107: a prohibit route", func(l *lab) {
			l.state.Routes = append(l.state.Routes, route("52.0.0.0/8", "", "prohibit"))
			l.fails("s3", connect(probe.TCPProhibited, 0.02, eacces))
		}, "LNK-106", ""},
		{"DNS-102: another server answers", func(l *lab) {
			l.servers(vpcDNS, otherDNS)
			l.dns(otherDNS, probe.DNSTimeout, l.all()...)
		}, "(DNS-114)", ""},
		{"DNS-102: one closed, one silent", func(l *lab) {
			l.servers(vpcDNS, otherDNS)
			l.dns(vpcDNS, probe.DNSPortClosed, l.all()...)
			l.dns(otherDNS, probe.DNSTimeout, l.all()...)
		}, "DNS-102 DNS-103", ""},
		{"DNS-105: behind the server that answers", func(l *lab) {
			l.servers(vpcDNS, otherDNS)
			l.dns(otherDNS, probe.DNSRefused, l.all()...)
		}, "", ""},
		{"DNS-106: other names resolve", func(l *lab) { l.dns(vpcDNS, probe.DNSTimeout, "ecr.api") }, "DNS-106", bootstrap.Likely},
		{"DNS-107: one service resolves", func(l *lab) {
			l.dns(vpcDNS, probe.DNSNXDomain, "apiserver", "ec2", "ecr.api")
		}, "DNS-108 DNS-121 DNS-121", bootstrap.Likely},
		{"DNS-107: only the API server was asked", func(l *lab) {
			l.plan.Targets = l.plan.Targets[:1]
			l.dns(vpcDNS, probe.DNSNXDomain, "apiserver")
		}, "DNS-108", bootstrap.Possible},
		{"DNS-107: only the API server resolves", func(l *lab) {
			l.servers(otherDNS)
			l.dns(otherDNS, probe.DNSNXDomain, l.all()[1:]...)
		}, "DNS-107", ""},
		{"DNS-107: a name that is not AWS's does not count", func(l *lab) {
			l.add("registry", "", "registry.notamazonaws.com", bootstrap.RoleReady, "203.0.113.9")
			l.plan.Targets = append(l.plan.Targets[:1:1], l.plan.Targets[5:]...) // sts and the registry
			l.dns(vpcDNS, probe.DNSNXDomain, "registry", "sts")
		}, "DNS-121 (DNS-121)", ""},
		{"DNS-107: AWS names that only metadata knows", func(l *lab) {
			l.plan.Instance.DNSSuffix = "aws.example"
			l.plan.Targets = l.plan.Targets[:1]
			l.add("a", "a", "a.aws.example", bootstrap.RoleReady)
			l.add("b", "b", "b.aws.example", bootstrap.RoleReady)
			l.dns(vpcDNS, probe.DNSNXDomain, "a", "b")
		}, "DNS-107", ""},
		{"DNS-108: resolver by link-local address", func(l *lab) {
			l.servers("169.254.169.253")
			l.dns("169.254.169.253", probe.DNSNXDomain, "apiserver")
		}, "DNS-108", bootstrap.Likely},
		{"DNS-108: custom server and VPC resolver agree", func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			l.dns(otherDNS, probe.DNSNXDomain, "apiserver")
			l.dns(vpcDNS, probe.DNSNXDomain, "apiserver")
		}, "DNS-108", bootstrap.Proven},
		{"DNS-109: nobody else was asked", func(l *lab) {
			l.servers(otherDNS)
			l.dns(otherDNS, probe.DNSNXDomain, "apiserver")
		}, "DNS-109", bootstrap.Possible},
		{"DNS-110: the other answer is public too", func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			l.answer(otherDNS, "ec2", "52.94.30.1")
			l.answer(vpcDNS, "ec2", "52.94.30.2")
			l.fails("ec2", silentStep)
		}, "DNS-111", bootstrap.Likely},
		{"DNS-110: the public address answers", func(l *lab) {
			l.servers(otherDNS, vpcDNS)
			l.answer(otherDNS, "ec2", "52.94.30.1")
		}, "(DNS-113)", ""},
		{"DNS-111: no other endpoint is private", func(l *lab) {
			l.plan.Targets = l.plan.Targets[:2]
			l.publicly("ec2")
		}, "NET-109", ""},
		{"DNS-111: refused is no silence", func(l *lab) {
			l.answer(vpcDNS, "ecr.api", "52.94.20.1")
			l.fails("ecr.api", connect(probe.TCPRefused, 20, econnrefused))
		}, "NET-104", ""},
		{"DNS-113: both are private", func(l *lab) {
			l.servers(vpcDNS, otherDNS)
			l.answer(otherDNS, "ec2", "10.0.12.31")
		}, "", ""},
		{"DNS-119: one type is enough", func(l *lab) {
			l.dualStack()
			l.dns(vpcDNS, probe.DNSNoData, "ec2")
		}, "", ""},
		{"DNS-119: NODATA on both", func(l *lab) {
			l.dualStack()
			l.dns(vpcDNS, probe.DNSNoData, "ec2")
			l.lookup(vpcDNS, "ec2", probe.Lookup{Type: "AAAA", Cause: probe.DNSNoData})
		}, "DNS-119", ""},
		{"NET-101: a route and an answer from the network", func(l *lab) { l.fails("s3", connect(probe.TCPNetUnreachable, 0.5, enetunreach)) }, "NET-102", bootstrap.Proven},
		{"NET-102: no route known", func(l *lab) {
			l.state = netcfg.State{}
			l.fails("s3", connect(probe.TCPHostUnreachable, 0.5, ehostunreach))
		}, "NET-102", bootstrap.Likely},
		{"NET-101: a rule's table refuses at once", func(l *lab) {
			l.state.Rules = []netcfg.Rule{{Priority: 100, Table: 7}}
			l.fails("s3", connect(probe.TCPNetUnreachable, 0.02, enetunreach))
		}, "NET-101", bootstrap.Proven},
		{"NET-101: a rule, and an answer from the network", func(l *lab) {
			l.state.Rules = []netcfg.Rule{{Priority: 100, Table: 7}}
			l.fails("s3", connect(probe.TCPNetUnreachable, 0.5, enetunreach))
		}, "NET-102", ""},
		{"NET-101: at once, with a route and no rule", func(l *lab) { l.fails("s3", connect(probe.TCPNetUnreachable, 0.02, enetunreach)) }, "NET-102", ""},
		{"NET-103: state unknown, own subnet", func(l *lab) {
			l.state = netcfg.State{}
			l.answer(vpcDNS, "ecr.api", "10.0.12.34")
			l.fails("ecr.api", connect(probe.TCPHostUnreachable, 3060, ehostunreach))
		}, "NET-103", ""},
		{"NET-103: state unknown, another subnet", func(l *lab) {
			l.state = netcfg.State{}
			l.answer(vpcDNS, "ecr.api", "10.0.13.40")
			l.fails("ecr.api", connect(probe.TCPHostUnreachable, 3060, ehostunreach))
		}, "NET-102", ""},
		{"NET-103: behind a gateway", func(l *lab) { l.fails("s3", connect(probe.TCPHostUnreachable, 3060, ehostunreach)) }, "NET-102", ""},
		{"NET-105: refused, not silent", func(l *lab) { l.fails("ecr.api", connect(probe.TCPReset, 0.5, 104)) }, "NET-104", ""},
		{"NET-105: one address answers", func(l *lab) { l.fails("ecr.api", silentStep, "10.0.12.34") }, "(NET-107)", bootstrap.Likely},
		{"NET-105: one silent, one refused", func(l *lab) {
			l.fails("ecr.api", silentStep, "10.0.12.34")
			l.fails("ecr.api", connect(probe.TCPRefused, 0.5, econnrefused), "10.0.13.40")
		}, "NET-104 NET-107", ""},
		{"NET-106: one answers there", func(l *lab) {
			for _, n := range l.all() {
				l.fails(n, silentStep, "10.0.13.30", "10.0.13.40", "10.0.13.41", "10.0.13.42")
			}
		}, "(NET-107)", bootstrap.Possible},
		{"NET-106: the only one there", func(l *lab) {
			l.answer(vpcDNS, "ecr.api", "10.0.12.34", "10.0.88.40")
			l.fails("ecr.api", silentStep, "10.0.88.40")
		}, "(NET-107)", bootstrap.Possible},
		{"NET-106: silent beyond the subnet too", func(l *lab) {
			l.silent("ecr.api")
			for _, n := range l.all() {
				l.fails(n, silentStep, "10.0.13.21", "10.0.13.30", "10.0.13.41", "10.0.13.42")
			}
		}, "NET-105 (NET-106)", bootstrap.Likely},
		{"NET-108: S3 answers", func(l *lab) { l.silent("apiserver", "ec2", "ecr.api", "ecr.dkr", "sts") }, "NET-114 NET-120", bootstrap.Possible},
		{"NET-108: one is refused", func(l *lab) {
			l.silent(l.all()...)
			l.fails("sts", connect(probe.TCPRefused, 0.5, econnrefused), "10.0.12.36")
		}, "NET-105 NET-112 NET-114 (NET-104) (NET-106)", ""},
		{"NET-109: a public service answers", func(l *lab) {
			l.publicly(endpoints...)
			l.answer(vpcDNS, "ec2", "52.94.99.1")
		}, "NET-121", bootstrap.Possible},
		{"NET-109: nothing private answers", func(l *lab) {
			l.publicly(endpoints...)
			l.silent("apiserver", "s3")
		}, "NET-108", bootstrap.Likely},
		{"NET-111: nothing is known of the VPC", func(l *lab) {
			l.plan.Instance.VPC = nil
			l.answer(vpcDNS, "ecr.api", "10.50.1.4")
			l.silent("ecr.api")
		}, "NET-105", bootstrap.Possible},
		{"NET-112: S3 private", func(l *lab) {
			l.answer(vpcDNS, "s3", "10.0.12.50")
			l.silent("s3")
		}, "NET-113", bootstrap.Likely},
		{"NET-112: one address of the pool answers", func(l *lab) { l.fails("s3", silentStep, "52.92.1.1") }, "", ""},
		{"NET-114: one address answers", func(l *lab) { l.fails("apiserver", silentStep, "10.0.12.77") }, "(NET-107)", ""},
		{"NET-114: nothing else was asked", func(l *lab) {
			l.plan.Targets = l.plan.Targets[:1]
			l.silent("apiserver")
		}, "NET-114", bootstrap.Possible},
		{"NET-115: private", func(l *lab) { l.silent("apiserver") }, "NET-114", ""},
		{"NET-120: one endpoint answers", func(l *lab) { l.silent("ec2", "ecr.api", "ecr.dkr") }, "NET-105", ""},
		{"NET-120: a single endpoint", func(l *lab) {
			l.plan.Targets = l.plan.Targets[:2]
			l.silent("ec2")
		}, "NET-105", ""},
		{"TLS-101: issuer by another name, key of the given CA", func(l *lab) {
			l.plan.Cluster.Authorities = []bootstrap.Authority{{Subject: "CN=cluster-ca,O=lab", KeyID: clusterCAKey}}
			l.fails("apiserver", handshake(probe.TLSUnknownAuthority, probe.TLSInfo{Chain: []probe.Certificate{{Issuer: "CN=x", AuthorityKeyID: clusterCAKey}}}))
		}, "TLS-101", ""},
		{"TLS-101: issuer named as the given CA", func(l *lab) {
			l.plan.Cluster.Authorities = []bootstrap.Authority{{Subject: "CN=cluster-ca,O=lab", KeyID: clusterCAKey}}
			l.fails("apiserver", handshake(probe.TLSUnknownAuthority, probe.TLSInfo{Chain: []probe.Certificate{{Issuer: "CN=cluster-ca,O=lab", AuthorityKeyID: "01"}}}))
		}, "TLS-101", ""},
		{"TLS-101: neither", func(l *lab) {
			l.plan.Cluster.Authorities = []bootstrap.Authority{{Subject: "CN=cluster-ca,O=lab", KeyID: clusterCAKey}}
			l.fails("apiserver", handshake(probe.TLSUnknownAuthority, probe.TLSInfo{Chain: []probe.Certificate{{Issuer: "CN=x", AuthorityKeyID: "01"}}}))
		}, "TLS-102", ""},
		{"TLS-101: no AWS endpoint has a Kubernetes CA", func(l *lab) {
			l.fails("ec2", handshake(probe.TLSUnknownAuthority, probe.TLSInfo{Chain: []probe.Certificate{kubernetesCA}}))
		}, "TLS-102", ""},
		{"TLS-102: no certificate came", func(l *lab) { l.fails("ec2", handshake(probe.TLSUnknownAuthority, probe.TLSInfo{})) }, "TLS-102", ""},
		{"TLS-114: the API server is not Amazon's", func(l *lab) {
			l.fails("apiserver", handshake(probe.TLSUnknownAuthority, probe.TLSInfo{Chain: []probe.Certificate{amazonCA}}))
		}, "TLS-102", ""},
		{"API-101: a Status on many lines", func(l *lab) {
			l.fails("apiserver", httpAnswer(403, "application/json", "{\n\t\"kind\":\r\n\t\"Status\",\n  \"code\": 403}"))
		}, "", ""},
		{"API-101: 200 with a portal's page", func(l *lab) { l.fails("apiserver", httpAnswer(200, "text/html; charset=utf-8", "<html>welcome")) }, "API-101", ""},
		{"API-101: 429 is an API server's", func(l *lab) { l.fails("apiserver", httpAnswer(429, "text/html", "<html>")) }, "(API-102)", ""},
		{"API-101: an AWS answer is not looked at", func(l *lab) { l.fails("ec2", httpAnswer(403, "text/html", "<html>")) }, "", ""},
		{"IMD-104: passed after all", func(l *lab) {
			l.report.Results = append(l.report.Results, probe.Result{Target: bootstrap.MetadataTarget, Host: "169.254.169.254", Port: 80, Paths: []probe.Path{{
				Address: netip.MustParseAddrPort("169.254.169.254:80"),
				Steps:   []probe.Step{{Phase: probe.PhaseHTTP, HTTP: &probe.HTTPInfo{Method: "PUT", Status: 200}}},
			}}})
		}, "", ""},
		{"CRD-101: seen a moment ago", func(l *lab) {
			l.plan.Instance.RoleAbsent = true
			l.history = bootstrap.History{"NP-CRD-101": {First: l.now.Add(-59 * time.Second)}}
		}, "CRD-101", ""},
		{"API-102: one request of two is shed", func(l *lab) { l.fails("apiserver", httpAnswer(429, "text/plain", "too many"), "10.0.12.77") }, "", ""},
		{"API-102: one of two instances is not ready", func(l *lab) { l.fails("apiserver", httpAnswer(500, "text/plain", "[-]etcd failed"), "10.0.12.77") }, "(API-102)", ""},
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

// TestExpiredIntermediate: the certificate that is out of date is named, not the leaf.
func TestExpiredIntermediate(t *testing.T) {
	t.Parallel()
	l := healthy()
	old := probe.Certificate{Subject: "CN=intermediate", NotBefore: amazonCA.NotBefore, NotAfter: time.Date(2026, 5, 6, 0, 0, 0, 0, time.UTC)}
	l.fails("ec2", handshake(probe.TLSExpired, probe.TLSInfo{Chain: []probe.Certificate{amazonCA, old, amazonCA}}))
	if f := l.judge().Findings[0]; f.Code != bootstrap.TLS104 || !strings.Contains(f.Because, "2026-05-06") {
		t.Errorf("%s: %s", f.Code, f.Because)
	}
}

func TestMetadataUnderWay(t *testing.T) {
	t.Parallel()
	l := healthy()
	l.metadata(connect(probe.TCPTimeout, 1000, 0))
	l.report.Results[0].Pending = true
	l.early()
	if v := l.judge(); v.Pass || len(v.Findings) > 0 || strings.Join(v.Pending, " ") != bootstrap.MetadataTarget {
		t.Errorf("%v, pending %v", codesOf(v), v.Pending)
	}
}

func TestRoleAbsenceTurnsFatal(t *testing.T) {
	t.Parallel()
	for after, want := range map[time.Duration]bootstrap.Severity{0: bootstrap.Retryable, 59 * time.Second: bootstrap.Retryable, time.Minute: bootstrap.Fatal} {
		l := healthy()
		l.plan.Instance.RoleAbsent = true
		l.history = bootstrap.History{"NP-CRD-101": {First: l.now.Add(-after)}}
		if got := l.judge().Findings[0].Severity; got != want {
			t.Errorf("after %s: %s, want %s", after, got, want)
		}
	}
}

func TestReject(t *testing.T) {
	t.Parallel()
	problems := []bootstrap.Problem{
		{Code: bootstrap.CFG109, Origin: "user data, line 9", Path: "spec.colour", Message: "is not known", Warning: true},
		{Code: bootstrap.CFG105, Origin: "user data, line 7", Path: "spec.cluster.certificateAuthority", Message: "is not base64", Remedy: "Paste it whole."},
		{Code: bootstrap.CFG103, Path: "spec.cluster.name", Message: "is missing", Missing: true},
	}
	v := bootstrap.Reject(problems)
	type row struct {
		Code     bootstrap.Code
		Severity bootstrap.Severity
		Blocks   bool
		Because  string
		Remedy   string
	}
	var got []row
	for _, f := range v.Findings {
		got = append(got, row{f.Code, f.Severity, f.Blocks, f.Because, f.Remedy})
		if f.Problem == nil || f.Problem.Code != f.Code || f.Title == "" || f.Confidence != bootstrap.Proven {
			t.Errorf("incomplete: %+v", f)
		}
	}
	want := []row{
		{bootstrap.CFG103, bootstrap.Fatal, true, "spec.cluster.name: is missing", "Set spec.cluster.name; it is not looked up, because the EKS API need not be reachable from this node."},
		{bootstrap.CFG105, bootstrap.Fatal, true, "spec.cluster.certificateAuthority: is not base64 (user data, line 7)", "Paste it whole."},
		{bootstrap.CFG109, bootstrap.Warning, false, "spec.colour: is not known (user data, line 9)", "Remove or rename spec.colour; nodeprep does not use it."},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if v.Pass || v.ExitCode() != 10 {
		t.Errorf("pass %v, exit %d", v.Pass, v.ExitCode())
	}
	if w := bootstrap.Reject(problems[:1]); !w.Pass || w.ExitCode() != 0 {
		t.Error("warnings block")
	}
	ordered := bootstrap.Reject([]bootstrap.Problem{{Code: bootstrap.CFG103, Path: "spec.b", Message: "is missing"}, {Code: bootstrap.CFG103, Path: "spec.a", Message: "is missing"}})
	if ordered.Findings[0].Problem.Path != "spec.b" {
		t.Error("problems of one code are not in the order in which they were found")
	}
	if w := bootstrap.Reject(nil); !w.Pass || len(w.Findings) > 0 {
		t.Error("no problem, and yet a finding")
	}
	if w := bootstrap.Reject([]bootstrap.Problem{{Code: bootstrap.CFG109, Message: "m", Path: "p"}}); w.Pass || w.Findings[0].Severity != bootstrap.Fatal {
		t.Error("a problem that is no warning must block")
	}
}

func TestExitCode(t *testing.T) {
	t.Parallel()
	verdict := func(codes ...bootstrap.Code) bootstrap.Verdict {
		var v bootstrap.Verdict
		for _, c := range codes {
			v.Findings = append(v.Findings, bootstrap.Finding{Code: c, Blocks: true})
		}
		v.Findings = append(v.Findings, bootstrap.Finding{Code: bootstrap.DNS114})
		return v
	}
	for want, v := range map[int]bootstrap.Verdict{
		0:  {Pass: true, Findings: verdict(bootstrap.NET105).Findings},
		10: verdict(bootstrap.CFG101, bootstrap.CFG109),
		11: verdict(bootstrap.LNK104),
		12: verdict(bootstrap.IMD104),
		13: verdict(bootstrap.CRD101),
		15: verdict(bootstrap.DNS111, bootstrap.DNS102),
		16: verdict(bootstrap.NET105, bootstrap.NET112),
		17: verdict(bootstrap.TLS101),
		19: verdict(bootstrap.API101),
		20: verdict(bootstrap.NOD104),
		21: verdict(bootstrap.RUN102),
		1:  verdict(bootstrap.INT001),
		30: verdict(bootstrap.NET105, bootstrap.NET112, bootstrap.DNS111),
		75: {Pending: []string{"apiserver"}},
	} {
		if got := v.ExitCode(); got != want {
			t.Errorf("%v: exit %d, want %d", codesOf(v), got, want)
		}
	}
}
