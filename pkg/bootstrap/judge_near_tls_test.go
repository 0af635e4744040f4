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

// TestJudgeNearMissesOfPaths has the nearest cases in which a rule on handshakes,
// clocks and proxies must be silent, or say less.
func TestJudgeNearMissesOfPaths(t *testing.T) {
	t.Parallel()
	const no = probe.TLSTimeout
	const kubelet, containerd = bootstrap.ConsumerKubelet, bootstrap.ConsumerContainerd
	reset := handshake(probe.TLSReset, probe.TLSInfo{})
	services := []string{"ec2", "ecr.api", "ecr.dkr"}
	for _, tt := range []struct {
		name       string
		spoil      func(*lab)
		codes      string
		confidence bootstrap.Confidence // of the first finding, empty for any
		says       string               // because and remedy of the first finding
	}{
		{"MTU-101: the other addresses stall untried", func(l *lab) {
			l.stalls("ecr.api", stalled(1), tries("", "", no)...)
			l.result("ecr.api").Paths[1].Experiments = nil
		}, "MTU-101", bootstrap.Proven, "tried at 10.0.12.34: "},
		{"MTU-101: another address is cut", func(l *lab) {
			l.stalls("ecr.api", stalled(1), tries("", "", no)...)
			l.result("ecr.api").Paths[1].Experiments = nil
			l.fails("ecr.api", reset, "10.0.13.40")
		}, "MTU-101 TLS-108", "", ""},
		{"TLS-112: another address stalls", func(l *lab) {
			l.stalls("ecr.api", reset, trial(probe.KindSmallHello, ""))
			l.result("ecr.api").Paths[1].Experiments = nil
			l.fails("ecr.api", stalled(0), "10.0.13.40")
		}, "TLS-112", "", "TCP to 10.0.12.34 connects; the connection is reset"},
		{"TLS-112: another address is cut as well", func(l *lab) {
			l.stalls("ecr.api", reset, trial(probe.KindSmallHello, ""))
			l.result("ecr.api").Paths[1].Experiments = nil
		}, "TLS-112", "", "tried at 10.0.12.34: "},
		{"MTU-101: too few tried to speak for other targets", func(l *lab) {
			l.stalls("ecr.api", stalled(1), tries("", "", no)...)
			l.stalls("ec2", stalled(1))
		}, "MTU-101 TLS-109", "", ""},
		{"MTU-102: enough tried to speak for another target", func(l *lab) {
			l.stalls("ecr.api", stalled(0), tries("", no, no)...)
			l.stalls("ec2", stalled(0), tries("", no, no)...)
			l.stalls("ecr.dkr", stalled(0))
		}, "MTU-102", "", ""},
		{"TLS-112: enough tried to speak for another target", func(l *lab) {
			for _, n := range services[:2] {
				l.stalls(n, reset, trial(probe.KindSmallHello, ""))
			}
			l.stalls("ecr.dkr", reset)
		}, "TLS-112", "", ""},
		{"TLS-112: those tried are cut, the other stalls", func(l *lab) {
			for _, n := range services[:2] {
				l.stalls(n, reset, trial(probe.KindSmallHello, ""))
			}
			l.stalls("ecr.dkr", stalled(0))
		}, "TLS-109 TLS-112", "", ""},
		{"MTU-101: those tried do not agree", func(l *lab) {
			l.stalls("ecr.api", stalled(1), tries("", "", no)...)
			l.stalls("ec2", stalled(0), tries("", no, no)...)
			l.stalls("ecr.dkr", stalled(1))
		}, "MTU-101 MTU-102 TLS-109", "", ""},
		{"MTU-101: the other target is public", func(l *lab) {
			l.stalls("ecr.api", stalled(1), tries("", "", no)...)
			l.stalls("ec2", stalled(1), tries("", "", no)...)
			l.stalls("s3", stalled(1))
		}, "MTU-101 TLS-109", "", ""},
		{"MTU-101: the route's interface is named", func(l *lab) {
			l.state.Links = append(l.state.Links, netcfg.Link{Index: 3, Name: "eth1", MTU: 8000, Up: true, Running: true, Addresses: prefixes("10.0.12.6/24")})
			l.state.Destinations = []netcfg.Destination{{Address: addrs("10.0.12.34")[0], Type: "unicast", Link: "eth1"}, {Address: addrs("10.0.13.40")[0], Type: "unicast", Link: "eth0"}}
			l.stalls("ecr.api", stalled(1), tries("", "", no)...)
		}, "MTU-101", "", "MTU of eth1 (8000 now) to 1500"},
		{"MTU-101: state unknown", func(l *lab) {
			l.state = netcfg.State{DNS: l.state.DNS}
			l.stalls("ecr.api", stalled(1), tries("", "", no)...)
		}, "MTU-101", "", "MTU of the network interface to 1500"},
		{"TLS-109: only the clamp was tried", func(l *lab) { l.stalls("ecr.api", stalled(0), trial(probe.KindMSSClamp, no)) }, "TLS-109", bootstrap.Possible, "a small ClientHello and another server name were not tried"},
		{"TLS-109: only the small hello was tried", func(l *lab) { l.stalls("ecr.api", stalled(0), trial(probe.KindSmallHello, no)) }, "TLS-109", bootstrap.Possible, "small segments and another server name were not tried"},
		{"TLS-106: the same name passes in a small hello", func(l *lab) {
			l.stalls("ecr.api", reset, trial(probe.KindSmallHello, ""), trial(probe.KindSecondSNI, ""))
		}, "TLS-112", "", ""},
		{"TLS-106: untried beside", func(l *lab) { l.stalls("ecr.api", reset, trial(probe.KindSecondSNI, "")) }, "TLS-106", bootstrap.Proven, "sts.us-west-2"},
		{"TLS-106: acknowledged, passes in small segments", func(l *lab) { l.stalls("ecr.api", stalled(0), tries("", no, "")...) }, "MTU-102", bootstrap.Proven, ""},
		{"TLS-106: passes in small segments, nothing known of the connection", func(l *lab) { l.stalls("ecr.api", stalled(-1), tries("", no, "")...) }, "MTU-102", bootstrap.Likely, ""},
		{"TLS-102: one unknown issuer of one service", func(l *lab) {
			l.fails("ec2", handshake(probe.TLSUnknownAuthority, probe.TLSInfo{Chain: []probe.Certificate{{Issuer: "CN=A"}}}))
		}, "TLS-102", bootstrap.Likely, ""},
		{"TLS-102: one unknown issuer of two services", func(l *lab) {
			for _, n := range services[:2] {
				l.fails(n, handshake(probe.TLSUnknownAuthority, probe.TLSInfo{Chain: []probe.Certificate{{Issuer: "CN=A"}}}))
			}
		}, "TLS-102", bootstrap.Proven, "answers for 2 hosts"},
		{"TLS-102: two servers of one's own with one CA", func(l *lab) {
			for i, n := range []string{"registry", "vault"} {
				l.add(n, "", n+".corp.example", bootstrap.RoleReady, "10.0.12.9"+string(rune('0'+i)))
				l.fails(n, handshake(probe.TLSUnknownAuthority, probe.TLSInfo{Chain: []probe.Certificate{{Issuer: "CN=Corp CA"}}}))
			}
		}, "TLS-102", bootstrap.Possible, "Install the CA"},
		{"TLS-102: a page without a product", func(l *lab) {
			l.fails("ec2", handshake(probe.TLSWrongHost, probe.TLSInfo{Chain: []probe.Certificate{{Issuer: "CN=Portal", Names: []string{"portal"}}}}))
		}, "TLS-103", "", ""},
		{"TLS-103: a Kubernetes CA for a service", func(l *lab) {
			l.fails("ec2", handshake(probe.TLSWrongHost, probe.TLSInfo{Chain: []probe.Certificate{kubernetesCA}}))
		}, "TLS-103", "", "a server for"},
		{"PXY-107: one of two fails directly", func(l *lab) {
			l.proxied(kubelet, "ecr.api", "ecr.dkr")
			for _, n := range services[1:] {
				l.via(n, refusedBy(n, 403))
			}
			l.directly("ecr.api", nil, "10.0.12.34")
			l.directly("ecr.dkr", &silentStep, "10.0.12.35")
		}, "PXY-105 PXY-107", "", ""},
		{"PXY-107: a login is wanted", func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			step := refusedBy("ecr.api", 407)
			step.HTTP.Header["Proxy-Authenticate"] = "Negotiate"
			l.via("ecr.api", step)
			l.directly("ecr.api", nil, "10.0.12.34")
		}, "PXY-104", "", "it asks for Negotiate"},
		{"PXY-104: Basic", func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			step := refusedBy("ecr.api", 407)
			step.HTTP.Header["Proxy-Authenticate"] = `basic realm="x"`
			l.via("ecr.api", step)
		}, "PXY-104", "", "its URL in kubelet.service."},
		{"PXY-107: units of their own", func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.proxied(containerd, "ecr.dkr")
			for _, n := range services[1:] {
				l.via(n, refusedBy(n, 503))
				l.directly(n, nil, "10.0.12.34")
			}
		}, "PXY-107 PXY-107", "", "kubelet.service"},
		{"PXY-107: the stall of a tunnel", func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.via("ecr.api", stalled(0))
			l.directly("ecr.api", nil, "10.0.12.34")
		}, "PXY-107", "", ""},
		{"PXY-103: two proxies", func(l *lab) {
			l.proxied(kubelet, "ecr.api", "ecr.dkr")
			l.plan.Targets[3].Proxy = "http://10.0.12.200:3129"
			l.via("ecr.api", silentStep)
			l.via("ecr.dkr", silentStep)
		}, "PXY-103 PXY-103", "", ""},
		{"PXY-103: out of files is this machine's", func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.via("ecr.api", connect(probe.TCPExhausted, 0.01, emfile))
		}, "NET-118", "", ""},
		{"PXY-103: no route is this machine's", func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.state.Routes = append(l.state.Routes, route("10.0.12.200/32", "", "throw"), route("10.0.13.200/32", "", "throw"))
			l.via("ecr.api", connect(probe.TCPNetUnreachable, 0.02, enetunreach))
		}, "NET-101", "", ""},
		{"PXY-103: TLS with the proxy stalls", func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.via("ecr.api", probe.Step{Phase: probe.PhaseProxy, Took: ms(2000), Cause: probe.HTTPTimeout, TLS: &probe.TLSInfo{}})
		}, "PXY-103", "", ""},
		{"PXY-108: by the hosts file", func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.plan.Targets[2].Hosts = addrs("10.0.12.34")
			l.environment(kubelet, func(e *bootstrap.Environment) { e.NoProxy = "10.0.12.34" })
			l.environment(containerd, func(e *bootstrap.Environment) { e.NoProxy = "10.0.12.34" })
		}, "(PXY-108)", "", "10.0.12.34"},
		{"PXY-108: by the system's lookup", func(l *lab) {
			l.proxied(kubelet, "apiserver")
			l.result("apiserver").System = &probe.System{Addresses: addrs("10.0.12.77")}
			l.environment(kubelet, func(e *bootstrap.Environment) { e.NoProxy = "10.0.0.0/16" })
			l.environment(containerd, func(e *bootstrap.Environment) { e.NoProxy = "10.0.0.0/16" })
		}, "(PXY-108)", "", "10.0.0.0/16"},
		{"PXY-108: the network has other addresses", func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.environment(kubelet, func(e *bootstrap.Environment) { e.NoProxy = "10.100.0.0/16, 169.254.169.254,*.example" })
			l.environment(containerd, func(e *bootstrap.Environment) { e.NoProxy = "*.example,10.100.0.0/16,169.254.169.254" })
			l.directly("ecr.api", nil, "10.0.12.34")
		}, "", "", ""},
		{"PXY-109: a target that is not containerd's fails", func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.environment(containerd, func(e *bootstrap.Environment) { e.HTTPSProxy = "" })
			l.plan.Targets[4].Consumer = bootstrap.ConsumerPods
			l.silent("s3")
		}, "NET-112 (PXY-109)", "", ""},
		{"PXY-109: private and silent is not the proxy's", func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.environment(containerd, func(e *bootstrap.Environment) { e.HTTPSProxy = "" })
			l.plan.Targets[3].Consumer = containerd
			l.silent("ecr.dkr")
		}, "NET-105 (PXY-109)", "", ""},
		{"PXY-101: SOCKS, and host and port alone", func(l *lab) {
			l.plan.Environments = map[bootstrap.Consumer]bootstrap.Environment{
				kubelet: {HTTPSProxy: "socks5://p:1080", HTTPProxy: "p:3128"}, containerd: {HTTPSProxy: "socks5://p:1080", HTTPProxy: "p:3128"},
			}
		}, "", "", ""},
		{"PXY-101: no host", func(l *lab) {
			l.plan.Environments = map[bootstrap.Consumer]bootstrap.Environment{kubelet: {HTTPProxy: "socks5://:1080"}}
		}, "(PXY-101)", "", "HTTP_PROXY of kubelet.service"},
		{"PXY-101: what programs make of it is proxied", func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			for _, c := range []bootstrap.Consumer{kubelet, containerd} {
				l.environment(c, func(e *bootstrap.Environment) { e.HTTPSProxy = "http://proxy:31 28" })
			}
			l.dns(vpcDNS, probe.DNSNXDomain, "ecr.api")
		}, "PXY-101", "", ""},
		{"PXY-102: one spelling alone", func(l *lab) {
			l.plan.Environments = map[bootstrap.Consumer]bootstrap.Environment{
				kubelet: {NoProxy: "a", Lower: &bootstrap.Environment{HTTPSProxy: proxyURL}}, containerd: {HTTPSProxy: proxyURL, Lower: &bootstrap.Environment{NoProxy: "a"}},
			}
		}, "", "", ""},
		{"PXY-102: NO_PROXY alone", func(l *lab) {
			l.plan.Environments = map[bootstrap.Consumer]bootstrap.Environment{kubelet: {NoProxy: "a", Lower: &bootstrap.Environment{NoProxy: "a,b"}}}
		}, "(PXY-102)", "", "no_proxy a,b"},
		{"CLK-104: not by the chain's own fault", func(l *lab) {
			l.clocks(3*time.Hour, bootstrap.ClockState{}, metadata)
			step := handshake(probe.TLSUnknownAuthority, probe.TLSInfo{Chain: []probe.Certificate{kubernetesCA}})
			l.fails("apiserver", step)
		}, "TLS-101 (CLK-103)", "", ""},
		{"CLK-102: within the error of the reading", func(l *lab) {
			l.clocks(61*time.Second, bootstrap.ClockState{}, metadata)
		}, "", "", ""},
		{"CLK-103: within the error of the reading", func(l *lab) {
			l.clocks(-241*time.Second, bootstrap.ClockState{}, metadata)
		}, "(CLK-102)", "", "4 min 1 s ahead"},
		{"CLK-105: metadata gives no time", func(l *lab) {
			l.plan.Clock = bootstrap.ClockState{Known: true}
			l.report.Clock = []probe.ClockReading{{Source: timeIs, Cause: probe.ClockSilent}, {Source: metadata, Cause: probe.Other}}
		}, "(CLK-101)", "", ""},
		{"CLK-105: another time server than the VPC's", func(l *lab) {
			l.clocks(0, bootstrap.ClockState{Known: true}, metadata)
			l.report.Clock = append(l.report.Clock, probe.ClockReading{Source: "ntp 10.9.0.1", Cause: probe.ClockSilent})
		}, "(CLK-101)", "", ""},
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
			if len(v.Findings) == 0 {
				return
			}
			f := v.Findings[0]
			if tt.confidence != "" && f.Confidence != tt.confidence {
				t.Errorf("confidence %s, want %s", f.Confidence, tt.confidence)
			}
			if !strings.Contains(f.Because+f.Remedy, tt.says) {
				t.Errorf("%q lacks in %s / %s", tt.says, f.Because, f.Remedy)
			}
			if strings.Contains(pretty(t, v), "s3cret") {
				t.Error("shows the proxy's password")
			}
		})
	}
}

// A target that passes on one address shows what is wrong with another only once
// the experiments there are over.
func TestJudgePassedWhileExperimenting(t *testing.T) {
	t.Parallel()
	for _, step := range []probe.Step{stalled(0), handshake(probe.TLSReset, probe.TLSInfo{})} {
		l := healthy()
		l.stalls("ecr.api", step, tries(step.Cause, step.Cause, step.Cause)...)
		res := l.result("ecr.api")
		res.Paths[0].Steps, res.Paths[0].Experiments = healthySteps("ecr.api"), nil
		if got := codesOf(l.judge()); len(got) != 1 {
			t.Errorf("%s: %v", step.Cause, got)
		}
		l.early()
		res.Pending = true
		if v := l.judge(); len(v.Findings) > 0 || !v.Pass {
			t.Errorf("%s: %v early, pass %v", step.Cause, codesOf(v), v.Pass)
		}
		res.Paths = slices.Clone(res.Paths)
	}
}
