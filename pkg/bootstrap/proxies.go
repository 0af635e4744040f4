package bootstrap

import (
	"cmp"
	"net"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// environment is what a program's unit gives it: that of nodeprep itself where the
// unit could not be read, and nothing for pods, whose environment is not known here.
func (m Machine) environment(c Consumer) Environment {
	if c == ConsumerPods {
		return Environment{}
	}
	if e, ok := m.Environments[c]; ok {
		return e
	}
	return m.Environments[ConsumerAgent]
}

// proxyConfig is the environment as net/http reads it, which the kubelet, containerd and
// the SDKs of Go use: a variable in upper case wins, one in lower case stands in for it.
// (FromEnvironment of golang.org/x/net v0.62.0 prefers lower case; the copy of it in the
// standard library of Go 1.26, which net/http uses, does not.)
func (e Environment) proxyConfig() *httpproxy.Config {
	lower := Environment{}
	if e.Lower != nil {
		lower = *e.Lower
	}
	return &httpproxy.Config{
		HTTPProxy:  string(cmp.Or(e.HTTPProxy, lower.HTTPProxy)),
		HTTPSProxy: string(cmp.Or(e.HTTPSProxy, lower.HTTPSProxy)),
		NoProxy:    cmp.Or(e.NoProxy, lower.NoProxy),
	}
}

// proxyOf is the proxy through which a program with this environment reaches a target
// over TLS, empty for none. A proxy that cannot be used is none: the judge says so
// (NP-PXY-101), and the target itself is still measured.
func (e Environment) proxyOf(host string, port uint16) probe.Proxy {
	at := net.JoinHostPort(host, strconv.Itoa(int(port)))
	u, err := e.proxyConfig().ProxyFunc()(&url.URL{Scheme: "https", Host: at})
	if err != nil || u == nil || !takesConnect(u) || proxyAddress(u) == at {
		return ""
	}
	return probe.Proxy(u.String())
}

// takesConnect reports whether CONNECT can be sent to a proxy's URL. httpproxy puts
// http:// before what it cannot parse, so that http://proxy:x has the host "http".
func takesConnect(u *url.URL) bool {
	if u.Scheme != "http" && u.Scheme != "https" || !isHost(u.Hostname()) || strings.HasPrefix(u.Path, "//") {
		return false
	}
	port, err := strconv.ParseUint(cmp.Or(u.Port(), "80"), 10, 16)
	return err == nil && port > 0
}

// proxyAddress is host and port of a proxy's URL.
func proxyAddress(u *url.URL) string {
	port := "80"
	if u.Scheme == "https" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
}
