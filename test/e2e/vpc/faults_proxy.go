package vpc

import (
	"fmt"
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

// noProxyButAPIServer is a list that forgot the API server.
func (v *VPC) noProxyButAPIServer() string {
	_, s3, _ := strings.Cut(v.Host(S3), ".")
	return strings.Join(append(v.endpointNames(), "localhost", "127.0.0.1", "169.254.169.254", "."+s3), ",")
}

// endpointNames are those that have interface endpoints.
func (v *VPC) endpointNames() []string { return []string{v.Host(EC2), v.Host(ECRAPI), v.Host(ECRDKR)} }

// proxied sets the proxy of every program on the node.
func proxied(url string, noProxy func(*VPC) string) func(*VPC, string) (undo, error) {
	return environment(func(v *VPC) map[string]string {
		return map[string]string{"HTTPS_PROXY": url, "NO_PROXY": noProxy(v)}
	})
}

// onlyWay sets the proxy in a VPC where it is the only way to ECR. What pods need, such
// as ec2 for the VPC CNI, has its endpoint: they have no proxy.
func onlyWay(url string) func(*VPC, string) (undo, error) {
	return all(isPublic(ECRAPI, ECRDKR), proxied(url, func(v *VPC) string { return v.noProxy() }))
}

func behaving(b proxyBehaviour) func(*VPC, string) (undo, error) {
	return func(v *VPC, _ string) (undo, error) {
		pop := v.proxy.behaviours.Push(b)
		return func() error { pop(); return nil }, nil
	}
}

// inUnits is proxied, and the units of the kubelet and containerd say so.
func inUnits(url string, noProxy func(*VPC) string) func(*VPC, string) (undo, error) {
	return all(proxied(url, noProxy), files(func(v *VPC) map[string]string {
		variables := map[string]string{"HTTPS_PROXY": url, "NO_PROXY": noProxy(v)}
		return units(map[string]map[string]string{"kubelet": variables, "containerd": variables})
	}))
}

// units are the files of services and of drop-ins that set variables of theirs.
func units(services map[string]map[string]string) map[string]string {
	files := map[string]string{}
	for name, variables := range services {
		unit := unitDir + "/" + name + ".service"
		files[unit] = "[Service]\nExecStart=/usr/bin/" + name + "\n"
		if len(variables) == 0 {
			continue
		}
		var b strings.Builder
		b.WriteString("[Service]\n")
		for variable, value := range variables {
			fmt.Fprintf(&b, "Environment=\"%s=%s\"\n", variable, value)
		}
		files[unit+".d/30-proxy.conf"] = b.String()
	}
	return files
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
	others := func(v *VPC) []string { return []string{v.Host(EC2), v.Host(ECRDKR)} }
	blockAndOthers := func(v *VPC) []string { return append(others(v), vpcBlock) }
	const elsewhere = "http://proxy-2.corp.example:3128"
	return []Fault{
		{Name: "proxy-fine", Title: "a proxy is the only way to ECR, and it works", Local: true, apply: onlyWay(ProxyURL())},
		{Name: "proxy-silent", Title: "the proxy does not answer", Code: "NP-PXY-103", Local: true, apply: all(onlyWay(ProxyURL()), atProxy(drop))},
		{Name: "proxy-refused", Title: "nothing listens on the proxy's port", Code: "NP-PXY-103", Local: true, apply: all(onlyWay(ProxyURL()), atProxy(reset))},
		{Name: "proxy-unknown", Title: "the proxy's name does not exist", Code: "NP-PXY-103", Local: true, apply: onlyWay(elsewhere)},
		{Name: "proxy-stall", Title: "the proxy accepts connections and answers nothing", Code: "NP-PXY-106", Local: true, apply: all(onlyWay(ProxyURL()), behaving(proxyBehaviour{stall: true}))},
		{Name: "proxy-407", Title: "the proxy wants a user and a password", Code: "NP-PXY-104", Local: true, apply: all(onlyWay(ProxyURL()), behaving(proxyBehaviour{status: 407}))},
		{Name: "proxy-denied", Title: "the proxy's policy denies the AWS APIs", Code: "NP-PXY-105", Local: true, apply: all(onlyWay(ProxyURL()), behaving(proxyBehaviour{status: 403}))},
		{Name: "proxy-502", Title: "the proxy has no way to the AWS APIs", Code: "NP-PXY-106", Local: true, apply: all(onlyWay(ProxyURL()), behaving(proxyBehaviour{status: 502}))},
		{
			Name: "no-proxy-misses", Title: "NO_PROXY lacks ecr.api, which the proxy does not reach", Code: "NP-PXY-107", Service: ECRAPI, Local: true,
			apply: all(proxied(ProxyURL(), right(others)), behaving(proxyBehaviour{status: 502})),
		},
		{
			Name: "no-proxy-misses-apiserver", Title: "NO_PROXY lacks the API server's name, which the proxy denies", Code: "NP-PXY-107",
			Service: APIServer, Local: true,
			apply: all(
				proxied(ProxyURL(), (*VPC).noProxyButAPIServer),
				behaving(proxyBehaviour{status: 403}),
			),
		},
		{
			Name: "no-proxy-cidr", Title: "NO_PROXY has the VPC's block instead of ecr.api's name, and the proxy does not reach it", Code: "NP-PXY-107",
			Service: ECRAPI, Local: true,
			apply: all(proxied(ProxyURL(), right(blockAndOthers)), behaving(proxyBehaviour{status: 502})),
		},
		{
			Name: "no-proxy-cidr-idle", Title: "NO_PROXY has the VPC's block for the API server, which goes through the proxy all the same", Code: "NP-PXY-108",
			Service: APIServer, Local: true, Warning: true,
			apply: inUnits(ProxyURL(), func(v *VPC) string { return v.noProxyButAPIServer() + "," + vpcBlock }),
		},
		{
			Name: "no-proxy-url", Title: "NO_PROXY has the URL of ecr.api instead of its name", Code: "NP-PXY-108",
			Service: ECRAPI, Local: true, Warning: true,
			apply: inUnits(ProxyURL(), right(func(v *VPC) []string { return append(others(v), "https://"+v.Host(ECRAPI)) })),
		},
		{
			Name: "proxy-bad-value", Title: "HTTPS_PROXY is not a URL", Code: "NP-PXY-101", Local: true, Warning: true,
			apply: proxied("http://proxy.corp.example:31a28", right((*VPC).endpointNames)),
		},
		{
			Name: "proxy-case", Title: "HTTPS_PROXY and https_proxy name different proxies", Code: "NP-PXY-102", Local: true, Warning: true,
			apply: all(onlyWay(ProxyURL()), environment(func(*VPC) map[string]string { return map[string]string{"https_proxy": elsewhere} })),
		},
		{
			Name: "proxy-units-differ", Title: "the kubelet has a proxy and containerd has none", Code: "NP-PXY-109", Local: true, Warning: true,
			apply: files(func(v *VPC) map[string]string {
				return units(map[string]map[string]string{
					"kubelet":    {"HTTPS_PROXY": ProxyURL(), "NO_PROXY": v.noProxy(v.endpointNames()...)},
					"containerd": nil,
				})
			}),
		},
	}
}
