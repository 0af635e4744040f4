package bootstrap

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// severalWaysOut: two default routes that the kernel chooses between by chance, or
// a silent address that it would reach by another interface than the primary.
func severalWaysOut(v *view) []*candidate {
	c := &candidate{code: LNK105, warn: true}
	var texts []string
	for _, v6 := range []bool{false, true} {
		best, ok := v.state.DefaultRoute(v6)
		if !ok || best.Type != "unicast" {
			continue
		}
		var links []string
		for _, r := range v.state.Routes {
			if r.Table == best.Table && r.Destination == best.Destination && r.Metric == best.Metric && r.Type == "unicast" {
				if l, ok := v.state.Link(r.Link); ok && !slices.Contains(links, l.Name) {
					links = append(links, l.Name)
				}
			}
		}
		if len(links) > 1 {
			slices.Sort(links)
			texts = append(texts, fmt.Sprintf("%s each have a default route of metric %d", enumerate(links), best.Metric))
		}
	}
	primary, known := v.state.Primary(v.plan.Instance.MAC)
	for _, t := range v.direct {
		if !known || len(v.destinations) == 0 {
			break
		}
		for _, p := range t.paths {
			d, ok := v.destinations[p.addr]
			if !ok || !p.silent() || d.Type != "unicast" || d.Link == "" || d.Link == primary.Name {
				continue
			}
			c.targets = appendOnce(c.targets, t)
			c.addresses = append(c.addresses, p.addr)
			if text := fmt.Sprintf("the way to %s is by %s, and the primary interface is %s", p.addr, d.Link, primary.Name); len(texts) < 4 {
				texts = append(texts, text)
			}
		}
	}
	if len(texts) == 0 {
		return nil
	}
	if len(c.addresses) > 0 {
		c.confidence = Likely
	}
	c.addresses = sortAddresses(c.addresses)
	c.because = strings.Join(texts, "; ")
	c.fields = []string{"detail", c.because}
	return []*candidate{c}
}

// strayAddress: the kubelet would register with an address that is not the
// instance's in the VPC.
func strayAddress(v *view) []*candidate {
	ip := v.plan.Node.IP
	known := false
	for _, p := range v.plan.Instance.VPC {
		if p.Contains(ip) {
			return nil
		}
		known = known || p.Addr().Is4() == ip.Is4()
	}
	if !ip.IsValid() || !known {
		return nil
	}
	return []*candidate{{
		code: LNK108, force: true, addresses: []netip.Addr{ip},
		because: fmt.Sprintf("the node's address is %s, and the VPC has %s", ip, enumerate(stringsOf(v.plan.Instance.VPC))),
	}}
}

// overAllowance: the network card dropped packets to link-local services, and some
// of those services did not answer.
func overAllowance(v *view) []*candidate {
	n := v.state.LinkLocalDropped
	if n == 0 {
		return nil
	}
	c := &candidate{code: LNK110, warn: true}
	for _, t := range v.targets {
		if slices.ContainsFunc(t.res.Lookups, func(l probe.Lookup) bool {
			return l.Cause == probe.DNSTimeout && v.isVPCResolver(l.Server.Addr())
		}) || t == v.meta && !t.passed && t.silent() {
			c.targets = append(c.targets, t)
		}
	}
	if len(c.targets) == 0 {
		return nil
	}
	c.because = fmt.Sprintf("the network card dropped %s to link-local services during this run, and %s had no answer",
		countOf(int(min(n, 1<<30)), "packet"), countOf(len(c.targets), "target"))
	return []*candidate{c}
}

// timeService is what people call the VPC's own NTP server.
const timeService = "the time service"

// linkLocalServices are what EC2 serves to every instance at fixed addresses, with
// AmazonProvidedDNS's.
var linkLocalServices = map[netip.Addr]string{
	netip.MustParseAddr("169.254.169.254"): "the metadata service",
	netip.MustParseAddr("169.254.169.253"): "the VPC's resolver",
	netip.MustParseAddr("169.254.169.123"): timeService,
	netip.MustParseAddr("fd00:ec2::254"):   "the metadata service",
	netip.MustParseAddr("fd00:ec2::253"):   "the VPC's resolver",
	netip.MustParseAddr("fd00:ec2::123"):   timeService,
	netip.MustParseAddr("127.0.0.1"):       "this machine",
	netip.MustParseAddr("::1"):             "this machine",
}

// serviceCIDR: the cluster's service range covers this network. It breaks the
// node only where it holds an address that the node uses.
func serviceCIDR(v *view) []*candidate {
	service := v.plan.Cluster.ServiceCIDR
	if !service.IsValid() {
		return nil
	}
	used := &candidate{code: NOD102, force: true, global: true}
	var texts []string
	note := func(t *targetView, a netip.Addr, what string) {
		if !service.Contains(a) {
			return
		}
		if t != nil {
			used.targets = appendOnce(used.targets, t)
		}
		if !slices.Contains(used.addresses, a) {
			used.addresses = append(used.addresses, a)
			texts = append(texts, a.String()+" is "+what)
		}
	}
	for _, s := range v.servers {
		note(nil, s.addr.Addr(), "a DNS server")
	}
	note(nil, v.plan.Node.IP, "the node")
	note(nil, v.plan.Instance.LocalIPv4, "the node")
	for _, v6 := range []bool{false, true} {
		if r, ok := v.state.DefaultRoute(v6); ok {
			note(nil, r.Gateway, "the default gateway")
		}
	}
	for a, what := range linkLocalServices {
		note(nil, a, what)
	}
	for _, t := range v.targets {
		for _, p := range t.paths {
			note(t, p.addr, t.Name)
		}
	}
	var out []*candidate
	if len(texts) > 0 {
		slices.Sort(texts)
		used.addresses = sortAddresses(used.addresses)
		used.because = fmt.Sprintf("the service CIDR is %s; %s", service, enumerate(texts))
		used.fields = []string{"service", service.String(), "detail", enumerate(texts)}
		out = append(out, used)
	}
	if ranges := v.overlapping(service); len(ranges) > 0 {
		out = append(out, &candidate{
			code: NOD101, warn: true, because: fmt.Sprintf("the service CIDR %s overlaps %s", service, enumerate(ranges)),
			fields: []string{"service", service.String(), "ranges", enumerate(ranges)},
		})
	}
	return out
}

// overlapping are the VPC's blocks and the routes of this machine that overlap the
// range, for people.
func (v *view) overlapping(service netip.Prefix) []string {
	var out []string
	for _, p := range v.plan.Instance.VPC {
		if p.Overlaps(service) {
			out = append(out, "the VPC's block "+p.String())
		}
	}
	for _, r := range v.state.Routes {
		if r.Table == netcfg.TableMain && r.Type == "unicast" && r.Destination.Bits() > 0 && r.Destination.Overlaps(service) &&
			!slices.ContainsFunc(v.plan.Instance.VPC, func(p netip.Prefix) bool { return p.Contains(r.Destination.Addr()) }) {
			out = append(out, "the route "+r.Destination.String())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// reserved are the addresses of each subnet that AWS keeps (VPC user guide, "Subnet sizing").
const reserved = 5

// smallSubnet: the subnet could not hold the pods that the node is set up for. Whether
// pods take their addresses from it is not known here: custom networking takes
// them from other subnets.
func smallSubnet(v *view) []*candidate {
	pods := v.plan.Node.MaxPods
	if pods == 0 || v.plan.Policy.OtherCNI || v.plan.Cluster.ServiceCIDR.Addr().Is6() {
		return nil
	}
	for _, p := range v.plan.Instance.Subnet {
		if !p.Addr().Is4() || p.Bits() < 16 {
			continue
		}
		if free := 1<<(32-p.Bits()) - reserved; free < pods {
			text := fmt.Sprintf("%s has %d usable addresses, and max-pods is %d", p, max(free, 0), pods)
			return []*candidate{{code: NOD105, warn: true, because: text, fields: []string{"detail", text}}}
		}
	}
	return nil
}

// panics: a probe of nodeprep's own ended in a panic, which says nothing about the
// network. The engine writes that text itself.
func panics(v *view) []*candidate {
	var out []*candidate
	said := func(cause probe.Cause, err string) bool {
		return cause == probe.Other && strings.HasPrefix(err, "panic: ")
	}
	for _, t := range v.targets {
		text := ""
		for i := range t.res.Lookups {
			if l := &t.res.Lookups[i]; said(l.Cause, l.Err) {
				text = l.Err
			}
		}
		for _, p := range t.paths {
			if said(p.step.Cause, p.step.Err) {
				text = p.step.Err
			}
		}
		if text != "" {
			out = append(out, &candidate{code: INT001, targets: []*targetView{t}, because: "probing " + t.Name + " ended in a " + text})
		}
	}
	return out
}
