package bootstrap_test

import (
	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// proxyScenarios are proxies that do not do what they are for.
func proxyScenarios() []scenario {
	const kubelet, containerd, agent = bootstrap.ConsumerKubelet, bootstrap.ConsumerContainerd, bootstrap.ConsumerAgent
	waits := func(cause probe.Cause) probe.Step {
		return probe.Step{Phase: probe.PhaseProxy, Took: ms(2000), Cause: cause, Err: string(cause), HTTP: &probe.HTTPInfo{Method: "CONNECT"}}
	}
	return []scenario{
		{"proxy done right", "", 0, func(l *lab) { l.proxied(kubelet, "ecr.api", "s3") }, nil},
		{"proxy silent", "PXY-103", 18, func(l *lab) {
			l.proxied(kubelet, "apiserver", "ecr.api")
			l.proxied(containerd, "s3")
			for _, t := range []string{"apiserver", "ecr.api", "s3"} {
				l.via(t, silentStep)
			}
		}, []string{"http://proxy.corp.example:3128", "kubelet.service", "containerd.service", "10.0.12.200", "3128", "10.0.12.0/24"}},
		{"proxy silent, hosts answer without it", "PXY-103", 18, func(l *lab) {
			l.proxied(kubelet, "apiserver", "s3")
			l.via("apiserver", silentStep)
			l.via("s3", silentStep)
			l.directly("apiserver", nil, "10.0.12.77")
		}, []string{"NO_PROXY", ".eks.amazonaws.com"}},
		{"one address of the proxy silent", "(PXY-103)", 0, func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.fails("ecr.api", silentStep, "10.0.12.200")
		}, nil},
		{"proxy refuses connections", "PXY-103", 18, func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.via("ecr.api", rejected(probe.TCPRefused, econnrefused))
		}, []string{"3128"}},
		{"proxy unreachable by a router", "PXY-103", 18, func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.via("ecr.api", rejected(probe.TCPHostUnreachable, ehostunreach))
		}, nil},
		{"way to the proxy blocked on this machine", "(LNK-106)", 0, func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.state.Routes = append(l.state.Routes, route("10.0.8.0/21", "", "blackhole"))
			l.fails("ecr.api", connect(probe.TCPBlackhole, 0.02, einval), "10.0.13.200")
		}, nil},
		{"proxy is no proxy", "PXY-103", 18, func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.via("ecr.api", waits(probe.HTTPMalformed))
		}, []string{"no HTTP proxy"}},
		{"name of the proxy does not exist", "PXY-103", 18, func(l *lab) {
			l.proxied(kubelet, "apiserver", "ecr.api")
			l.dns(vpcDNS, probe.DNSNXDomain, "apiserver", "ecr.api")
		}, []string{"http://proxy.corp.example:3128", "DNS record", "kubelet.service", "10.0.0.2"}},
		{"name of the proxy has no address", "PXY-103", 18, func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.dns(vpcDNS, probe.DNSNoData, "ecr.api")
		}, nil},
		{"DNS silent, a proxy among the names", "DNS-102", 15, func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.servers(otherDNS)
			l.dns(otherDNS, probe.DNSTimeout, l.all()...)
		}, nil},
		{"everything silent, the proxy too", "NET-108", 16, func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.silent(l.all()...)
		}, nil},
		{"proxy wants a login", "PXY-104", 18, func(l *lab) {
			l.proxied(kubelet, "ecr.api", "s3")
			l.via("ecr.api", refusedBy("ecr.api", 407))
			l.via("s3", refusedBy("s3", 407))
		}, []string{"http://proxy.corp.example:3128", "kubelet.service"}},
		{"proxy denies the host", "PXY-105", 18, func(l *lab) {
			l.proxied(kubelet, "s3")
			l.via("s3", refusedBy("s3", 403))
		}, []string{"starport-layer-bucket", "10.0.12.0/24"}},
		{"proxy denies the host, which is silent without it", "PXY-105", 18, func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.via("ecr.api", refusedBy("ecr.api", 403))
			l.directly("ecr.api", &silentStep, "10.0.12.34")
		}, []string{"api.ecr"}},
		{"proxy has no way to the host", "PXY-106", 18, func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.via("ecr.api", refusedBy("ecr.api", 503))
		}, []string{"api.ecr", "NO_PROXY"}},
		{"proxy takes the host and waits", "PXY-106", 18, func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.via("ecr.api", waits(probe.HTTPTimeout))
		}, []string{"api.ecr"}},
		{"proxy cuts the connection", "PXY-106", 18, func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.via("ecr.api", waits(probe.HTTPClosed))
		}, []string{"NP-PXY-105"}},
		{"NO_PROXY lacks the API server", "PXY-107", 18, func(l *lab) {
			l.proxied(kubelet, "apiserver")
			l.via("apiserver", refusedBy("apiserver", 503))
			l.directly("apiserver", nil, "10.0.12.77", "10.0.13.21")
		}, []string{apiHost, ".eks.amazonaws.com", "kubelet.service"}},
		{"NO_PROXY lacks two endpoints, the proxy denies them", "PXY-107", 18, func(l *lab) {
			l.proxied(kubelet, "ecr.api", "ecr.dkr")
			l.environment(kubelet, func(e *bootstrap.Environment) { e.HTTPProxy, e.NoProxy = proxyURL, "localhost" })
			l.environment(containerd, func(e *bootstrap.Environment) { e.HTTPProxy, e.NoProxy = proxyURL, "localhost" })
			for _, t := range []string{"ecr.api", "ecr.dkr"} {
				l.via(t, refusedBy(t, 403))
				l.directly(t, nil, "10.0.12.34")
			}
		}, []string{"api.ecr.us-west-2.amazonaws.com", "602401143452", "169.254.169.254"}},
		{"NO_PROXY lacks what the proxy intercepts", "PXY-107", 18, func(l *lab) {
			l.proxied(kubelet, "apiserver")
			l.via("apiserver", handshake(probe.TLSUnknownAuthority, probe.TLSInfo{Chain: []probe.Certificate{{Subject: "CN=x", Issuer: "CN=Corp Inspection"}}}))
			l.directly("apiserver", nil, "10.0.12.77")
		}, []string{apiHost}},
		{"proxy intercepts", "TLS-102", 17, func(l *lab) {
			l.proxied(kubelet, "apiserver")
			l.via("apiserver", handshake(probe.TLSUnknownAuthority, probe.TLSInfo{Chain: []probe.Certificate{{Subject: "CN=x", Issuer: "CN=Corp Inspection"}}}))
		}, []string{apiHost, "Corp Inspection"}},
		{"NO_PROXY lists a network that covers no name", "PXY-107", 18, func(l *lab) {
			l.proxied(kubelet, "apiserver")
			l.environment(kubelet, func(e *bootstrap.Environment) { e.NoProxy = "10.0.0.0/16,localhost" })
			l.environment(containerd, func(e *bootstrap.Environment) { e.NoProxy = "localhost, 10.0.0.0/16" })
			l.via("apiserver", refusedBy("apiserver", 503))
			l.directly("apiserver", nil, "10.0.12.77")
		}, []string{"10.0.0.0/16 there covers URLs with an address, not a host name", apiHost}},
		{"NO_PROXY lists a network, both ways fail", "PXY-106 (PXY-108)", 18, func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.environment(kubelet, func(e *bootstrap.Environment) { e.NoProxy = "10.0.0.0/16" })
			l.environment(containerd, func(e *bootstrap.Environment) { e.NoProxy = "10.0.0.0/16" })
			l.via("ecr.api", refusedBy("ecr.api", 502))
			l.directly("ecr.api", &silentStep, "10.0.12.34")
		}, nil},
		{"NO_PROXY has a URL and a bare wildcard", "(PXY-108) (PXY-108)", 0, func(l *lab) {
			l.proxied(kubelet, "ecr.api", "ecr.dkr")
			for _, c := range []bootstrap.Consumer{kubelet, containerd} {
				l.environment(c, func(e *bootstrap.Environment) {
					e.NoProxy = "https://api.ecr.us-west-2.amazonaws.com/,*dkr.ecr.us-west-2.amazonaws.com,10.0.0.0/8"
				})
			}
		}, []string{"api.ecr.us-west-2.amazonaws.com"}},
		{"proxy value is no URL", "(PXY-101)", 0, func(l *lab) {
			l.plan.Environments = map[bootstrap.Consumer]bootstrap.Environment{kubelet: {HTTPSProxy: "http://user:s3cret@proxy:31 28", Unit: "kubelet.service"}}
		}, []string{"HTTPS_PROXY of kubelet.service", "http://HOST:PORT"}},
		{"proxy value is no URL, and the internet silent", "PXY-101", 18, func(l *lab) {
			l.plan.Environments = map[bootstrap.Consumer]bootstrap.Environment{containerd: {HTTPSProxy: "ftp://proxy.corp.example", Unit: "containerd.service"}}
			for i := range l.plan.Targets {
				l.plan.Targets[i].Consumer = containerd
			}
			l.silent("s3")
		}, []string{"HTTPS_PROXY of containerd.service"}},
		{"proxy in two spellings", "(PXY-102)", 0, func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			for _, c := range []bootstrap.Consumer{kubelet, containerd} {
				l.environment(c, func(e *bootstrap.Environment) {
					e.Lower = &bootstrap.Environment{HTTPSProxy: "http://other.corp.example:8080", NoProxy: e.NoProxy}
				})
			}
		}, []string{"kubelet.service has HTTPS_PROXY http://proxy.corp.example:3128 and https_proxy http://other.corp.example:8080"}},
		{"containerd without a proxy", "(PXY-109)", 0, func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.environment(containerd, func(e *bootstrap.Environment) { e.HTTPSProxy = "" })
		}, []string{"containerd.service unset", "kubelet.service has HTTPS_PROXY http://proxy.corp.example:3128"}},
		{"containerd without a proxy, layers silent", "PXY-109", 18, func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.environment(containerd, func(e *bootstrap.Environment) { e.HTTPSProxy = "" })
			l.plan.Targets[4].Consumer = containerd
			l.silent("s3")
		}, []string{"containerd.service unset"}},
		{"only nodeprep has a proxy", "(PXY-109)", 0, func(l *lab) {
			l.plan.Environments = map[bootstrap.Consumer]bootstrap.Environment{
				agent: {HTTPSProxy: proxyURL, Unit: "nodeprep.service"}, kubelet: {Unit: "kubelet.service"}, containerd: {Unit: "containerd.service"},
			}
		}, []string{"nodeprep.service http://proxy.corp.example:3128"}},
		{"NO_PROXY differs between units", "(PXY-109)", 0, func(l *lab) {
			l.proxied(kubelet, "ecr.api")
			l.environment(containerd, func(e *bootstrap.Environment) { e.NoProxy = "localhost" })
		}, nil},
		{"no proxy anywhere", "", 0, func(l *lab) {
			l.plan.Environments = map[bootstrap.Consumer]bootstrap.Environment{agent: {}, kubelet: {Unit: "kubelet.service", NoProxy: "a"}, containerd: {}}
		}, nil},
	}
}
