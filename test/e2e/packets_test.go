package e2e_test

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// withinPlan fails for each flow that the plan of an outcome does not list.
func withinPlan(t *testing.T, o bootstrap.Outcome, flows []vpc.Flow) {
	t.Helper()
	packets := o.Plan.Packets(o.Network)
	known := addressesOf(o)
	for _, f := range flows {
		if strings.HasPrefix(f.Proto, "icmp") || f.To.Addr().IsMulticast() {
			continue // the kernel's own: errors, neighbour discovery
		}
		if f.To.Port() != 53 && (f.To.Addr().IsLoopback() || f.To.Addr() == o.Plan.Instance.LocalIPv4) {
			continue // to the node itself: a sinkhole's address, a firewall's refusal, a stub's answer
		}
		var asked []string // names that the plan lists for this server
		listed := false
		for _, p := range packets {
			if p.Proto != f.Proto || p.Port != f.To.Port() {
				continue
			}
			to := f.To.Addr()
			if p.Address == to || p.Host != "" && slices.Contains(known[strings.ToLower(p.Host)], to) {
				listed = true
				for _, n := range p.Names {
					asked = append(asked, strings.ToLower(n))
				}
			}
		}
		if !listed {
			t.Errorf("%s to %s was sent %d times and is not in plan --packets", f.Proto, f.To, f.Packets)
		}
		for _, n := range f.Names {
			if !slices.Contains(asked, n) {
				t.Errorf("%s was asked of %s and is not in plan --packets", n, f.To)
			}
		}
	}
}

// addressesOf is what DNS said about each name, whoever was asked.
func addressesOf(o bootstrap.Outcome) map[string][]netip.Addr {
	known := map[string][]netip.Addr{}
	var note func(host string, res probe.Result)
	note = func(host string, res probe.Result) {
		host = strings.ToLower(host)
		for _, l := range slices.Concat(res.Lookups, res.Compared) {
			known[host] = append(known[host], l.Addresses...)
		}
		for _, p := range res.Paths {
			known[host] = append(known[host], p.Address.Addr())
		}
		if res.System != nil {
			known[host] = append(known[host], res.System.Addresses...)
		}
		if res.Direct != nil {
			note(res.Host, *res.Direct)
		}
	}
	for _, res := range o.Report.Results {
		host := res.Host
		if target, ok := o.Plan.Target(res.Target); ok && target.Proxy != "" {
			host = proxyOf(target) // lookups and paths are the proxy's
		}
		note(host, res)
	}
	return known
}

// proxyOf is the host of a target's proxy.
func proxyOf(t bootstrap.Target) string {
	u, err := url.Parse(t.Proxy.String())
	if err != nil {
		return ""
	}
	return u.Hostname()
}
