package bootstrap

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// fill replaces the {named} fields of a template: name, value, name, value, …
// The first value of a name wins.
func fill(template string, fields ...string) string {
	if !strings.Contains(template, "{") {
		return template
	}
	pairs := make([]string, len(fields))
	for i := 0; i+1 < len(fields); i += 2 {
		pairs[i], pairs[i+1] = "{"+fields[i]+"}", fields[i+1]
	}
	return strings.NewReplacer(pairs...).Replace(template)
}

// enumerate joins for people: "a", "a and b", "a, b and c"; more than six are cut.
func enumerate(items []string) string {
	const most = 6
	if n := len(items); n > most {
		items = append(slices.Clone(items[:most-1]), strconv.Itoa(n-most+1)+" more")
	}
	switch n := len(items); n {
	case 0:
		return "none"
	case 1:
		return items[0]
	default:
		return strings.Join(items[:n-1], ", ") + " and " + items[n-1]
	}
}

func nonEmpty(items ...string) []string {
	return slices.DeleteFunc(items, func(s string) bool { return s == "" })
}

func stringsOf[T fmt.Stringer](items []T) []string {
	out := make([]string, len(items))
	for i, it := range items {
		out[i] = it.String()
	}
	return out
}

func targetNames(ts []*targetView) []string {
	out := make([]string, len(ts))
	for i, t := range ts {
		out[i] = t.Name
	}
	return out
}

func addressTexts(ps []*pathView) []string {
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.addr.String()
	}
	return out
}

// countOf is "1 address", "3 addresses".
func countOf(n int, one string) string {
	switch {
	case n == 1:
		return "1 " + one
	case strings.HasSuffix(one, "s"):
		return strconv.Itoa(n) + " " + one + "es"
	default:
		return strconv.Itoa(n) + " " + one + "s"
	}
}

// agree chooses the verb's form: it agrees with the number of names.
func agree(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// fields are the template fields that every finding has.
func (v *view) fields(c *candidate, f Finding) []string {
	i := v.plan.Instance
	port, services := "443", []string(nil)
	for _, t := range c.targets {
		port = strconv.Itoa(int(t.Port))
		services = append(services, t.serviceName())
	}
	fields := []string{
		"hosts", enumerate(f.Hosts), "host", enumerate(f.Hosts),
		"addresses", enumerate(stringsOf(f.Addresses)), "address", firstOr(stringsOf(f.Addresses), "ADDRESS"),
		"servers", enumerate(stringsOf(f.Addresses)),
		"service", enumerate(services), "services", enumerate(services),
		"endpoint", v.endpointNames(c.targets), "endpoints", v.endpointNames(c.targets),
		"port", port, "cidr", v.source(c.addresses), "vpc", enumerate(stringsOf(i.VPC)),
		"cluster", cmp.Or(v.plan.Cluster.Name, "the cluster"),
		"node", cmp.Or(i.ID, "this node"), "instance", cmp.Or(i.ID, "this instance"),
		"resolver", v.resolver(), "file", cmp.Or(v.state.DNS.File, "/etc/resolv.conf"),
		"links", v.linkNames(), "effect", effectOf(c.targets), "detail", "",
	}
	return fields
}

func firstOr(items []string, other string) string {
	if len(items) == 0 {
		return other
	}
	return items[0]
}

// source is the network from which this node's packets to the addresses come:
// its subnet of their family.
func (v *view) source(to []netip.Addr) string {
	v6 := len(to) > 0 && to[0].Is6()
	for _, p := range v.plan.Instance.Subnet {
		if p.Addr().Is6() == v6 {
			return p.String()
		}
	}
	if a := v.plan.Instance.LocalIPv4; a.IsValid() && !v6 {
		return a.String() + "/32"
	}
	return "this node's subnet"
}

// resolver is the VPC resolver's address as people know it.
func (v *view) resolver() string {
	if ps := v.plan.Instance.VPC; len(ps) > 0 && ps[0].Addr().Is4() {
		return ps[0].Masked().Addr().Next().Next().String()
	}
	return resolverAddresses[0].String()
}

func (v *view) linkNames() string {
	var out []string
	for _, l := range v.state.Links {
		if !l.Loopback {
			out = append(out, l.Name)
		}
	}
	if len(out) == 0 {
		return "the network interface"
	}
	return enumerate(out)
}

// serviceName is how the target's service is called in a remedy.
func (t *targetView) serviceName() string { return cmp.Or(t.Service, t.Name) }

// endpointPrefixes are the exceptions to com.amazonaws. in the names of
// endpoint services (eksctl's partitions.go), by region prefix.
var endpointPrefixes = []struct {
	region, prefix string
	services       []string
}{
	{"cn-", "cn.com.amazonaws.", []string{"ec2", "ecr.api", "ecr.dkr", "sts", "cloudformation"}},
	{"us-iso-", "gov.ic.c2s.", []string{"ec2", "ecr.api", "ecr.dkr", "autoscaling"}},
	{"us-isob-", "gov.sgov.sc2s.", []string{"ec2", "ecr.api", "ecr.dkr", "autoscaling"}},
	{"eu-isoe-", "uk.adc-e.cloud.", []string{"ecr.api", "ecr.dkr"}},
	{"us-isof-", "gov.ic.hci.csp.", []string{"ecr.api", "ecr.dkr"}},
}

// endpointNames are the targets' names as the VPC console knows them:
// com.amazonaws.us-west-2.ecr.api.
func (v *view) endpointNames(ts []*targetView) string {
	region := cmp.Or(v.plan.Instance.Region, "REGION")
	var out []string
	for _, t := range ts {
		if t.isAPIServer() {
			continue
		}
		if t.Service == "" || !v.isAWS(t) {
			out = append(out, t.Host)
			continue
		}
		prefix := "com.amazonaws."
		for _, e := range endpointPrefixes {
			if strings.HasPrefix(region, e.region) && slices.Contains(e.services, t.Service) {
				prefix = e.prefix
			}
		}
		name := prefix + region + "." + t.Service
		if t.isS3() {
			name += " (Gateway)"
		}
		out = append(out, name)
	}
	return enumerate(out)
}

// effectOf says what the failed targets mean for the node, the worst first.
func effectOf(ts []*targetView) string {
	var out []string
	say := func(s string) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	var workload []string
	for _, t := range ts {
		switch {
		case t.Role == RoleGate && t.Service == MetadataTarget:
			say("Without metadata there is no identity and no credential; the node does not join.")
		case t.Role == RoleGate:
			say("The kubelet cannot register; the node does not join.")
		case t.Role == RoleReady && (t.isS3() || strings.HasPrefix(t.Service, "ecr")):
			say("Images cannot be pulled; the node would join and stay NotReady.")
		case t.Role == RoleReady && t.Service == "ec2":
			say("The VPC CNI cannot manage addresses; the node would join and stay NotReady.")
		case t.Role == RoleReady:
			say("The node would join and stay NotReady.")
		default:
			workload = append(workload, t.Name)
		}
	}
	if len(workload) > 0 {
		say("The node joins; pods that use " + enumerate(workload) + " fail.")
	}
	if len(out) == 0 {
		return "Nothing that this node needs fails by it."
	}
	if len(out) > 2 {
		out = out[:2] // the first two say it all: not joined, or not Ready
	}
	return strings.Join(out, " ")
}

// answerText is what an HTTP answer said: "503 no leader", cut short.
func answerText(h *probe.HTTPInfo) string {
	if h == nil {
		return "nothing"
	}
	s := "HTTP " + strconv.Itoa(h.Status)
	if ct := h.Header["Content-Type"]; ct != "" {
		s += " " + ct
	}
	if server := h.Header["Server"]; server != "" {
		s += " from " + server
	}
	return s
}
