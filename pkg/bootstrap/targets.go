package bootstrap

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// httpsPort is the port of the API server and of every AWS service.
const httpsPort = 443

// readyzBody is how much of the API server's answer is kept: "ok", or the
// Status object of a refusal.
const readyzBody = 1024

// apiServerTarget is the cluster's endpoint. The kubelet verifies it with the
// cluster's own CA only, and so does the probe. /readyz answers without
// credentials on every EKS version; a 401 or 403 with a Status body proves an
// API server as well.
func apiServerTarget(c Cluster) (Target, error) {
	u, err := url.Parse(c.APIServer)
	if err != nil {
		return Target{}, err
	}
	host, port := u.Hostname(), uint64(httpsPort)
	if u.Scheme != "https" || host == "" {
		return Target{}, fmt.Errorf("%q is not https://HOST", c.APIServer)
	}
	if p := u.Port(); p != "" {
		if port, err = strconv.ParseUint(p, 10, 16); err != nil || port == 0 {
			return Target{}, fmt.Errorf("%q has no port from 1 to 65535", c.APIServer)
		}
	}
	return Target{
		Target: probe.Target{
			Name: apiServerName, Host: host, Port: uint16(port), TLS: true, Roots: c.CA,
			Requests: []probe.Request{{Method: "GET", Path: "/readyz", BodyLimit: readyzBody}},
			System:   true,
		},
		Service:  apiServerName,
		Role:     RoleGate,
		Consumer: ConsumerKubelet,
		Why:      "Without the API server the kubelet cannot register this node, and it never appears in the cluster.",
		Notes: []string{
			"It is no VPC endpoint: EKS puts network interfaces into the cluster's subnets, and the cluster security group decides who reaches them.",
			"Without a way to the internet the cluster needs private access to its endpoint; it can be turned on at any time and takes minutes.",
		},
	}, nil
}

// userTarget is an endpoint of the user's own.
func userTarget(e Endpoint) Target {
	t := Target{
		Target:   probe.Target{Name: e.Name, Host: e.Host, Port: e.Port, TLS: e.TLS, Roots: e.CA},
		Role:     e.Role,
		Why:      e.Why,
		Consumer: ConsumerAgent,
	}
	if t.Why == "" {
		t.Why = fmt.Sprintf("The configuration lists it as an endpoint with the role %s.", e.Role)
	}
	return t
}

// reach adds to a target how its consumer gets there: what the hosts file says, the
// proxy, and whether the VPC's own resolver may be asked for its name.
func (b *planner) reach(t *Target) {
	for _, h := range b.state.Hosts {
		if strings.EqualFold(h.Name, t.Host) {
			t.Hosts = append(t.Hosts, h.Addresses...)
		}
	}
	if t.TLS {
		t.Proxy = b.cfg.Machine.environment(t.Consumer).proxyOf(t.Host, t.Port)
	}
	if _, err := netip.ParseAddr(t.Host); err != nil {
		compare := b.cfg.Policy.Experiments.CompareDNS
		t.Compare = compare == compareAll || compare == compareAWSNames && isAWS(strings.ToLower(t.Host), b.cfg.Instance.DNSSuffix)
	}
}

// roleRank orders roles, the strongest first.
func roleRank(r Role) int {
	return slices.Index([]Role{RoleGate, RoleReady, RoleWorkload, RoleOptional}, r)
}

// sortTargets orders by role, keeping the order within one.
func sortTargets(targets []Target) {
	slices.SortStableFunc(targets, func(a, b Target) int { return cmp.Compare(roleRank(a.Role), roleRank(b.Role)) })
}
