package vpc

import (
	"fmt"
	"maps"
	"strings"
)

// noProxy is NO_PROXY done right: what is in the VPC goes direct, by name, for a
// block of addresses covers no name (golang.org/x/net/http/httpproxy).
func (v *VPC) noProxy(more ...string) string {
	_, eks, _ := strings.Cut(v.Host(APIServer), ".gr7.")
	_, s3, _ := strings.Cut(v.Host(S3), ".")
	list := []string{"localhost", "127.0.0.1", "169.254.169.254", ".internal", v.options.ServiceCIDR.String(), "." + eks, "." + s3}
	return strings.Join(append(list, more...), ",")
}

// endpointNames are those that have interface endpoints.
func (v *VPC) endpointNames() []string { return []string{v.Host(EC2), v.Host(ECRAPI), v.Host(ECRDKR)} }

// proxied sets the proxy of every program on the node.
func proxied(url string, noProxy func(*VPC) string) func(*VPC, string) (undo, error) {
	return environment(func(v *VPC) map[string]string {
		return map[string]string{"HTTPS_PROXY": url, "NO_PROXY": noProxy(v)}
	})
}

// onlyWay sets the proxy in a VPC without interface endpoints, where it is the
// only way to the AWS APIs.
func onlyWay(url string) func(*VPC, string) (undo, error) {
	return all(isPublic(EC2, ECRAPI, ECRDKR), proxied(url, func(v *VPC) string { return v.noProxy() }))
}

func behaving(b proxyBehaviour) func(*VPC, string) (undo, error) {
	return func(v *VPC, _ string) (undo, error) {
		pop := v.proxy.behaviours.Push(b)
		return func() error { pop(); return nil }, nil
	}
}

// unit is a file of systemd that sets variables of a service.
func unit(variables map[string]string) string {
	var b strings.Builder
	b.WriteString("[Service]\n")
	for name, value := range variables {
		fmt.Fprintf(&b, "Environment=\"%s=%s\"\n", name, value)
	}
	return b.String()
}

func proxyFaults() []Fault {
	atProxy := func(verdict string) func(*VPC, string) (undo, error) {
		return filter(func(*VPC) []string {
			return []string{"ip daddr " + ProxyAddr().String() + " tcp dport " + proxyPort + " " + syn + verdict}
		})
	}
	right := func(more func(*VPC) []string) func(*VPC) string {
		return func(v *VPC) string { return v.noProxy(more(v)...) }
	}
	none := func(*VPC) []string { return nil }
	const elsewhere = "http://proxy-2.corp.example:3128"
	return []Fault{
		{Name: "proxy-fine", Title: "a proxy is the only way to the AWS APIs, and it works", Local: true, apply: onlyWay(ProxyURL())},
		{Name: "proxy-silent", Title: "the proxy does not answer", Code: "NP-PXY-103", Local: true, apply: all(onlyWay(ProxyURL()), atProxy(drop))},
		{Name: "proxy-refused", Title: "nothing listens on the proxy's port", Code: "NP-PXY-103", Local: true, apply: all(onlyWay(ProxyURL()), atProxy(reset))},
		{Name: "proxy-unknown", Title: "the proxy's name does not exist", Code: "NP-PXY-103", Local: true, apply: onlyWay(elsewhere)},
		{Name: "proxy-stall", Title: "the proxy accepts connections and answers nothing", Code: "NP-PXY-103", Local: true, apply: all(onlyWay(ProxyURL()), behaving(proxyBehaviour{stall: true}))},
		{Name: "proxy-407", Title: "the proxy wants a user and a password", Code: "NP-PXY-104", Local: true, apply: all(onlyWay(ProxyURL()), behaving(proxyBehaviour{status: 407}))},
		{Name: "proxy-denied", Title: "the proxy's policy denies the AWS APIs", Code: "NP-PXY-105", Local: true, apply: all(onlyWay(ProxyURL()), behaving(proxyBehaviour{status: 403}))},
		{Name: "proxy-502", Title: "the proxy has no way to the AWS APIs", Code: "NP-PXY-106", Local: true, apply: all(onlyWay(ProxyURL()), behaving(proxyBehaviour{status: 502}))},
		{
			Name: "no-proxy-misses", Title: "NO_PROXY lacks the endpoints' names, which the proxy does not reach", Code: "NP-PXY-107", Local: true,
			apply: all(proxied(ProxyURL(), right(none)), behaving(proxyBehaviour{status: 502})),
		},
		{
			Name: "no-proxy-misses-apiserver", Title: "NO_PROXY lacks the API server's name, which the proxy denies", Code: "NP-PXY-107",
			Service: APIServer, Local: true,
			apply: all(
				proxied(ProxyURL(), func(v *VPC) string {
					return "localhost,127.0.0.1,169.254.169.254,.s3." + v.options.Region + "." + v.partition.suffix + "," + strings.Join(v.endpointNames(), ",")
				}),
				behaving(proxyBehaviour{status: 403}),
			),
		},
		{
			Name: "no-proxy-cidr", Title: "NO_PROXY has the VPC's block instead of the endpoints' names", Code: "NP-PXY-108", Local: true,
			apply: all(proxied(ProxyURL(), right(func(*VPC) []string { return []string{vpcBlock} })), behaving(proxyBehaviour{status: 502})),
		},
		{
			Name: "proxy-bad-value", Title: "HTTPS_PROXY is not a URL", Code: "NP-PXY-101", Local: true,
			apply: proxied("http://proxy.corp.example:31a28", right((*VPC).endpointNames)),
		},
		{
			Name: "proxy-case", Title: "HTTPS_PROXY and https_proxy name different proxies", Code: "NP-PXY-102", Local: true, Warning: true,
			apply: all(onlyWay(ProxyURL()), environment(func(*VPC) map[string]string { return map[string]string{"https_proxy": elsewhere} })),
		},
		{
			Name: "proxy-units-differ", Title: "the kubelet has a proxy and containerd has none", Code: "NP-PXY-109", Local: true, Warning: true,
			apply: files(func(v *VPC) map[string]string {
				const dir = "etc/systemd/system/"
				base := map[string]string{
					dir + "kubelet.service":    "[Service]\nExecStart=/usr/bin/kubelet\n",
					dir + "containerd.service": "[Service]\nExecStart=/usr/bin/containerd\n",
				}
				maps.Copy(base, map[string]string{
					dir + "kubelet.service.d/30-proxy.conf": unit(map[string]string{"HTTPS_PROXY": ProxyURL(), "NO_PROXY": v.noProxy(v.endpointNames()...)}),
				})
				return base
			}),
		},
	}
}
